"""The decisions that published times of both kernels allow to judge, and what each policy loses at them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from aiter_model.fit import Model
from aiter_model.points import SGLANG, Cycles, Point, Shape
from moesort_tune.providers.facts.aiter_rule import compute_aiter_oneshot_max_tokens

UNJUDGED: Final = frozenset({SGLANG})
"""Modes whose figures are ends of ranges; they are shown beside the rows, not among the decisions."""


class Decision(NamedTuple):
    """A shape and token count at which both kernels' times are known. us: by kernel."""

    mode: str
    shape: Shape
    tokens: int
    us: Mapping[str, float]

    def compute_regret(self, kernel: str) -> float:
        """Return the time of a kernel over that of the better one."""
        return self.us[kernel] / min(self.us.values())


Policy = Callable[[Decision], str]


class Regret(NamedTuple):
    """Mean and worst of the decisions, and where the worst is."""

    mean: float
    worst: float
    at: Decision


def list_decisions(points: Sequence[Point]) -> list[Decision]:
    """Return the decisions at the published times of oneshot.

    Where multiphase was not published for so few tokens, its least time for more stands for it: fewer take no longer.
    """
    judged = [point for point in points if point.mode not in UNJUDGED]
    return [Decision(p.mode, p.shape, p.tokens, us) for p in judged if (us := _pair(p, judged)) is not None]


def _pair(point: Point, points: Sequence[Point]) -> dict[str, float] | None:
    """Return the times of both kernels at a time of oneshot; None for a time of multiphase."""
    alike = (p for p in points if (p.mode, p.shape, p.kernel) == (point.mode, point.shape, "multiphase"))
    bounds = [p.us for p in alike if p.tokens >= point.tokens]
    return {"oneshot": point.us, "multiphase": min(bounds)} if point.kernel == "oneshot" and bounds else None


def choose_by_models(models: Mapping[str, Model], cycles: Cycles) -> Policy:
    """Return the policy that takes the kernel whose modelled time is less, by the model of the decision's mode."""

    def choose(decision: Decision) -> str:
        shape, tokens = decision.shape, decision.tokens
        model = models[decision.mode]
        return min(decision.us, key=lambda name: model.estimate_us(cycles.count(name, shape, tokens), name))

    return choose


def choose_by_rule(decision: Decision) -> str:
    """Return what AITER's rule takes today."""
    return (
        "oneshot" if decision.tokens <= compute_aiter_oneshot_max_tokens(decision.shape.num_experts) else "multiphase"
    )


def choose_by_rule_before_3986(decision: Decision) -> str:
    """Return what AITER's rule took when these times were published."""
    return "oneshot" if decision.shape.num_experts >= 512 else choose_by_rule(decision)


def choose_by_constant(work: int) -> Policy:
    """Return the policy that takes oneshot up to a product of tokens and experts."""
    return lambda decision: "oneshot" if decision.tokens * decision.shape.num_experts <= work else "multiphase"


def find_best_constant(decisions: Sequence[Decision]) -> int:
    """Return the constant of the least mean regret."""
    works = sorted({0, *(decision.tokens * decision.shape.num_experts for decision in decisions)})
    return min(works, key=lambda work: rate(decisions, choose_by_constant(work)).mean)


def rate(decisions: Sequence[Decision], policy: Policy) -> Regret:
    """Return the regret of a policy."""
    found = [(decision.compute_regret(policy(decision)), decision) for decision in decisions]
    worst, at = max(found, key=lambda one: one[0])
    return Regret(sum(regret for regret, _ in found) / len(found), worst, at)


def list_policies(
    decisions: Sequence[Decision], models: Mapping[str, Model], cycles: Cycles
) -> Iterator[tuple[str, Policy]]:
    """Yield the policies to compare, each with its name."""
    one_gap = dict.fromkeys(models, next(iter(models.values())))
    constant = find_best_constant(decisions)
    yield "the model, with each mode's own gap", choose_by_models(models, cycles)
    yield "the model, with the gap of replayed graphs", choose_by_models(one_gap, cycles)
    yield "AITER's rule, as it was then", choose_by_rule_before_3986
    yield "AITER's rule today", choose_by_rule
    yield f"best constant, tokens * experts > {constant}", choose_by_constant(constant)
    yield "always oneshot", lambda _: "oneshot"
    yield "always multiphase", lambda _: "multiphase"
