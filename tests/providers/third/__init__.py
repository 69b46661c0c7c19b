"""Facts of a provider in another package: a complete boundary that sorts nothing.

CONTRIBUTING.md refers to it, and a test installs and sweeps it. For a real sort see
moesort_tune/providers/work/builtin_kernels.py.
"""

from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, Candidate, Condition
from moesort_tune.providers.facts.base import Provider


class ThirdFacts:
    """Three kernels, of which the first takes at most 12 tokens."""

    name = "third"
    label = "Third's"
    candidates: tuple[Candidate, ...] = (Candidate("wave", 3), Candidate("block", 1), Candidate("grid", 7))
    rule_name = "Third's rule"
    opening_note = ""
    decides_itself = False
    limits_cpp = (
        f"constexpr int max_tokens(int candidate, int, int, int, int) {{ return candidate ? {MAX_TOKENS} : 12; }}"
    )

    def limits(self, _num_experts: int, _topk: int, _device: DeviceLimits) -> Limits:
        """Return the same limits for every shape."""
        return {"wave": 12, "block": MAX_TOKENS, "grid": MAX_TOKENS}

    def rule(self, _num_experts: int, _topk: int, _device: DeviceLimits, _condition: Condition) -> Steps:
        """Return that `grid` is chosen for every number of tokens."""
        return [(1, "grid")]

    def rule_cpp(self, _arch: str) -> str:
        """Return the same in C++."""
        return "constexpr int rule(int, int, int, bool, bool) { return 2; }"

    def landmarks(self, *_shape_device_and_range: object) -> list[int]:
        """Return none: no time jumps anywhere."""
        return []


PROVIDER = Provider(ThirdFacts(), work=f"{__name__}.work")
