"""Say by the interval of a ratio whether a time has changed, has not, or may have."""

from enum import Enum
from typing import Final

from moesort_tune.measure.statistics import Interval

DEFAULT_THRESHOLD: Final = 0.05
"""Relative difference that a comparison looks for: what eight rounds can rule out where one scatters by 1 %."""


class Change(str, Enum):
    """Answer to whether the second of two times is another one than the first."""

    SLOWER = "SLOWER"
    FASTER = "FASTER"
    SAME = "SAME"
    AMBIGUOUS = "AMBIGUOUS"

    def __str__(self) -> str:
        return self.value


def judge_change(ratio: Interval, threshold: float = DEFAULT_THRESHOLD) -> Change:
    """Return what the interval of second over first says about differences of `threshold` and more.

    SAME: it rules them out. SLOWER, FASTER: it does not, and rules out that nothing has changed. AMBIGUOUS: it rules
    out neither.
    """
    if 1 / (1 + threshold) < ratio.low and ratio.high < 1 + threshold:
        return Change.SAME
    if ratio.low > 1:
        return Change.SLOWER
    return Change.FASTER if ratio.high < 1 else Change.AMBIGUOUS
