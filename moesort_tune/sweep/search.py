"""Which token counts to measure: a coarse ladder, then bisection between changes of the winner, and a look between
rungs where the loser came close."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

from moesort_tune.measure.verdict import Verdict


class Judged(NamedTuple):
    """The verdict of a measurement.

    ratio: how many times as long the fastest kernel that lost takes as the best; None where none lost.
    """

    verdict: Verdict
    ratio: float | None = None

    @property
    def close(self) -> bool:
        """Whether a kernel that lost came so close that it may win nearby."""
        return self.ratio is not None and self.ratio < CLOSE


Search = Generator[int, Judged, None]
"""Yields the next token count to measure and is sent its verdict."""

DEFAULT_MAX_POINTS: Final = 150
"""On an H100 rows took 89 to 120 where the search ended at 120 at the latest, and several had not settled: in five such
sweeps two rows differed outside of their ties."""

CLOSE: Final = 1.1
"""Ratio of the loser's time to the winner's up to which a stretch of one verdict is searched."""

NARROW: Final = 1.1
"""Ratio of two token counts up to which no other winner is looked for between them."""

EXACT_EDGE: Final = 1.0
"""Ratio of two token counts up to which the edge of a tie is not looked for between them: never."""

ROUGH_EDGE: Final = 1.01
"""The same where it was found exactly for another condition: what lies within a percent of the edge of a tie is nearly
one. On an H100 every fifth point of a row goes into what is nearer."""

EACH_UP_TO: Final = 32
"""Tokens up to which the ladder has every count: the small batches of decode, where kernels differ by a few lanes."""

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


def build_ladder(tokens: TokenRange, landmarks: Iterable[int] = ()) -> list[int]:
    """Return ascending token counts to begin with: both ends, the landmarks inside the range, each count up to
    EACH_UP_TO, 2^k and 3 * 2^k, and past FINE_FROM also 5 * 2^k and 7 * 2^k.

    Small steps leave little room for two changes of the winner between two rungs, which would go unseen.
    """
    powers = [2**k for k in range(tokens.last.bit_length())]
    rungs = {
        tokens.first,
        tokens.last,
        *range(1, EACH_UP_TO + 1),
        *powers,
        *(3 * power for power in powers),
        *landmarks,
    }
    rungs |= {factor * power for factor in (5, 7) for power in powers if factor * power >= FINE_FROM}
    return sorted(rung for rung in rungs if rung in tokens)


def search_token_counts(
    rungs: Iterable[int], *, max_points: int = DEFAULT_MAX_POINTS, edge: float = EXACT_EDGE
) -> Search:
    """Measure every rung, then halve the gaps between unlike verdicts until the two sides are adjacent.

    A tie is a verdict like any other, so both edges of a tie are found, up to a ratio of `edge` of the two counts.
    Between equal verdicts that are ties or of which one was close, gaps are halved as well until they are narrow.
    `max_points` bounds the search where noise makes the verdicts flicker; the rungs are always measured.
    """
    judged: dict[int, Judged] = {}
    for tokens in rungs:
        judged[tokens] = yield tokens
    while len(judged) < max_points and (gap := find_most_important_gap(judged, edge)) is not None:
        middle = sum(gap) // 2
        judged[middle] = yield middle


class Gap(IntEnum):
    """Why the token counts between two neighbours matter, the least important first.

    INSIDE_TIE: the same tie on both sides. EDGE_OF_TIE: the two sides differ, but share a best kernel. CLOSE: one
    verdict on both sides, but a kernel that lost came close. CHANGE: no kernel is best on both sides.
    """

    NONE = 0
    INSIDE_TIE = 1
    EDGE_OF_TIE = 2
    CLOSE = 3
    CHANGE = 4


def find_most_important_gap(judged: Mapping[int, Judged], edge: float = EXACT_EDGE) -> tuple[int, int] | None:
    """Return the neighbours between which to measure next: of the most important kind, the widest by ratio."""
    neighbours = [(low, high) for low, high in pairwise(sorted(judged)) if high - low > 1]
    gaps = {(low, high): _rate_gap(judged, low, high, edge) for low, high in neighbours}
    wanted = [gap for gap, kind in gaps.items() if kind is not Gap.NONE]
    return max(wanted, key=lambda gap: (gaps[gap], gap[1] / gap[0]), default=None)


def _rate_gap(judged: Mapping[int, Judged], low: int, high: int, edge: float = EXACT_EDGE) -> Gap:
    below, above = judged[low], judged[high]
    if below.verdict == above.verdict:
        if high <= NARROW * low:
            return Gap.NONE
        if below.close or above.close:
            return Gap.CLOSE
        return Gap.INSIDE_TIE if below.verdict.is_tie else Gap.NONE
    if set(below.verdict.best) & set(above.verdict.best):
        return Gap.EDGE_OF_TIE if high > edge * low else Gap.NONE
    return Gap.CHANGE
