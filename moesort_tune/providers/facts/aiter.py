"""Facts of AITER's own two sorting kernels."""

from collections.abc import Sequence
from typing import Final

from moesort_tune.domain.candidates import Limits, Steps, build_steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, Candidate, Condition
from moesort_tune.providers.facts.aiter_rule import (
    AITER_RULE,
    AITER_RULE_CPP,
    ENDLESS_ONESHOT_EXPERTS,
    compute_aiter_forced_oneshot_max_tokens,
    compute_aiter_oneshot_max_tokens,
)
from moesort_tune.providers.facts.base import Provider


class AiterFacts:
    """Facts of AITER's kernels, policies 1 and 2 of its moe_sorting. Without a table AITER decides (policy 0)."""

    name = "aiter"
    label = "AITER's"
    candidates: tuple[Candidate, ...] = (ONESHOT, MULTIPHASE)
    rule_name = AITER_RULE
    opening_note = "AITER compiles its kernels at their first use"
    decides_itself = True
    limits_cpp = f"""\
// Forced, AITER's oneshot accepts any number of tokens below {ENDLESS_ONESHOT_EXPERTS} experts; from there on it hangs.
constexpr int max_tokens(int candidate, int num_experts, int /*topk*/, int /*lds_bytes*/, int /*wavefront_size*/) {{
  return candidate == 0 && num_experts >= {ENDLESS_ONESHOT_EXPERTS} ? -1 : {MAX_TOKENS};
}}
"""

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:  # noqa: ARG002
        """Return the limits of forcing each kernel: none, except where oneshot hangs for too many experts."""
        return {ONESHOT.name: compute_aiter_forced_oneshot_max_tokens(num_experts), MULTIPHASE.name: MAX_TOKENS}

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:  # noqa: ARG002
        """Return the rule of AITER's policy 0, which asks for the experts alone."""
        return build_steps({ONESHOT.name: compute_aiter_oneshot_max_tokens(num_experts), MULTIPHASE.name: MAX_TOKENS})

    def rule_cpp(self, arch: str) -> str:  # noqa: ARG002
        """Return the same in C++."""
        return AITER_RULE_CPP

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:  # noqa: ARG002
        """Return none: what AITER's launches depend on is not known here."""
        return ()


PROVIDER: Final = Provider(AiterFacts(), work="moesort_tune.providers.work.aiter")
