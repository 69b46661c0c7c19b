"""Build a row of the table: list the token counts that it needs, and derive the row from their points."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import median

from moesort_tune.domain.candidates import Limits, choose_legal, list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, KernelName
from moesort_tune.measure.verdict import Verdict
from moesort_tune.providers.facts.aiter_rule import compute_aiter_oneshot_max_tokens
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.search import TokenRange, build_ladder
from moesort_tune.sweep.switch_points import Times, compute_rule_loss, find_switch_points, list_zones
from moesort_tune.tables.schema import Evidence, Row


def list_rungs(shape: Shape, tokens: TokenRange, limits: Limits, *, provider: str, device: DeviceLimits) -> list[int]:
    """Return the token counts that a row always measures, ascending.

    Among them are the last legal count of each kernel, the one behind it where several kernels stay legal, both sides
    of each switch of the provider's own rule, and what its facts name as landmarks. Where one kernel alone is legal
    there is no winner to find, and powers of two are enough for a line.
    """
    legal = {limit for limit in limits.values() if limit < MAX_TOKENS}
    behind = {limit + 1 for limit in legal if len(list_legal_kernels(limit + 1, limits)) > 1}
    landmarks = {*legal, *behind, *_list_landmarks(shape, tokens, provider, device)}
    return [
        rung
        for rung in build_ladder(tokens, landmarks)
        if len(list_legal_kernels(rung, limits)) > 1 or rung.bit_count() == 1 or rung == tokens.last
    ]


def _list_landmarks(shape: Shape, tokens: TokenRange, provider: str, device: DeviceLimits) -> Iterator[int]:
    """Yield the token counts at which the provider's facts expect a change."""
    facts = find_facts(provider)
    if facts is None:
        return
    for first, _ in facts.rule(shape.num_experts, shape.topk, device):
        yield from (first - 1, first)
    yield from facts.landmarks(shape.num_experts, shape.topk, device, tokens.first, tokens.last)


def choose_by_aiter_rule(shape: Shape, tokens: int) -> KernelName:
    """Return the choice of AITER's own rule."""
    return (ONESHOT if tokens <= compute_aiter_oneshot_max_tokens(shape.num_experts) else MULTIPHASE).name


def select_limited(limits: Limits) -> dict[KernelName, int]:
    """Return the limits as a table keeps them: of the kernels that have one, and never less than 0."""
    return {kernel: max(0, limit) for kernel, limit in limits.items() if limit < MAX_TOKENS}


def build_row(shape: Shape, limits: Limits, points: Mapping[int, MeasuredPoint]) -> Row:
    """Return the row that follows from these points; what lies between two sweeps and was skipped by both is a tie."""
    verdicts = {tokens: point.verdict for tokens, point in points.items()}
    found = find_switch_points({**verdicts, **_find_skipped(verdicts, limits)}, limits)
    return Row(
        num_experts=shape.num_experts,
        topk=shape.topk,
        limits=select_limited(limits),
        policy=tuple(found.policy),
        tie=tuple(found.tie),
        evidence=Evidence(
            points=len(points),
            noise=round(median(point.noise for point in points.values()), 4),
            rule_loss=_compute_aiter_rule_loss(
                shape, limits, {tokens: point.times_us for tokens, point in points.items()}
            ),
            tokens=(min(points), max(points)),
        ),
    )


def _compute_aiter_rule_loss(shape: Shape, limits: Limits, times: Mapping[int, Times]) -> float | None:
    """Return the worst loss of AITER's rule, None where the kernels that it names are not among these."""
    if not {ONESHOT.name, MULTIPHASE.name} <= limits.keys():
        return None
    return round(
        compute_rule_loss(times, lambda tokens: choose_legal(choose_by_aiter_rule(shape, tokens), tokens, limits)), 3
    )


def _find_skipped(verdicts: Mapping[int, Verdict], limits: Limits) -> dict[int, Verdict]:
    """Return ties at both ends of each stretch without a point in which a sweep of it would have measured one."""
    ties: dict[int, Verdict] = {}
    for zone in list_zones(limits):
        for low, high in pairwise(zone.select_points(verdicts)):
            if len(zone.kernels) > 1 and len(build_ladder(TokenRange(low, high))) > 2:
                ties |= dict.fromkeys((low + 1, high - 1), Verdict(zone.kernels))
    return ties
