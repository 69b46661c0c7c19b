"""Which token counts to measure: a coarse ladder, then bisection between changes of the winner, and a look between
rungs where the loser came close."""

import math
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

from moesort_tune.measure.verdict import Verdict


class Judged(NamedTuple):
    """What a measurement said. ratio: oneshot's time over multiphase's, None where one kernel alone was timed."""

    verdict: Verdict
    ratio: float | None = None

    @property
    def close(self) -> bool:
        """Whether the loser came so close that it may win nearby."""
        return self.ratio is not None and abs(math.log(self.ratio)) < math.log(CLOSE)


Search = Generator[int, Judged, None]
"""Yields the next token count to measure and is sent what that said."""

DEFAULT_MAX_POINTS: Final = 120
"""About 80 are enough for a row whose verdicts do not flicker."""

CLOSE: Final = 1.1
"""Ratio of the kernels' times up to which a stretch of one winner is looked into."""

NARROW: Final = 1.1
"""Ratio of two token counts up to which another winner is not looked for between them."""

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

    A tie is a verdict like the other two, so both edges of a tie are found. Between like verdicts of which one was
    close, gaps are halved as well until they are narrow. `max_points` bounds the search where noise makes the verdicts
    flicker; the rungs are always measured.
    """
    judged: dict[int, Judged] = {}
    for tokens in rungs:
        judged[tokens] = yield tokens
    while len(judged) < max_points and (gap := most_important_gap(judged)) is not None:
        middle = sum(gap) // 2
        judged[middle] = yield middle


class Gap(IntEnum):
    """Why the token counts between two neighbours matter, the least important first."""

    NONE = 0
    EDGE_OF_TIE = 1
    CLOSE = 2
    CHANGE = 3


def most_important_gap(judged: Mapping[int, Judged]) -> tuple[int, int] | None:
    """The pair of neighbours between which to measure next: of the most important kind, the widest by ratio."""
    neighbours = [(low, high) for low, high in pairwise(sorted(judged)) if high - low > 1]
    gaps = {(low, high): _kind(judged, low, high) for low, high in neighbours}
    wanted = [gap for gap, kind in gaps.items() if kind is not Gap.NONE]
    return max(wanted, key=lambda gap: (gaps[gap], gap[1] / gap[0]), default=None)


def _kind(judged: Mapping[int, Judged], low: int, high: int) -> Gap:
    below, above = judged[low], judged[high]
    if below.verdict is not above.verdict:
        return Gap.EDGE_OF_TIE if Verdict.TIE in (below.verdict, above.verdict) else Gap.CHANGE
    looked_into = below.verdict is not Verdict.TIE and (below.close or above.close) and high > NARROW * low
    return Gap.CLOSE if looked_into else Gap.NONE
