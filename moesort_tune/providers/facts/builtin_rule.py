"""The rule of the builtin kernels for what no table has measured: wave, then oneshot, up to numbers of pairs."""

from typing import Final, NamedTuple

from moesort_tune.domain.candidates import Steps, build_steps
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, WAVE, Condition

BUILTIN_RULE: Final = "the builtin rule"


class Hidden(NamedTuple):
    """Where zeroing takes longer than oneshot's sort, beside which it runs.

    topk: up to which this holds at every token count. later_topk, later_tokens: up to which topk it holds past so many
    tokens.
    """

    topk: int
    later_topk: int
    later_tokens: int


class Switches(NamedTuple):
    """Switches of the rule on NVIDIA GPUs, by numbers of pairs (tokens * topk).

    wave_pairs: wave up to so many. pairs, pairs_per_expert: then oneshot up to
    `pairs + pairs_per_expert * num_experts`. hidden: where a call with a moe_buf takes oneshot beyond that.
    """

    wave_pairs: int
    pairs: int
    pairs_per_expert: int
    hidden: Hidden | None = None


SORTING_SWITCHES: Final = Switches(64, 1000, 12, Hidden(2, 4, 1300))
"""Fitted on an H100 (2026-11-26) to the 3,169 points of the shipped table, 8 to 512 experts: mean regret 1.003 with a
moe_buf and 1.005 without, worst 1.11 with and without. On ten shapes wave took 0.70 to 0.80 of oneshot's time up to 32
pairs, 0.83 to 0.95 up to 64, and 0.97 to 1.09 up to 128, all that it takes there."""

ALIGN_SWITCHES: Final = Switches(128, 1750, 9)
"""Of the align form, fitted likewise to its 988 points: mean regret 1.001, worst 1.07 (128/4 at 701 tokens)."""

_AMD_TOKENS: Final = 1024
"""By the instructions of the busiest wave on gfx90a, gfx942 and gfx950 in an emulator: oneshot executes fewer than
multiphase up to about so many tokens. No AMD GPU was timed."""

_AMD_WAVE_PAIRS: Final = 64
"""By the same: with one word of pairs wave executes 239 instructions to oneshot's 349, with two about 415 to 354."""


def compute_rule_steps(
    num_experts: int, topk: int, arch: str, condition: Condition, switches: Switches = SORTING_SWITCHES
) -> Steps:
    """Return from how many tokens on the rule takes which kernel, whatever the kernels' limits are."""
    if not _is_nvidia(arch):
        return build_steps({WAVE.name: _AMD_WAVE_PAIRS // topk, ONESHOT.name: _AMD_TOKENS, MULTIPHASE.name: MAX_TOKENS})
    wave = switches.wave_pairs // topk
    oneshot = (switches.pairs + switches.pairs_per_expert * num_experts) // topk
    hidden = switches.hidden if condition.moe_buf else None
    if hidden is None or topk > hidden.later_topk:
        return build_steps({WAVE.name: wave, ONESHOT.name: oneshot, MULTIPHASE.name: MAX_TOKENS})
    if topk <= hidden.topk or oneshot >= hidden.later_tokens:
        return build_steps({WAVE.name: wave, ONESHOT.name: MAX_TOKENS})
    between = build_steps({WAVE.name: wave, ONESHOT.name: oneshot, MULTIPHASE.name: hidden.later_tokens})
    return [*between, (hidden.later_tokens + 1, ONESHOT.name)]


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
    hidden = switches.hidden
    named = signature if hidden else signature.replace("moe_buf", "/*moe_buf*/")
    few_slots = "" if hidden is None else f"  if (moe_buf && {_format_hidden(hidden)}) return 1;\n"
    return f"""\
{named} {{
  if (tokens <= {switches.wave_pairs} / topk) return 0;
{few_slots}\
  return tokens <= ({switches.pairs} + {switches.pairs_per_expert}LL * num_experts) / topk ? 1 : 2;
}}
"""


def _format_hidden(hidden: Hidden) -> str:
    later = f"(topk <= {hidden.later_topk} && tokens > {hidden.later_tokens})"
    return f"(topk <= {hidden.topk} || {later})"


def _is_nvidia(arch: str) -> bool:
    return arch.startswith("sm_")
