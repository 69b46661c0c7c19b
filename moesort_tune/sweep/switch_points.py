"""From verdicts at measured token counts to a row of the table: policy, ties and what a rule would lose."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import KERNEL_OF, MULTIPHASE, ONESHOT, Verdict

Segment = tuple[int, KernelName]
Tie = tuple[int, int]
Times = Mapping[KernelName, float]
"""Median time of each legal kernel at one token count, in microseconds."""


@dataclass(frozen=True)
class Span:
    """Token counts first..last that share one verdict."""

    first: int
    last: int
    verdict: Verdict


@dataclass(frozen=True)
class SwitchPoints:
    """policy: [first token count, kernel] ascending from 1; tie: token ranges in which neither kernel won."""

    policy: list[Segment]
    tie: list[Tie]


def find_switch_points(verdicts: Mapping[int, Verdict], oneshot_max_tokens: int) -> SwitchPoints:
    """The policy that the verdicts ask for.

    verdicts: of measured token counts; those past `oneshot_max_tokens` are not looked at.
    Between two measured counts of one verdict that verdict holds; between two unlike ones that nobody
    measured it is a tie, since nothing is known there. Inside a tie the choice stays what it was before
    (oneshot at the start), so a switch stands at the end of its tie, and oneshot never goes past its limit.
    """
    if oneshot_max_tokens < 1:
        return SwitchPoints([(1, MULTIPHASE)], [])
    legal = {tokens: verdict for tokens, verdict in verdicts.items() if tokens <= oneshot_max_tokens}
    spans = merged(spans_of(legal))
    ties = [(span.first, span.last) for span in spans if span.verdict is Verdict.TIE]
    return SwitchPoints(_policy(spans, oneshot_max_tokens), ties)


def witnesses(verdicts: Mapping[int, Verdict]) -> list[int]:
    """The first win of each stretch of measured counts in which one kernel wins, ties aside, ascending.

    Empty where only one kernel ever wins: then there is no switch that a single wrong win could have made.
    """
    first_wins: list[int] = []
    for tokens in sorted(verdicts):
        verdict = verdicts[tokens]
        if verdict is not Verdict.TIE and (not first_wins or verdicts[first_wins[-1]] is not verdict):
            first_wins.append(tokens)
    return first_wins if len(first_wins) > 1 else []


def spans_of(verdicts: Mapping[int, Verdict]) -> Iterator[Span]:
    """Measured counts and what is concluded of those between them, ascending, not yet merged."""
    previous: int | None = None
    for tokens in sorted(verdicts):
        verdict = verdicts[tokens]
        if previous is not None and tokens - previous > 1:
            between = verdict if verdicts[previous] is verdict else Verdict.TIE
            yield Span(previous + 1, tokens - 1, between)
        yield Span(tokens, tokens, verdict)
        previous = tokens


def merged(spans: Iterator[Span]) -> list[Span]:
    """Neighbouring spans of one verdict put together."""
    result: list[Span] = []
    for span in spans:
        if result and result[-1].verdict is span.verdict:
            result[-1] = Span(result[-1].first, span.last, span.verdict)
        else:
            result.append(span)
    return result


def _policy(spans: list[Span], oneshot_max_tokens: int) -> list[Segment]:
    decided = [span for span in spans if span.verdict is not Verdict.TIE]
    starts_in_tie = bool(spans) and spans[0].verdict is Verdict.TIE
    opening: list[Segment] = [(1, ONESHOT)] if starts_in_tie or not decided else []
    choices = [(span.first if opening or index else 1, KERNEL_OF[span.verdict]) for index, span in enumerate(decided)]
    return _without_repeats([*opening, *choices, (oneshot_max_tokens + 1, MULTIPHASE)])


def _without_repeats(segments: list[Segment]) -> list[Segment]:
    return [segment for index, segment in enumerate(segments) if index == 0 or segments[index - 1][1] != segment[1]]


def loss(times: Times, choice: KernelName) -> float:
    """Time of the choice over the time of the better legal kernel; an illegal choice runs the other."""
    best = min(times.values())
    return times.get(choice, best) / best


def rule_loss(measured: Mapping[int, Times], rule: Callable[[int], KernelName]) -> float:
    """Worst loss of a rule (token count -> kernel) over the measured points; 1.0 where none was measured."""
    return max((loss(times, rule(tokens)) for tokens, times in measured.items()), default=1.0)
