"""Sizes of outputs and LDS, and the largest problem that each kernel takes. Standard library only.

hip_kernels/layout.h maps the LDS whose bytes are counted here.
"""

from typing import Final

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, WAVE

WORD_TOKENS = 32
"""Tokens whose choice of one expert is one word of LDS."""

LDS_BYTES_PER_WORD = 4 + 2
"""LDS of one word: its bits, and the number of pairs before it (16 bits)."""

LDS_BYTES_PER_EXPERT = 3 * 4 + 2
"""LDS of one expert beside its words: next row, padding row, end row, local id."""

LDS_VECTOR_BYTES = 16
"""The bits are cleared this many bytes at a time, and padded to a multiple of it."""

LDS_BYTES_FIXED = 256 + LDS_VECTOR_BYTES
"""LDS that waves exchange values through: two words for each of up to 32 waves, and whether experts repeat."""

MAX_PAIRS_IN_16_BITS = 65535
"""Most (token, slot) pairs of one expert that 16 bits count; a token may repeat an expert in every slot."""

MAX_WAVE_WORDS = 4
"""Most words of (token, slot) pairs that `wave` takes; a word has as many as a wave has lanes."""

WAVE_LANES_PER_WORD = 12 + 1
"""Sets of lanes, a bit each, that waves exchange for a word: validity, ten bits of an id, alignment, first rows."""


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def round_up_to_power_of_two(value: int) -> int:
    """Return the smallest power of two that is not below `value` >= 1."""
    return 1 << (value - 1).bit_length()


def compute_lds_bytes(num_experts: int, tokens: int) -> int:
    """Return the LDS bytes that a workgroup needs to hold the bits of `tokens` tokens for every expert."""
    words = -(-tokens // WORD_TOKENS) * num_experts
    bits = round_up(words * 4, LDS_VECTOR_BYTES)
    return LDS_BYTES_FIXED + bits + num_experts * LDS_BYTES_PER_EXPERT + round_up(words, 2) * 2


def compute_max_countable_tokens(topk: int) -> int:
    """Return the largest number of tokens, in whole words, whose pairs 16 bits count whatever the routing."""
    return MAX_PAIRS_IN_16_BITS // topk // WORD_TOKENS * WORD_TOKENS


def compute_oneshot_max_tokens(num_experts: int, topk: int, lds_bytes: int) -> int:
    """Return the largest number of tokens that `oneshot` takes; past it only `multiphase` is legal.

    `oneshot` keeps one bit for every (token, expert) in the LDS of a workgroup, and counts pairs in 16 bits.

    lds_bytes: LDS that one workgroup may use.
    """
    free = lds_bytes - LDS_BYTES_FIXED - LDS_VECTOR_BYTES - num_experts * LDS_BYTES_PER_EXPERT
    words = max(0, free // (num_experts * LDS_BYTES_PER_WORD))
    return min(words * WORD_TOKENS, compute_max_countable_tokens(topk))


def compute_wave_lds_bytes(words: int, wavefront_size: int) -> int:
    """Return the LDS bytes of a workgroup of `wave` for so many words of pairs: nothing is exchanged for one."""
    return 0 if words == 1 else words * WAVE_LANES_PER_WORD * wavefront_size // 8


def compute_wave_max_tokens(topk: int, wavefront_size: int) -> int:
    """Return the largest number of tokens that `wave` takes, whose lanes hold a (token, slot) pair each."""
    return MAX_WAVE_WORDS * wavefront_size // topk


WAVE_MAX_TOKENS_CPP: Final = f"""\
// Largest token count of which every (token, slot) pair has a lane.
constexpr int wave_max_tokens(int topk, int wavefront_size) {{ return {MAX_WAVE_WORDS} * wavefront_size / topk; }}
"""
"""`compute_wave_max_tokens` in C++17, for the exported header."""


def compute_limits(num_experts: int, topk: int, device: DeviceLimits) -> Limits:
    """Return the largest number of tokens that each builtin kernel takes, in the candidates' order."""
    return {
        WAVE.name: compute_wave_max_tokens(topk, device.wavefront_size),
        ONESHOT.name: compute_oneshot_max_tokens(num_experts, topk, device.lds_bytes),
        MULTIPHASE.name: MAX_TOKENS,
    }


ONESHOT_MAX_TOKENS_CPP: Final = f"""\
// Largest token count that the kernels' bits of every (token, expert) leave room for in the LDS of a workgroup,
// and whose pairs 16 bits count.
constexpr int oneshot_max_tokens(int num_experts, int topk, int lds_bytes) {{
  const int shared = lds_bytes - {LDS_BYTES_FIXED + LDS_VECTOR_BYTES};
  if (num_experts > shared / {LDS_BYTES_PER_EXPERT}) return 0;
  const int words = (shared - {LDS_BYTES_PER_EXPERT} * num_experts) / ({LDS_BYTES_PER_WORD} * num_experts);
  const int countable_words = {MAX_PAIRS_IN_16_BITS} / topk / {WORD_TOKENS};
  return (words < countable_words ? words : countable_words) * {WORD_TOKENS};
}}
"""
"""`compute_oneshot_max_tokens` in C++17, for the exported header. It never overflows; a test compares all shapes."""


def compute_max_padded(rows: int, topk: int, num_experts: int, unit_size: int) -> int:
    """Return how many rows `sorted_token_ids`, `sorted_weights` and `m_indices` need, whatever the routing."""
    return rows * topk + num_experts * unit_size - topk


def compute_max_tiles(rows: int, topk: int, num_experts: int, unit_size: int) -> int:
    """Return how many elements `sorted_expert_ids` needs, whatever the routing."""
    return -(-compute_max_padded(rows, topk, num_experts, unit_size) // unit_size)
