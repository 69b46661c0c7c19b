"""Compute regret, the time of a choice over the time of the fastest kernel, for a table and for other policies."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.verify.policies import Case, Constant, Policy, best_constant, by_constant

AS_GOOD: Final = 0.002
"""A mean regret within this of another is as good."""


@dataclass(frozen=True)
class Regret:
    """Regret of one policy over all cases. p90: exceeded at a tenth of them at most; worst_at: where it is worst.

    worst_settled: the worst where another kernel won by more than the noise, 1.0 where none ever did.
    """

    mean: float
    p90: float
    worst: float
    worst_at: Case
    worst_settled: float


def compute_regret(cases: Sequence[Case], policy: Policy) -> Regret:
    """Return the regret of `policy` over `cases`, of which there must be at least one."""
    losses = [case.loss(policy.choose(case)) for case in cases]
    worst, where = max(zip(losses, cases, strict=True), key=lambda pair: pair[0])
    p90 = sorted(losses)[math.ceil(0.9 * len(losses)) - 1]
    settled = (lost for lost, _ in list_settled_losses(cases, policy))
    return Regret(fmean(losses), p90, worst, where, max(settled, default=1.0))


def list_settled_losses(cases: Sequence[Case], policy: Policy) -> list[tuple[float, Case]]:
    """Return the regret of `policy` at each case where another kernel won by more than the noise, with the case."""
    chosen = [(case.run(policy.choose(case)), case) for case in cases]
    return [(case.loss(kernel), case) for kernel, case in chosen if kernel not in case.verdict.best]


def compute_group_regrets(
    cases: Sequence[Case], policy: Policy, group: Callable[[Case], str]
) -> dict[str, tuple[int, Regret]]:
    """Return the number of cases and the regret of `policy` in each group, in the order of the first cases."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(group(case), []).append(case)
    return {name: (len(alike), compute_regret(alike, policy)) for name, alike in groups.items()}


def find_best_mean_constant(cases: Sequence[Case]) -> Constant:
    """Return the constant with the least mean regret over these cases, by hindsight."""

    def cost(case: Case, choice: KernelName) -> float:
        return case.loss(choice)

    return best_constant(cases, cost)


def compare_policies(cases: Sequence[Case], policies: Sequence[Policy]) -> dict[str, Regret]:
    """Return the regret of each policy by its name, in their order."""
    return {policy.name: compute_regret(cases, policy) for policy in policies}


def is_constant_as_good(cases: Sequence[Case], table: Policy) -> bool:
    """Return whether the mean regret of the best constant is no worse than the table's."""
    constant = compute_regret(cases, by_constant(find_best_mean_constant(cases), "best constant"))
    return constant.mean <= compute_regret(cases, table).mean + AS_GOOD
