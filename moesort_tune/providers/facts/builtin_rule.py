"""The rule of the builtin kernels for what no table has measured: wave, then oneshot, up to numbers of pairs."""

from typing import Final, NamedTuple

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, WAVE, Condition

BUILTIN_RULE: Final = "the builtin rule"


class Switches(NamedTuple):
    """Switches of the rule on NVIDIA GPUs, by numbers of pairs (tokens * topk).

    wave_pairs: wave up to so many. pairs, pairs_per_expert: then oneshot up to
    `pairs + pairs_per_expert * num_experts`. zeroing_topk: the largest topk for which oneshot is taken at every token
    count of a call with a moe_buf, where zeroing takes longer than its sort, beside which it runs; 0 for none.
    """

    wave_pairs: int
    pairs: int
    pairs_per_expert: int
    zeroing_topk: int


SORTING_SWITCHES: Final = Switches(64, 1000, 12, 4)
"""Fitted on an H100 (2026-11-26) to the 3,169 points of the shipped table, 8 to 512 experts: mean regret 1.005 with and
without a moe_buf, worst 1.15 (32/4 at 673 tokens) with one and 1.11 without. On ten shapes wave took 0.70 to 0.80 of
oneshot's time up to 32 pairs, 0.83 to 0.95 up to 64, and 0.97 to 1.09 up to 128, all that it takes there."""

ALIGN_SWITCHES: Final = Switches(128, 1750, 9, 0)
"""Of the align form, fitted likewise to its 988 points: mean regret 1.001, worst 1.07 (128/4 at 701 tokens)."""

_AMD_TOKENS: Final = 1024
"""By the instructions of the busiest wave on gfx90a, gfx942 and gfx950 in an emulator: oneshot executes fewer than
multiphase up to about so many tokens. No AMD GPU was timed."""

_AMD_WAVE_PAIRS: Final = 64
"""By the same: with one word of pairs wave executes 239 instructions to oneshot's 349, with two about 415 to 354."""


def compute_rule_lasts(
    num_experts: int, topk: int, arch: str, condition: Condition, switches: Switches = SORTING_SWITCHES
) -> Limits:
    """Return the largest token count for which the rule takes each kernel in turn, whatever its limit is."""
    if not _is_nvidia(arch):
        return {WAVE.name: _AMD_WAVE_PAIRS // topk, ONESHOT.name: _AMD_TOKENS, MULTIPHASE.name: MAX_TOKENS}
    oneshot = (switches.pairs + switches.pairs_per_expert * num_experts) // topk
    if condition.moe_buf and topk <= switches.zeroing_topk:
        oneshot = MAX_TOKENS
    return {WAVE.name: switches.wave_pairs // topk, ONESHOT.name: oneshot, MULTIPHASE.name: MAX_TOKENS}


def rule_cpp(arch: str, switches: Switches = SORTING_SWITCHES) -> str:
    """Return the rule for `arch` as C++17 text: the index of the candidate, in the order wave, oneshot, multiphase."""
    signature = "constexpr int rule(int tokens, int num_experts, int topk, bool moe_buf, bool /*masked*/)"
    if not _is_nvidia(arch):
        unnamed = signature.replace("num_experts", "/*num_experts*/").replace("moe_buf", "/*moe_buf*/")
        return f"""\
{unnamed} {{
  if (tokens <= {_AMD_WAVE_PAIRS} / topk) return 0;
  return tokens <= {_AMD_TOKENS} ? 1 : 2;
}}
"""
    zeroes = switches.zeroing_topk > 0
    named = signature if zeroes else signature.replace("moe_buf", "/*moe_buf*/")
    few_slots = f"  if (moe_buf && topk <= {switches.zeroing_topk}) return 1;\n" if zeroes else ""
    return f"""\
{named} {{
  if (tokens <= {switches.wave_pairs} / topk) return 0;
{few_slots}\
  return tokens <= ({switches.pairs} + {switches.pairs_per_expert}LL * num_experts) / topk ? 1 : 2;
}}
"""


def _is_nvidia(arch: str) -> bool:
    return arch.startswith("sm_")
