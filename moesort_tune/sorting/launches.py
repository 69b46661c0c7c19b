"""Plan the launches of a problem: grid, workgroup, LDS, and which bytes of moe_buf each launch zeroes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import AUTOMATIC, MULTIPHASE, ONESHOT, WAVE, KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sorting.geometry import (
    WORD_TOKENS,
    compute_lds_bytes,
    compute_limits,
    compute_max_countable_tokens,
    compute_wave_lds_bytes,
    round_up,
    round_up_to_power_of_two,
)
from moesort_tune.sorting.problem import Problem

WAVE_KERNELS = ("moe_sorting_wave_1", "moe_sorting_wave_2", "moe_sorting_wave_4")
"""The variants of wave, for so many words of (token, slot) pairs: a word has as many as a wave has lanes."""

ONESHOT_KERNELS = ("moe_sorting_oneshot", "moe_sorting_oneshot_many", "moe_sorting_oneshot_most")
MULTIPHASE_KERNELS = (
    "moe_sorting_count_word",
    "moe_sorting_scatter_word",
    "moe_sorting_scatter_words",
    "moe_sorting_count",
    "moe_sorting_count_many",
    "moe_sorting_scatter_many",
)
"""The kernels' variants: those with `_many` are for more (token, slot) pairs than threads, or many chunks; `_most` is
for more than MANY_PAIRS pairs a thread; `_word` and `_words` are for chunks of one word each, the latter for those that
groups of threads share. All without `_many` or `_most` have a thread for each pair of a workgroup, and offsets of 32
bits."""

CANDIDATES: Final = (WAVE, ONESHOT, MULTIPHASE)
"""The builtin kernels, in the order that decides ties."""

KERNELS: Final = tuple(candidate.name for candidate in CANDIDATES)

SOURCES: Final = {
    "wave.hip": WAVE_KERNELS,
    "oneshot.hip": ONESHOT_KERNELS,
    "multiphase.hip": MULTIPHASE_KERNELS,
}
"""Files of hip_kernels/ and the kernels in each of them."""

NEED_WORKSPACE: Final = frozenset((MULTIPHASE.name,))
"""Kernels whose launches exchange data through a workspace in global memory."""

MANY_PAIRS = 4
"""Pairs of a thread up to which `_many` has them all in flight."""

WAVE_THREADS = 128
"""Threads of a workgroup of wave, or as many as hold all pairs once; kThreads of wave.hip. (On an H100, 64 take as
long, 256 and 512 longer.)"""

MAX_THREADS = 1024
"""Threads of the largest workgroup."""

SORTING_THREADS = (256, 512)
"""Threads of a sorting workgroup, at least and at most: one for each (token, slot) pair between the two. Smaller
workgroups start and meet sooner, larger ones have more loads in flight."""

PAIR_THREADS = 768
"""Pairs up to which a workgroup of oneshot has a thread for each, past SORTING_THREADS: no loop is worth that. (On an
H100 0.90 to 0.96 of the time with 512 threads; with more pairs, more threads take longer.)"""

MAX_WRITING_WORKGROUPS = 32
"""Sorting workgroups that are there for the writing only; each works the whole layout out, so few are enough."""

MIN_CHUNK_TOKENS = 32
"""Tokens that a workgroup of multiphase owns at least: one word of bits for each expert."""

EASY_CHUNKS = 64
"""Chunks that every workgroup can add up in little time; past them chunks grow to LONG_CHUNK_TOKENS first."""

LONG_CHUNK_TOKENS = 128
"""Tokens of a chunk past which more chunks, up to one for each compute unit, pay for the adding up."""

MAX_PASS_TOKENS = 192
"""Tokens whose bits a workgroup of multiphase holds at a time: with 1024 experts and the chunks' sums, 59 of 64 KiB."""

WORDS_IN_FLIGHT = 4
"""Words of bits that a thread of multiphase loads at a time; kWordsInFlight of multiphase.hip."""

