"""Build a row of the table: list the token counts that it needs, and derive the row from their points."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Final

from msgspec.structs import replace

from moesort_tune.domain.candidates import Limits, choose_legal, list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, SORTING, Condition, KernelName, Operation
from moesort_tune.measure.verdict import Verdict
from moesort_tune.providers.facts.aiter_rule import compute_aiter_oneshot_max_tokens
from moesort_tune.providers.facts.registry import find_facts, find_operation
from moesort_tune.sweep.expected_loss import compute_expected_loss
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.search import EACH_UP_TO, TokenRange, build_ladder
from moesort_tune.sweep.switch_points import Times, compute_rule_loss, find_switch_points, list_zones
from moesort_tune.tables.schema import Evidence, Row

_USUAL: Final = Condition()

FAR: Final = 1.5
"""Ratio of the times of the loser and the winner of one condition from which no other condition is likely to have
another winner: on an H100 oneshot, the winner of 256/8 at 3072 tokens, takes 1.4 times as long as multiphase without a
moe_buf."""


def list_rungs(
    shape: Shape,
    tokens: TokenRange,
    limits: Limits,
    *,
    provider: str,
    device: DeviceLimits,
    condition: Condition = _USUAL,
) -> list[int]:
    """Return the token counts that a row always measures, ascending.

    Among them are the last legal count of each kernel, the one behind it where several kernels stay legal, both sides
    of each switch of the provider's own rule and, in moe_sorting, of AITER's, and what its facts name as landmarks.
    Where one kernel alone is legal there is no winner to find, and powers of two are enough for a line.
    """
    landmarks = {
        *_list_ends(limits),
        *_list_aiter_switch(shape, limits, find_operation(provider)),
        *_list_landmarks(shape, tokens, provider, device, condition),
    }
    return [
        rung
        for rung in build_ladder(tokens, landmarks)
        if len(list_legal_kernels(rung, limits)) > 1 or rung.bit_count() == 1 or rung == tokens.last
    ]


def list_coarse_rungs(rungs: Sequence[int], limits: Limits) -> list[int]:
    """Return the rungs that no condition does without: both ends, powers of two and the kernels' limits."""
    ends = {rungs[0], rungs[-1], *_list_ends(limits)}
    return [rung for rung in rungs if rung in ends or rung.bit_count() == 1]


def list_first_rungs(rungs: Sequence[int], limits: Limits) -> list[int]:
    """Return the few rungs of a row's first answer: both ends, the kernels' limits, and powers of four between which
    there is a choice."""
    ends = {rungs[0], rungs[-1], *_list_ends(limits)}
    powers = {4**k for k in range(rungs[-1].bit_length())}
    return [rung for rung in rungs if rung in ends or (rung in powers and len(list_legal_kernels(rung, limits)) > 1)]


def list_rungs_after(
    first: Row, points: Mapping[int, MeasuredPoint], rungs: Sequence[int], limits: Limits
) -> list[int]:
    """Return the rungs of a shape whose row of another condition is known.

    Those are left out, but for the coarse ones, at which, as at the rungs beside them, one kernel won by far: no other
    condition changes that much. Where every count is a rung, it need not be by far: the coarse ones are close enough to
    see a change. Both sides of the switches that were found are added.
    """
    needed = {*list_coarse_rungs(rungs, limits), *(end for start, _ in first.policy[1:] for end in (start - 1, start))}
    for index, rung in enumerate(rungs):
        beside = [points[near] for near in rungs[max(0, index - 1) : index + 2] if near in points]
        least = FAR if rung > EACH_UP_TO else 1.0
        if len({point.verdict for point in beside}) != 1 or not all(_is_won_by(point, least) for point in beside):
            needed.add(rung)
    return sorted(rung for rung in needed if rungs[0] <= rung <= rungs[-1])


def _is_won_by(point: MeasuredPoint, least: float) -> bool:
    return len(point.times_us) == 1 or (not point.verdict.is_tie and (point.ratio or 1.0) >= least)


def _list_ends(limits: Limits) -> set[int]:
    """Return the last count for which each kernel is legal, and the one behind it where several are."""
    legal = {limit for limit in limits.values() if limit < MAX_TOKENS}
    return legal | {limit + 1 for limit in legal if len(list_legal_kernels(limit + 1, limits)) > 1}


