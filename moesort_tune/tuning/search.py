"""Which token counts to measure: a coarse ladder, then bisection between changes of the winner."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from moesort_tune.tuning.verdict import Verdict

Search = Generator[int, Verdict, None]
"""Yields the next token count to measure and is sent its verdict."""

DEFAULT_MAX_POINTS = 80

FINE_FROM = 1024
"""Tokens from which the ladder's steps are 1.14 to 1.25 instead of 1.33 to 1.5: launches change shape there. One of
five sweeps on an H100 missed multiphase winning from 2056 to 2304 tokens with the wide steps."""


@dataclass(frozen=True)
class TokenRange:
    """Token counts of a sweep, both ends included."""

    first: int
    last: int

    def __contains__(self, tokens: object) -> bool:
        return isinstance(tokens, int) and self.first <= tokens <= self.last


def ladder(tokens: TokenRange, landmarks: Iterable[int] = ()) -> list[int]:
    """Ascending token counts to begin with: both ends, 2^k, 3 * 2^k and the landmarks inside the range, and past
    FINE_FROM also 5 * 2^k and 7 * 2^k.

    Small steps leave little room for two changes of the winner between two rungs, which would go unseen.
    """
    powers = [2**k for k in range(tokens.last.bit_length())]
    rungs = {tokens.first, tokens.last, *powers, *(3 * power for power in powers), *landmarks}
    rungs |= {factor * power for factor in (5, 7) for power in powers if factor * power >= FINE_FROM}
    return sorted(rung for rung in rungs if rung in tokens)


def search_token_counts(rungs: Iterable[int], *, max_points: int = DEFAULT_MAX_POINTS) -> Search:
    """Measures every rung, then halves the gaps between unlike verdicts until the two sides are adjacent.

    A tie is a verdict like the other two, so both edges of a tie are found. `max_points` bounds the search
    where noise makes the verdicts flicker; the rungs are always measured.
    """
    verdicts: dict[int, Verdict] = {}
    for tokens in rungs:
        verdicts[tokens] = yield tokens
    while len(verdicts) < max_points and (gap := widest_gap(verdicts)) is not None:
        middle = sum(gap) // 2
        verdicts[middle] = yield middle


def widest_gap(verdicts: Mapping[int, Verdict]) -> tuple[int, int] | None:
    """The most important pair of neighbours with unlike verdicts and token counts left between them.

    A change from one kernel to the other comes before the edge of a tie; among equals the widest by ratio
    comes first.
    """
    gaps = [(low, high) for low, high in unlike_neighbours(verdicts) if high - low > 1]
    return max(gaps, key=lambda gap: _importance(verdicts, *gap), default=None)


def unlike_neighbours(verdicts: Mapping[int, Verdict]) -> list[tuple[int, int]]:
    """Pairs of neighbouring measured token counts whose verdicts differ, ascending."""
    measured = sorted(verdicts)
    return [(low, high) for low, high in pairwise(measured) if verdicts[low] is not verdicts[high]]


def _importance(verdicts: Mapping[int, Verdict], low: int, high: int) -> tuple[bool, float]:
    return Verdict.TIE not in (verdicts[low], verdicts[high]), high / low
