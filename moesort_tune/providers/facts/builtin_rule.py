"""The rule of the builtin kernels for what no table has measured: wave, then oneshot, up to numbers of pairs."""

from typing import Final, NamedTuple

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, WAVE, Condition

BUILTIN_RULE: Final = "the builtin rule"


class _Switch(NamedTuple):
    """Largest number of pairs (tokens * topk) for oneshot: `pairs + pairs_per_expert * num_experts`.

    zeroing_topk: the largest topk for which oneshot is taken at every token count of a call with a moe_buf: zeroing
    then takes longer than its sort, beside which it runs.
    """

    pairs: int
    pairs_per_expert: int
    zeroing_topk: int


_NVIDIA: Final = _Switch(1000, 12, 4)
"""Fitted on an H100 (2026-11-26) to the 3,169 points of the shipped table, 8 to 512 experts: mean regret 1.005 with and
without a moe_buf, worst 1.15 (32/4 at 673 tokens) with one and 1.11 without."""

_NVIDIA_WAVE_PAIRS: Final = 64
"""By the same points. On ten shapes wave took 0.70 to 0.79 of oneshot's time up to 32 pairs, 0.83 to 0.95 up to 64, and
0.96 to 1.09 up to 128, all that it takes there."""

_AMD_TOKENS: Final = 1024
"""By the instructions of the busiest wave on gfx90a, gfx942 and gfx950 in an emulator: oneshot executes fewer than
multiphase up to about so many tokens. No AMD GPU was timed."""

_AMD_WAVE_PAIRS: Final = 64
"""By the same: with one word of pairs wave executes 239 instructions to oneshot's 349, with two about 415 to 354."""


def compute_rule_lasts(num_experts: int, topk: int, arch: str, condition: Condition) -> Limits:
    """Return the largest token count for which the rule takes each kernel in turn, whatever its limit is."""
    wave = _get_wave_pairs(arch) // topk
    if not _is_nvidia(arch):
        return {WAVE.name: wave, ONESHOT.name: _AMD_TOKENS, MULTIPHASE.name: MAX_TOKENS}
    oneshot = (_NVIDIA.pairs + _NVIDIA.pairs_per_expert * num_experts) // topk
    if condition.moe_buf and topk <= _NVIDIA.zeroing_topk:
        oneshot = MAX_TOKENS
    return {WAVE.name: wave, ONESHOT.name: oneshot, MULTIPHASE.name: MAX_TOKENS}


def rule_cpp(arch: str, *, zeroing: bool = True) -> str:
    """Return the rule for `arch` as C++17 text: the index of the candidate, in the order wave, oneshot, multiphase.

    zeroing: whether calls may zero a moe_buf; else the rule ignores what the caller says of it.
    """
    signature = "constexpr int rule(int tokens, int num_experts, int topk, bool moe_buf, bool /*masked*/)"
    wave = f"  if (tokens <= {_get_wave_pairs(arch)} / topk) return 0;\n"
    if not _is_nvidia(arch):
        unnamed = signature.replace("num_experts", "/*num_experts*/").replace("moe_buf", "/*moe_buf*/")
        return f"{unnamed} {{\n{wave}  return tokens <= {_AMD_TOKENS} ? 1 : 2;\n}}\n"
    named = signature if zeroing else signature.replace("moe_buf", "/*moe_buf*/")
    few_slots = f"  if (moe_buf && topk <= {_NVIDIA.zeroing_topk}) return 1;\n" if zeroing else ""
    return f"""\
{named} {{
{wave}{few_slots}\
  return tokens <= ({_NVIDIA.pairs} + {_NVIDIA.pairs_per_expert}LL * num_experts) / topk ? 1 : 2;
}}
"""


def _get_wave_pairs(arch: str) -> int:
    return _NVIDIA_WAVE_PAIRS if _is_nvidia(arch) else _AMD_WAVE_PAIRS


def _is_nvidia(arch: str) -> bool:
    return arch.startswith("sm_")
