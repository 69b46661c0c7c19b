"""Facts of this project's own kernels in the align form, which computes moe_align_block_size."""

from typing import Final

from moesort_tune.domain.candidates import Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import ALIGN, ALIGN_CONDITION, Condition, Operation
from moesort_tune.providers.facts import builtin_rule
from moesort_tune.providers.facts.base import Provider
from moesort_tune.providers.facts.builtin import BuiltinFacts


class AlignFacts(BuiltinFacts):
    """The kernels of hip_kernels/ in the align form: launches, limits and landmarks are those of the sorting form."""

    name = "align"
    operation: Operation = ALIGN
    rule_name = "the align rule"

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:
        """Return the builtin rule without a moe_buf, with switches of its own, whatever `condition` says."""
        del condition
        switches = builtin_rule.ALIGN_SWITCHES
        return builtin_rule.compute_rule_steps(num_experts, topk, device.arch, ALIGN_CONDITION, switches)

    def rule_cpp(self, arch: str) -> str:
        """Return the same in C++."""
        return builtin_rule.rule_cpp(arch, builtin_rule.ALIGN_SWITCHES)


PROVIDER: Final = Provider(AlignFacts(), work="moesort_tune.providers.work.align")
