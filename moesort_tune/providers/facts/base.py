"""The light half of a provider: what a serving process and the commands know of its kernels without running them.

Facts import nothing but the standard library, moesort_tune.domain and this module (those of `builtin` also
moesort_tune.sorting.geometry). Only `landmarks`, which no serving process calls, may import more when it is called.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import SORTING, Candidate, Condition, KernelName, Operation


class Facts(Protocol):
    """Facts of one provider's kernels.

    name: what a table's entry calls the provider; label: whose kernels these are, for messages ("AITER's").
    candidates: the kernels in order; where several tie or rows disagree, the first is taken.
    rule_name: what `rule` is called where it decides or is compared with a table.
    opening_note: what takes long when the kernels are opened, '' for nothing.
    decides_itself: without a table the kernels' own code decides (policy 0), and `rule` says what it will do.
    limits_cpp: C++17 text that defines `constexpr int max_tokens(int candidate, int num_experts, int topk,
    int lds_bytes, int wavefront_size)`, equal to `limits` for each candidate's index.
    Facts may also have `operation`, what the kernels compute; see get_operation.
    """

    name: str
    label: str
    candidates: tuple[Candidate, ...]
    rule_name: str
    opening_note: str
    decides_itself: bool
    limits_cpp: str

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        """Return the limits of every candidate, in order: its largest token count; see domain.candidates.Limits."""

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:
        """Return what is chosen from how many tokens on where no table was measured, ascending from 1."""

    def rule_cpp(self, arch: str) -> str:
        """Return `rule` for devices of `arch` as C++17 text.

        It defines `constexpr int rule(int tokens, int num_experts, int topk, bool moe_buf, bool masked)`, which returns
        the index of a candidate.
        """

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:
        """Return token counts in first..last at which a kernel's time may jump; a sweep measures each of them."""


def get_operation(facts: Facts) -> Operation:
    """Return what the kernels compute: moe_sorting for facts without `operation`, as all once were."""
    return getattr(facts, "operation", SORTING)


def map_policies(facts: Facts) -> dict[KernelName, int]:
    """Return the number of each candidate for `dispatch_policy`, in the candidates' order."""
    return {candidate.name: candidate.policy for candidate in facts.candidates}


def map_kernels(facts: Facts) -> dict[int, KernelName]:
    """Return the candidate of each number for `dispatch_policy`, in the candidates' order."""
    return {candidate.policy: candidate.name for candidate in facts.candidates}


class Provider(NamedTuple):
    """A provider as it is registered in the entry point group `moesort_tune.providers`.

    work: dotted name of the module that runs the kernels (providers/work/base.py says what it defines). It is imported
    only by what measures.
    """

    facts: Facts
    work: str
