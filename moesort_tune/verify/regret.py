"""What a choice costs: its time over the time of the better kernel, for a table and for what it competes with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import KERNEL_OF, MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sweep.rows import aiter_rule
from moesort_tune.sweep.switch_points import loss

AS_GOOD: Final = 0.002
"""A mean regret within this of another is as good."""


@dataclass(frozen=True)
class MeasuredChoice:
    """Both kernels at one point: median times, and one time each from before any warm-up."""

    shape: Shape
    tokens: int
    times_us: dict[KernelName, float]
    first_us: dict[KernelName, float]
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.shape} at {self.tokens} tokens"


Choose = Callable[[MeasuredChoice], KernelName]


@dataclass(frozen=True)
class Regret:
    """Regret of one way to choose over all points. worst_at: where it is worst.

    worst_settled: the worst where the other kernel won by more than the noise, 1.0 where it never did.
    """

    mean: float
    worst: float
    worst_at: MeasuredChoice
    worst_settled: float


def regret_of(points: Sequence[MeasuredChoice], choose: Choose) -> Regret:
    """Regret of `choose` over `points`, of which there is at least one."""
    losses = [loss(point.times_us, choose(point)) for point in points]
    worst, where = max(zip(losses, points, strict=True), key=lambda pair: pair[0])
    against = [
        lost
        for lost, point in zip(losses, points, strict=True)
        if point.verdict is not Verdict.TIE and KERNEL_OF[point.verdict] != choose(point)
    ]
    return Regret(fmean(losses), worst, where, max(against, default=1.0))


def by_constant(constant: int) -> Choose:
    """multiphase where tokens * num_experts exceeds `constant`."""
    return lambda point: MULTIPHASE if _work(point) > constant else ONESHOT


def best_constant(points: Sequence[MeasuredChoice]) -> int:
    """The constant with the least mean regret over these very points: the competitor at its best, by hindsight."""
    candidates = sorted({0, *map(_work, points)})
    return min(candidates, key=lambda constant: regret_of(points, by_constant(constant)).mean)


def contenders(points: Sequence[MeasuredChoice], table: Choose, constant: int) -> dict[str, Regret]:
    """Regret of the table and of everything it competes with, the table first."""
    ways: dict[str, Choose] = {
        "table": table,
        "AITER's rule": lambda point: aiter_rule(point.shape, point.tokens),
        f"tokens * experts > {constant}": by_constant(constant),
        "first encounter": lambda point: min(point.first_us, key=lambda kernel: point.first_us[kernel]),
        "always oneshot": lambda _: ONESHOT,
        "always multiphase": lambda _: MULTIPHASE,
    }
    return {name: regret_of(points, choose) for name, choose in ways.items()}


def constant_does_as_well(points: Sequence[MeasuredChoice], table: Choose) -> bool:
    """Whether the best constant's mean regret is no worse than the table's."""
    constant = regret_of(points, by_constant(best_constant(points)))
    return constant.mean <= regret_of(points, table).mean + AS_GOOD


def _work(point: MeasuredChoice) -> int:
    return point.tokens * point.shape.num_experts
