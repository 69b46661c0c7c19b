"""The policies that a table is compared with: a rule, a constant, the first encounter, one kernel always, an oracle."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from moesort_tune.domain.candidates import choose_by_steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import (
    AUTOMATIC,
    DEFAULT_TIMING,
    MULTIPHASE,
    ONESHOT,
    SORTING,
    Condition,
    KernelName,
    Timing,
)
from moesort_tune.measure.verdict import Verdict
from moesort_tune.providers.facts.aiter import PROVIDER as AITER
from moesort_tune.providers.facts.base import Facts, get_operation, map_kernels

USUAL: Final = Condition()
ORACLE: Final = "oracle"


@dataclass(frozen=True)
class Case:
    """A point with the times of every kernel that is legal there, in the candidates' order.

    times_us: median times. first_us: one time of each kernel from before any warm-up.
    weight: how often the point occurs in what is compared. condition, timing: of the calls that were timed.
    candidates: all kernels in their order, those that are not legal included; empty where the legal ones are all.
    """

    shape: Shape
    tokens: int
    times_us: dict[KernelName, float]
    first_us: dict[KernelName, float]
    verdict: Verdict
    weight: int = 1
    condition: Condition = USUAL
    timing: Timing = DEFAULT_TIMING
    candidates: tuple[KernelName, ...] = ()

    @property
    def work(self) -> int:
        """Tokens times experts, by which a constant decides."""
        return self.tokens * self.shape.num_experts

    def run(self, choice: KernelName) -> KernelName:
        """Return the kernel that runs for a choice: where it is not legal, the next one in order, as at run time."""
        later = self.candidates[self.candidates.index(choice) :] if choice in self.candidates else (choice,)
        return next((name for name in later if name in self.times_us), next(reversed(self.times_us)))

    def loss(self, choice: KernelName) -> float:
        """Return the time of a choice over the time of the fastest kernel."""
        return self.times_us[self.run(choice)] / min(self.times_us.values())

    def __str__(self) -> str:
        return f"{self.shape} at {self.tokens} tokens"


@dataclass(frozen=True)
class Policy:
    """A way to choose a kernel for a case. name: what a report calls it."""

    name: str
    choose: Callable[[Case], KernelName]


Cost = Callable[[Case, KernelName], float]
"""Cost of a choice at a case; costs are summed over all cases."""


class Decide(Protocol):
    """A dispatcher's `policy`."""

    def __call__(self, tokens: int, num_experts: int, topk: int, *, moe_buf: bool, masked: bool) -> int:
        """Return the number of a policy."""


def by_table(decide: Decide, facts: Facts, device: DeviceLimits, name: str = "table") -> Policy:
    """Return the policy of a dispatcher, which may leave the choice to the kernels' own rule."""
    names = map_kernels(facts)
    own = by_rule(facts, device)

    def choose(case: Case) -> KernelName:
        condition, shape = case.condition, case.shape
        number = decide(case.tokens, shape.num_experts, shape.topk, moe_buf=condition.moe_buf, masked=condition.masked)
        return own.choose(case) if number == AUTOMATIC else names[number]

    return Policy(name, choose)


def by_timing(policies: Mapping[Timing, Policy], name: str = "table") -> Policy:
    """Return the policy that lets another one decide for each way to launch."""
    return Policy(name, lambda case: policies[case.timing].choose(case))


def by_rule(facts: Facts, device: DeviceLimits) -> Policy:
    """Return the provider's own rule."""

    def choose(case: Case) -> KernelName:
        steps = facts.rule(case.shape.num_experts, case.shape.topk, device, case.condition)
        return choose_by_steps(steps, case.tokens)

    return Policy(facts.rule_name, choose)


def by_aiter_rule(device: DeviceLimits) -> Policy:
    """Return AITER's rule, which chooses between kernels named oneshot and multiphase."""
    return by_rule(AITER.facts, device)


def list_rules(facts: Facts, device: DeviceLimits) -> list[Policy]:
    """Return the provider's own rule, and AITER's where this is another one for kernels of its operation and names."""
    own, others = by_rule(facts, device), by_aiter_rule(device)
    names = {candidate.name for candidate in facts.candidates}
    comparable = own.name != others.name and {ONESHOT.name, MULTIPHASE.name} <= names
    return [own, others] if comparable and get_operation(facts) == SORTING else [own]


class Constant(NamedTuple):
    """A rule of one number: the last candidate where tokens * experts exceeds `work`, else `below`.

    below: None for the first candidate that is legal.
    """

    work: int
    below: KernelName | None = None

    def __str__(self) -> str:
        return str(self.work) if self.below is None else f"{self.work}, else {self.below}"


def by_constant(constant: Constant, name: str) -> Policy:
    """Return the policy of a constant."""

    def choose(case: Case) -> KernelName:
        names = list(case.times_us)
        return names[-1] if case.work > constant.work else constant.below or names[0]

    return Policy(name, choose)


def best_constant(cases: Sequence[Case], cost: Cost) -> Constant:
    """Return the constant that costs least over these very cases, whichever kernel it takes below it.

    It is the competitor at its best, by hindsight.
    """
    works = sorted({0, *(case.work for case in cases)})
    names = dict.fromkeys(name for case in cases for name in (*case.candidates, *case.times_us))
    constants = [Constant(work, below) for below in names for work in works]
    return min(constants, key=lambda constant: _total(cases, constant, cost))


def _total(cases: Iterable[Case], constant: Constant, cost: Cost) -> float:
    policy = by_constant(constant, "")
    return sum(case.weight * cost(case, policy.choose(case)) for case in cases)


def by_first_encounter() -> Policy:
    """Return the policy of AITER's pull request 3525: one cold time of each kernel, the first candidate taken first."""
    return Policy("first encounter", lambda case: min(case.first_us, key=lambda kernel: case.first_us[kernel]))


def always(facts: Facts) -> Iterator[Policy]:
    """Yield the policies that take one kernel wherever it is legal."""
    for candidate in facts.candidates:
        yield Policy(f"always {candidate.name}", _constantly(candidate.name))


def _constantly(kernel: KernelName) -> Callable[[Case], KernelName]:
    return lambda _: kernel


def by_oracle() -> Policy:
    """Return the policy that takes the kernel that was fastest, by hindsight."""
    return Policy(ORACLE, lambda case: min(case.times_us, key=lambda kernel: case.times_us[kernel]))