FEW_CHUNKS = 2 * WORDS_IN_FLIGHT
"""Chunks of one word each whose words a thread for each expert loads at once; groups of threads share more of them."""

MOST_ROUNDS = 4
"""Times that a thread of such a group loads FEW_CHUNKS words, at most; of more chunks, or longer ones, groups add up
counts instead."""

MOST_WORD_CHUNKS = 64
"""Chunks of one word each, at most; kMostWordChunks of multiphase.hip."""

GROUP_CHUNKS = (8, 16)
"""Chunks whose counts a group of threads adds up: the fewer as long as the groups have GROUP_THREADS together."""

GROUP_THREADS = 512
"""Threads of a workgroup up to which more groups are quicker. (On an H100, six groups of 128 threads take 1.08 times as
long as three at 6144 tokens, four groups of 256 as three at 1536.)"""

ZERO_THREADS_BYTES = 64
"""Bytes of moe_buf that one thread should zero, as long as there are workgroups left."""

ZERO_WORKGROUPS_PER_UNIT = 32
"""Zeroing workgroups for each compute unit: enough to keep every memory channel busy."""

FIRST_ZERO_EIGHTHS = 1
"""Share of moe_buf, in eighths, that multiphase's first launch zeroes: it has less to sort than the second."""

MOST_SORTING_QUARTERS = 3
"""Share of an NVIDIA GPU's compute units, in quarters, up to which workgroups that sort get one each for themselves."""

RESERVED_LDS_SIXTEENTHS = 9
"""LDS that such a workgroup takes of what one can, whatever it needs: more than half, so that no other fits beside it.
"""


class KernelTooLargeError(MoesortTuneError):
    """More tokens than the requested kernel takes."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch. zero_begin, zero_end: the bytes of moe_buf that it zeroes."""

    kernel: str
    grid: int
    block: int
    lds_bytes: int
    sorting_workgroups: int
    chunks: int
    chunk_groups: int
    chunks_per_group: int
    chunk_tokens: int
    pass_tokens: int
    zero_begin: int
    zero_end: int


@dataclass(frozen=True)
class _Chunks:
    """The chunks into which multiphase cuts the rows.

    groups: of threads that share all chunks, 0 where each thread knows them all. few: each chunk is one word, and the
    threads hold words; the last chunks may be without rows, so that every loaded word has been stored. Else they add up
    counts.
    """

    number: int
    tokens: int
    groups: int
    few: bool


