"""The rule of the builtin kernels for what no table has measured: oneshot up to a number of (token, slot) pairs."""

from typing import Final, NamedTuple

from moesort_tune.domain.vocabulary import Condition

BUILTIN_RULE: Final = "the builtin rule"


class _Switch(NamedTuple):
    """Largest number of pairs (tokens * topk) for oneshot: `pairs + pairs_per_expert * num_experts`."""

    pairs: int
    pairs_per_expert: int


_NVIDIA: Final = {True: _Switch(6000, 40), False: _Switch(7000, 20)}
"""By moe_buf. Fitted on an H100 (2026-11-26) to 1,264 points of 23 shapes, 8 to 1024 experts, with moe_buf, without it
and masked: mean regret 1.003, worst 1.139 with moe_buf and 1.06 without. Zeroing hides part of oneshot's time, and the
more of it the more experts there are."""

_AMD_TOKENS: Final = 1024
"""By the instructions of the busiest wave on gfx90a, gfx942 and gfx950 in an emulator: oneshot executes fewer than
multiphase up to about so many tokens. No AMD GPU was timed."""


def oneshot_max_tokens(num_experts: int, topk: int, arch: str, condition: Condition) -> int:
    """Return the largest token count for which the rule takes oneshot, whatever its limit is."""
    if not _is_nvidia(arch):
        return _AMD_TOKENS
    switch = _NVIDIA[condition.moe_buf]
    return (switch.pairs + switch.pairs_per_expert * num_experts) // topk


def rule_cpp(arch: str) -> str:
    """Return the rule for `arch` as C++17 text: the index of the candidate, oneshot before multiphase."""
    signature = "constexpr int rule(int tokens, int num_experts, int topk, bool moe_buf, bool /*masked*/)"
    if not _is_nvidia(arch):
        unnamed = signature.replace("num_experts", "/*num_experts*/").replace("topk", "/*topk*/")
        unnamed = unnamed.replace("moe_buf", "/*moe_buf*/")
        return f"{unnamed} {{\n  return tokens <= {_AMD_TOKENS} ? 0 : 1;\n}}\n"
    zeroing, sorting = _NVIDIA[True], _NVIDIA[False]
    return f"""\
{signature} {{
  const long long pairs = moe_buf ? {zeroing.pairs} + {zeroing.pairs_per_expert}LL * num_experts
                                  : {sorting.pairs} + {sorting.pairs_per_expert}LL * num_experts;
  return tokens <= pairs / topk ? 0 : 1;
}}
"""


def _is_nvidia(arch: str) -> bool:
    return arch.startswith("sm_")