def _list_landmarks(
    shape: Shape, tokens: TokenRange, provider: str, device: DeviceLimits, condition: Condition
) -> Iterator[int]:
    """Yield the token counts at which the provider's facts expect a change."""
    facts = find_facts(provider)
    if facts is None:
        return
    for first, _ in facts.rule(shape.num_experts, shape.topk, device, condition):
        yield from (first - 1, first)
    yield from facts.landmarks(shape.num_experts, shape.topk, device, tokens.first, tokens.last)


def _list_aiter_switch(shape: Shape, limits: Limits, operation: Operation) -> tuple[int, ...]:
    """Return both sides of the switch of AITER's rule, where a row says what that loses."""
    last = compute_aiter_oneshot_max_tokens(shape.num_experts)
    return (last, last + 1) if _is_judged(limits, operation) else ()


def _is_judged(limits: Limits, operation: Operation) -> bool:
    """Return whether AITER's rule is one for this operation, and the kernels that it names are among these."""
    return operation == SORTING and {ONESHOT.name, MULTIPHASE.name} <= limits.keys()


def choose_by_aiter_rule(shape: Shape, tokens: int) -> KernelName:
    """Return the choice of AITER's own rule."""
    return (ONESHOT if tokens <= compute_aiter_oneshot_max_tokens(shape.num_experts) else MULTIPHASE).name


def select_limited(limits: Limits) -> dict[KernelName, int]:
    """Return the limits as a table keeps them: of the kernels that have one, and never less than 0."""
    return {kernel: max(0, limit) for kernel, limit in limits.items() if limit < MAX_TOKENS}


def build_row(
    shape: Shape,
    limits: Limits,
    points: Mapping[int, MeasuredPoint],
    *,
    condition: Condition = _USUAL,
    operation: Operation = SORTING,
) -> Row:
    """Return the row that follows from these points; what lies between two sweeps and was skipped by both is a tie."""
    verdicts = {tokens: point.verdict for tokens, point in points.items()}
    skipped = _find_skipped(verdicts, limits, coarse=condition != _USUAL)
    found = find_switch_points({**verdicts, **skipped}, limits)
    times = {tokens: point.times_us for tokens, point in points.items()}
    row = Row(
        num_experts=shape.num_experts,
        topk=shape.topk,
        limits=select_limited(limits),
        policy=tuple(found.policy),
        tie=tuple(found.tie),
        evidence=Evidence(
            points=len(points),
            noise=round(median(point.noise for point in points.values()), 4),
            rule_loss=_compute_aiter_rule_loss(shape, limits, times) if _is_judged(limits, operation) else None,
            tokens=(min(points), max(points)),
            **_describe_cards(points.values()),
        ),
    )
    loss = compute_expected_loss(points, lambda tokens: row.choose_kernel(tokens, tuple(limits)))
    return replace(row, evidence=replace(row.evidence, expected_loss=round(loss, 5)))


def _describe_cards(points: Collection[MeasuredPoint]) -> dict[str, Any]:
    """Return on how many cards every point was measured, and how far these lie apart; nothing for one card."""
    cards = min(point.cards for point in points)
    return {"cards": cards, "spread": round(median(point.spread for point in points), 4)} if cards > 1 else {}


def _compute_aiter_rule_loss(shape: Shape, limits: Limits, times: Mapping[int, Times]) -> float:
    """Return the worst loss of AITER's rule."""
    return round(
        compute_rule_loss(times, lambda tokens: choose_legal(choose_by_aiter_rule(shape, tokens), tokens, limits)), 3
    )


def _find_skipped(verdicts: Mapping[int, Verdict], limits: Limits, *, coarse: bool) -> dict[int, Verdict]:
    """Return ties at both ends of each stretch without a point in which a sweep of it would have measured one.

    coarse: it would have left out what only the first condition of a sweep needs; see list_rungs_after.
    """
    ties: dict[int, Verdict] = {}
    for zone in list_zones(limits):
        for low, high in pairwise(zone.select_points(verdicts)):
            between = build_ladder(TokenRange(low, high))[1:-1]
            if len(zone.kernels) > 1 and any(not coarse or rung.bit_count() == 1 for rung in between):
                ties |= dict.fromkeys((low + 1, high - 1), Verdict(zone.kernels))
    return ties