def plan(kernel: KernelName, problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    """Return the launches of one sort by `kernel`. Raise KernelTooLargeError for more tokens than it takes."""
    largest = compute_limits(problem.num_experts, problem.topk, limits)
    if problem.rows > largest[kernel]:
        legal = list_legal_kernels(problem.rows, largest)
        policies = [*(candidate.policy for candidate in CANDIDATES if candidate.name in legal), AUTOMATIC]
        raise KernelTooLargeError(
            f"{kernel} takes at most {largest[kernel]} tokens with {problem.num_experts} experts on {limits.arch} "
            f"(got {problem.rows}); use dispatch_policy={' or '.join(map(str, policies))}"
        )
    return _PLANNERS[kernel](problem, limits)


def compute_workspace_bytes(problem: Problem, limits: DeviceLimits) -> int:
    """Return the bytes of multiphase's workspace: a flag for each chunk, and bits and counts for each expert."""
    chunks = _cut_chunks(problem, limits)
    expert_bytes = chunks.tokens // WORD_TOKENS * 4 + (0 if chunks.few else 2)
    return chunks.number * (4 + expert_bytes * problem.num_experts)


def _plan_wave(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    """Plan about a wave for each tile, of which there are at most as many as pairs."""
    words = round_up_to_power_of_two(max(1, -(-problem.pairs // limits.wavefront_size)))
    block = max(WAVE_THREADS, words * limits.wavefront_size)
    waves = block // limits.wavefront_size
    workgroups = round_up_to_power_of_two(max(1, -(-problem.pairs // waves)))
    return (
        Launch(
            kernel=f"moe_sorting_wave_{words}",
            grid=workgroups + _count_zero_workgroups(problem.moe_buf_bytes, block, limits),
            block=block,
            lds_bytes=compute_wave_lds_bytes(words, limits.wavefront_size),
            sorting_workgroups=workgroups,
            chunks=0,
            chunk_groups=0,
            chunks_per_group=0,
            chunk_tokens=0,
            pass_tokens=0,
            zero_begin=0,
            zero_end=problem.moe_buf_bytes,
        ),
    )


def _plan_oneshot(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    block = _count_threads(problem, problem.pairs, limits)
    if block < problem.pairs <= PAIR_THREADS:
        block = round_up(problem.pairs, limits.wavefront_size)
    workgroups = _count_writing_workgroups(problem, problem.pairs, block)
    zeroing = _count_zero_workgroups(problem.moe_buf_bytes, block, limits)
    return (
        Launch(
            kernel=_choose_oneshot_variant(problem, block),
            grid=workgroups + zeroing,
            block=block,
            lds_bytes=max(
                compute_lds_bytes(problem.num_experts, problem.rows), _compute_reserved_lds(workgroups, zeroing, limits)
            ),
            sorting_workgroups=workgroups,
            chunks=0,
            chunk_groups=0,
            chunks_per_group=0,
            chunk_tokens=0,
            pass_tokens=0,
            zero_begin=0,
            zero_end=problem.moe_buf_bytes,
        ),
    )


def _choose_oneshot_variant(problem: Problem, block: int) -> str:
    few, many, most = ONESHOT_KERNELS
    if problem.pairs <= block:
        return few
    return many if problem.pairs <= MANY_PAIRS * block else most


def _plan_multiphase(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    chunks = _cut_chunks(problem, limits)
    pass_tokens = min(chunks.tokens, MAX_PASS_TOKENS)
    pairs = pass_tokens * problem.topk
    threads = max(_count_threads(problem, pairs, limits), round_up(pairs, limits.wavefront_size) if chunks.few else 0)
    shared = max(threads, round_up(chunks.groups * problem.num_experts, limits.wavefront_size))
    count, scatter = _choose_multiphase_variants(chunks, one_pass=chunks.tokens == pass_tokens and pairs <= shared)
    cut = problem.moe_buf_bytes * FIRST_ZERO_EIGHTHS // 8 // 16 * 16
    writing = max(chunks.number, _count_writing_workgroups(problem, pairs, shared))
    zeroing = _count_zero_workgroups(problem.moe_buf_bytes - cut, shared, limits)
    parts = (
        (count, threads if chunks.few else shared, chunks.number, 0, cut, 0),
        (scatter, shared, writing, cut, problem.moe_buf_bytes, _compute_reserved_lds(writing, zeroing, limits)),
    )
    lds_bytes = compute_lds_bytes(problem.num_experts, pass_tokens) + 2 * chunks.groups * problem.num_experts * 4
    return tuple(
        Launch(
            kernel=kernel,
            grid=sorting_workgroups + _count_zero_workgroups(end - begin, block, limits),
            block=block,
            lds_bytes=max(lds_bytes, reserved),
            sorting_workgroups=sorting_workgroups,
            chunks=chunks.number,
            chunk_groups=chunks.groups,
            chunks_per_group=-(-chunks.number // max(1, chunks.groups)),
            chunk_tokens=chunks.tokens,
            pass_tokens=pass_tokens,
            zero_begin=begin,
            zero_end=end,
        )
        for kernel, block, sorting_workgroups, begin, end, reserved in parts
    )


def _compute_chunk_tokens(problem: Problem, limits: DeviceLimits) -> int:
    """Return the tokens of a chunk: few at first, then as many as leave EASY_CHUNKS, then a chunk a compute unit."""
    easy = min(max(MIN_CHUNK_TOKENS, -(-problem.rows // EASY_CHUNKS)), LONG_CHUNK_TOKENS)
    share = -(-problem.rows // limits.compute_units)
    return min(round_up(max(easy, share), WORD_TOKENS), compute_max_countable_tokens(problem.topk))


def _cut_chunks(problem: Problem, limits: DeviceLimits) -> _Chunks:
    tokens = _compute_chunk_tokens(problem, limits)
    number = max(1, -(-problem.rows // tokens))
    most_groups = MAX_THREADS // problem.num_experts
    rounds = -(-number // (FEW_CHUNKS * most_groups))
    if tokens == WORD_TOKENS and tokens * problem.topk <= MAX_THREADS and rounds <= MOST_ROUNDS:
        if number <= FEW_CHUNKS:
            return _Chunks(round_up(number, WORDS_IN_FLIGHT), tokens, 0, few=True)
        per_group = rounds * FEW_CHUNKS
        if round_up(number, per_group) <= MOST_WORD_CHUNKS:
            return _Chunks(round_up(number, per_group), tokens, -(-number // per_group), few=True)
    few, many = (-(-number // chunks) for chunks in GROUP_CHUNKS)
    groups = max(many, min(few, GROUP_THREADS // problem.num_experts))
    return _Chunks(number, tokens, min(groups, most_groups), few=False)


def _choose_multiphase_variants(chunks: _Chunks, *, one_pass: bool) -> tuple[str, str]:
    """Return the kernels of both launches. one_pass: a chunk is one pass with at most a pair a thread."""
    if chunks.few:
        return "moe_sorting_count_word", f"moe_sorting_scatter_word{'s' if chunks.groups else ''}"
    return "moe_sorting_count" if one_pass else "moe_sorting_count_many", "moe_sorting_scatter_many"


def _count_threads(problem: Problem, pairs: int, limits: DeviceLimits) -> int:
    """Return the threads of a workgroup: one for each pair within SORTING_THREADS, at least one for each expert."""
    low, high = SORTING_THREADS
    wanted = max(problem.num_experts, min(max(pairs, low), high))
    return min(MAX_THREADS, round_up(wanted, limits.wavefront_size))


def _count_writing_workgroups(problem: Problem, pairs: int, block: int) -> int:
    """Return the number of workgroups that share the writing of pairs and padding."""
    places = max(pairs, problem.num_experts * problem.unit_size)
    return min(MAX_WRITING_WORKGROUPS, max(1, -(-places // block)))


def _count_zero_workgroups(zero_bytes: int, block: int, limits: DeviceLimits) -> int:
    wanted = -(-zero_bytes // (block * ZERO_THREADS_BYTES))
    return min(wanted, limits.compute_units * ZERO_WORKGROUPS_PER_UNIT)


def _compute_reserved_lds(sorting: int, zeroing: int, limits: DeviceLimits) -> int:
    """Return the LDS that so many sorting workgroups, beside which others zero, take on NVIDIA GPUs at the least.

    The sort decides how long such a launch takes, and is quicker where no workgroup that zeroes runs on its compute
    units, as long as enough of these are left for zeroing. (On an H100 with a moe_buf, 512 to 9216 tokens of eight
    shapes: oneshot 0.86 of its time in the geometric mean, multiphase 0.89. At 16384 tokens, where the sort takes
    nearly all units, multiphase took 1.03 to 1.17 of it.) No AMD GPU was timed.
    """
    if not zeroing or not limits.arch.startswith("sm_") or 4 * sorting > MOST_SORTING_QUARTERS * limits.compute_units:
        return 0
    return limits.lds_bytes * RESERVED_LDS_SIXTEENTHS // 16


_PLANNERS: Final[dict[KernelName, Callable[[Problem, DeviceLimits], tuple[Launch, ...]]]] = {
    WAVE.name: _plan_wave,
    ONESHOT.name: _plan_oneshot,
    MULTIPHASE.name: _plan_multiphase,
}
