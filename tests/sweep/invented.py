"""A provider of three invented kernels, whose times follow formulas with known crossings."""

from collections.abc import Sequence
from typing import Final

import pytest

from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, Candidate, Condition
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Provider
from tests.sweep.fakes import FakeWorker

NAMES: Final = ("sprint", "stride", "march")
POLICIES: Final = {"sprint": 3, "stride": 5, "march": 4}


class InventedFacts:
    """Two kernels with a limit, one by the experts alone, one by LDS; and one without."""

    name = "invented"
    label = "invented"
    candidates = tuple(Candidate(name, POLICIES[name]) for name in NAMES)
    rule_name = "the invented rule"
    opening_note = ""
    decides_itself = False
    limits_cpp = f"""\
constexpr int max_tokens(int candidate, int num_experts, int /*topk*/, int lds_bytes, int /*wavefront_size*/) {{
  return candidate == 0 ? 768 / num_experts : candidate == 1 ? lds_bytes / (8 * num_experts) : {MAX_TOKENS};
}}
"""

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        """Return 96 and 1024 tokens for 8 experts, and 12 and 128 for 64, with 64 KiB of LDS."""
        del topk
        return {"sprint": 768 // num_experts, "stride": device.lds_bytes // (8 * num_experts), "march": MAX_TOKENS}

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:
        """Return a rule that takes sprint for too few tokens, and never stride."""
        del num_experts, topk, device, condition
        return ((1, "sprint"), (6, "march"))

    def rule_cpp(self, arch: str) -> str:
        """Return the same in C++."""
        del arch
        return "constexpr int rule(int tokens, int, int, bool, bool) { return tokens < 6 ? 0 : 2; }"

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:
        """Return one token count that no ladder has."""
        del num_experts, topk, device, first, last
        return (77,)


PROVIDER: Final = Provider(InventedFacts(), work="tests.sweep.invented")


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the provider for one test, as if its package was installed."""
    entry = registry._Registration("tests.sweep.invented:PROVIDER", "invented")
    monkeypatch.setattr(registry, "_list_installed", lambda: {"invented": (entry,)})


class InventedWorker(FakeWorker):
    """Take each shape's limits from the facts."""

    def limits(self, shape: Shape) -> Limits:
        """Return what the facts say of this device."""
        return PROVIDER.facts.limits(shape.num_experts, shape.topk, self.facts.limits)
