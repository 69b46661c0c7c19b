"""A row of the table in the making: which points it needs, and what they come to."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import median

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.providers.facts.aiter_rule import aiter_oneshot_max_tokens
from moesort_tune.sorting.launch_changes import launch_changes
from moesort_tune.sorting.problem import KERNELS
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.search import TokenRange, ladder
from moesort_tune.sweep.switch_points import find_switch_points, rule_loss
from moesort_tune.tables.schema import Evidence, Row


def rungs_of(
    shape: Shape, tokens: TokenRange, oneshot_max_tokens: int, builtin_on: DeviceLimits | None = None
) -> list[int]:
    """Token counts that a row always measures, ascending.

    Among them are the last legal one of oneshot, both sides of the switch of AITER's rule, and, of the builtin kernels
    on a device with the limits `builtin_on`, both sides of each change of their launches' shape. Past oneshot's limit
    there is no winner to find, and powers of two are enough to draw a line.
    """
    rule_switch = aiter_oneshot_max_tokens(shape.num_experts)
    landmarks = [oneshot_max_tokens, rule_switch, rule_switch + 1]
    if builtin_on is not None:
        landmarks += launch_changes(shape.num_experts, shape.topk, builtin_on, tokens.first, tokens.last)
    rungs = ladder(tokens, landmarks)
    return [rung for rung in rungs if rung <= oneshot_max_tokens or rung.bit_count() == 1 or rung == tokens.last]


def legal_kernels(tokens: int, oneshot_max_tokens: int) -> tuple[KernelName, ...]:
    """The kernels that may run."""
    return KERNELS if tokens <= oneshot_max_tokens else (MULTIPHASE,)


def aiter_rule(shape: Shape, tokens: int) -> KernelName:
    """What AITER's own rule would run."""
    return ONESHOT if tokens <= aiter_oneshot_max_tokens(shape.num_experts) else MULTIPHASE


def row_of(shape: Shape, oneshot_max_tokens: int, points: Mapping[int, MeasuredPoint]) -> Row:
    """The row that these points come to; what lies between two sweeps and was skipped by both is a tie."""
    verdicts = {tokens: point.verdict for tokens, point in points.items()}
    found = find_switch_points(
        verdicts | dict.fromkeys(_skipped(verdicts, oneshot_max_tokens), Verdict.TIE), oneshot_max_tokens
    )
    times = {tokens: point.times_us for tokens, point in points.items()}
    return Row(
        num_experts=shape.num_experts,
        topk=shape.topk,
        oneshot_max_tokens=oneshot_max_tokens,
        policy=tuple(found.policy),
        tie=tuple(found.tie),
        evidence=Evidence(
            points=len(points),
            noise=round(median(point.noise for point in points.values()), 4),
            rule_loss=round(rule_loss(times, lambda tokens: aiter_rule(shape, tokens)), 3),
            tokens=(min(points), max(points)),
        ),
    )


def _skipped(verdicts: Mapping[int, Verdict], oneshot_max_tokens: int) -> Iterator[int]:
    """Both ends of each legal stretch without a point in which a sweep of it would have measured one."""
    for low, high in pairwise(sorted(tokens for tokens in verdicts if tokens <= oneshot_max_tokens)):
        if len(ladder(TokenRange(low, high))) > 2:
            yield from (low + 1, high - 1)
