"""From verdicts at measured token counts to a row of the table: policy, ties and the loss of a rule."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from moesort_tune.domain.candidates import Limits, choose_legal, list_legal_kernels
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import Verdict, make_tie

Step = tuple[int, KernelName]
"""A token count, and the kernel that is chosen from there on."""

Tie = tuple[int, int, tuple[KernelName, ...]]
"""First and last token count, and the kernels of which none won there, in order."""

Times = Mapping[KernelName, float]
"""Median time of each legal kernel at one token count, in microseconds."""


@dataclass(frozen=True)
class Zone:
    """Token counts first..last (None: all that follow) for which the same kernels are legal."""

    first: int
    last: int | None
    kernels: tuple[KernelName, ...]

    def select_points(self, verdicts: Mapping[int, Verdict]) -> dict[int, Verdict]:
        """Return the verdicts measured in this zone, ascending and of its kernels only."""
        inside = {t: verdicts[t] for t in sorted(verdicts) if self.first <= t and (self.last is None or t <= self.last)}
        legal = {tokens: make_tie(self.kernels, verdict) for tokens, verdict in inside.items()}
        return {tokens: verdict for tokens, verdict in legal.items() if verdict.best}


@dataclass(frozen=True)
class Span:
    """Token counts first..last that share one verdict."""

    first: int
    last: int
    verdict: Verdict


@dataclass(frozen=True)
class SwitchPoints:
    """policy: [first token count, kernel] ascending from 1; tie: token ranges in which no kernel won."""

    policy: list[Step]
    tie: list[Tie]


def list_zones(limits: Limits) -> list[Zone]:
    """Cut the token counts from 1 behind each limit."""
    ends = sorted({limit for limit in limits.values() if limit >= 1})
    starts = [1, *(end + 1 for end in ends)]
    lasts: list[int | None] = [*ends, None]
    return [Zone(first, last, list_legal_kernels(first, limits)) for first, last in zip(starts, lasts, strict=True)]


def find_switch_points(verdicts: Mapping[int, Verdict], limits: Limits) -> SwitchPoints:
    """Return the policy that the verdicts ask for.

    Each zone of legality is judged by the token counts measured inside it. Between two of one verdict that verdict
    holds; between two unlike ones without a measurement it is the tie of both, since nothing is known there. Inside a
    tie the choice stays what it was before if the tie names it, so a switch stands at the end of its tie; else it is
    the first kernel named. A zone's first choice reaches down to its start. A zone without a point keeps the choice
    before it if that is legal, else takes the next legal one.
    """
    policy: list[Step] = []
    spans: list[Span] = []
    choice = next(iter(limits))
    for zone in list_zones(limits):
        inside = merge_spans(list_spans(zone.select_points(verdicts), tuple(limits)))
        steps = list(_choose(zone, inside, choice)) or [(zone.first, choose_legal(choice, zone.first, limits))]
        choice = steps[-1][1]
        policy += steps
        spans += inside
    ties = [(span.first, span.last, span.verdict.best) for span in merge_spans(spans) if span.verdict.is_tie]
    return SwitchPoints(_drop_repeats(policy), ties)


def _choose(zone: Zone, spans: list[Span], before: KernelName) -> Iterator[Step]:
    """Yield the choice for each span of a zone."""
    for index, span in enumerate(spans):
        before = before if before in span.verdict.best else span.verdict.best[0]
        yield (span.first if index else zone.first), before


def find_witnesses(verdicts: Mapping[int, Verdict], limits: Limits) -> list[int]:
    """Return the measured counts on which the policy's switches rest, ascending.

    These are the first win of each stretch in which one kernel is chosen, and ties that exclude what was chosen before
    them. Counts at which one kernel alone is legal are left out. Empty where only one kernel is ever chosen: then there
    is no switch that a single wrong win could have made.
    """
    found: list[int] = []
    chosen: KernelName | None = None
    for zone in list_zones(limits):
        if chosen not in zone.kernels:
            chosen = None
        for tokens, verdict in zone.select_points(verdicts).items() if len(zone.kernels) > 1 else ():
            nothing_known = chosen is None and verdict.is_tie and zone.kernels[0] in verdict.best
            if not nothing_known and chosen not in verdict.best:
                chosen = verdict.best[0]
                found.append(tokens)
    return found if len(found) > 1 else []


def list_spans(verdicts: Mapping[int, Verdict], order: tuple[KernelName, ...]) -> Iterator[Span]:
    """Yield measured counts and what follows for those between them, ascending, not yet merged."""
    previous: int | None = None
    for tokens in sorted(verdicts):
        verdict = verdicts[tokens]
        if previous is not None and tokens - previous > 1:
            yield Span(previous + 1, tokens - 1, make_tie(order, verdicts[previous], verdict))
        yield Span(tokens, tokens, verdict)
        previous = tokens


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Join adjacent spans of one verdict."""
    result: list[Span] = []
    for span in spans:
        if result and result[-1].verdict == span.verdict and result[-1].last + 1 == span.first:
            result[-1] = Span(result[-1].first, span.last, span.verdict)
        else:
            result.append(span)
    return result


def _drop_repeats(steps: list[Step]) -> list[Step]:
    return steps[:1] + [step for before, step in pairwise(steps) if before[1] != step[1]]


def compute_loss(times: Times, choice: KernelName) -> float:
    """Return the time of the choice over that of the best legal kernel; an illegal choice runs another."""
    best = min(times.values())
    return times.get(choice, best) / best


def compute_rule_loss(measured: Mapping[int, Times], rule: Callable[[int], KernelName]) -> float:
    """Return the worst loss of a rule (token count -> kernel) over the measured points; 1.0 where none was measured."""
    return max((compute_loss(times, rule(tokens)) for tokens, times in measured.items()), default=1.0)
