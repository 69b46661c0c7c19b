"""Facts of this project's own kernels."""

from collections.abc import Sequence
from typing import Final

from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, WAVE, Candidate, Condition
from moesort_tune.providers.facts import builtin_rule
from moesort_tune.providers.facts.base import Provider
from moesort_tune.sorting import geometry

_LIMITS_CPP: Final = f"""\
{geometry.WAVE_MAX_TOKENS_CPP}
{geometry.ONESHOT_MAX_TOKENS_CPP}
constexpr int max_tokens(int candidate, int num_experts, int topk, int lds_bytes, int wavefront_size) {{
  if (candidate == 0) return wave_max_tokens(topk, wavefront_size);
  return candidate == 1 ? oneshot_max_tokens(num_experts, topk, lds_bytes) : {MAX_TOKENS};
}}
"""


class BuiltinFacts:
    """The kernels of hip_kernels/: wave, limited by its lanes, oneshot, limited by LDS, and multiphase."""

    name = "builtin"
    label = "moesort-tune's"
    candidates: tuple[Candidate, ...] = (WAVE, ONESHOT, MULTIPHASE)
    rule_name = builtin_rule.BUILTIN_RULE
    opening_note = ""
    decides_itself = False
    limits_cpp = _LIMITS_CPP

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        """Return the limits of the kernels: lanes limit wave, LDS and 16-bit counters oneshot, nothing multiphase."""
        return geometry.compute_limits(num_experts, topk, device)

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:
        """Return the rule of builtin_rule.py."""
        return builtin_rule.compute_rule_steps(num_experts, topk, device.arch, condition)

    def rule_cpp(self, arch: str) -> str:
        """Return the same in C++."""
        return builtin_rule.rule_cpp(arch)

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:
        """Return both sides of each change of the launches' shape."""
        from moesort_tune.sorting.launch_changes import find_launch_changes  # a serving process does not need it

        return find_launch_changes(num_experts, topk, device, first, last)


PROVIDER: Final = Provider(BuiltinFacts(), work="moesort_tune.providers.work.builtin")
