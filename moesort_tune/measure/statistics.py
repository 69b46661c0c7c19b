"""Summarize timings by medians and by intervals that assume nothing about their distribution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

MAD_TO_STANDARD_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Interval:
    """A median, and the range that encloses it with the requested confidence."""

    median: float
    low: float
    high: float

    def round_values(self) -> "Interval":
        """Return the interval as the samples file keeps it."""
        return Interval(round_value(self.median), round_value(self.low), round_value(self.high))


def round_value(value: float) -> float:
    """Return `value` with five significant digits: timings have no more, and files stay readable."""
    return float(f"{value:.5g}")


@lru_cache(maxsize=4096)
def compute_interval_rank(count: int, confidence: float) -> int:
    """Return the rank k such that the k-th smallest and k-th largest of `count` samples enclose the median.

    The number of samples below the median is binomial whatever the distribution, so the chance that the
    median lies outside is twice P(Binomial(count, 1/2) < k). Returns 0 where even the extremes do not reach
    `confidence`.
    """
    limit = (1 - confidence) / 2 * 2.0**count
    below = 0
    for rank in range(count // 2 + 1):
        below += math.comb(count, rank)
        if below > limit:
            return rank
    return count // 2


def compute_median_interval(samples: Sequence[float], confidence: float) -> Interval:
    """Return the median of `samples` with its distribution-free interval. Raise ValueError for no samples.

    Too few samples for `confidence` give the whole range from the smallest to the largest.
    """
    if not samples:
        raise ValueError("expected at least one sample, got none")
    ordered = sorted(samples)
    rank = max(1, compute_interval_rank(len(ordered), confidence))
    return Interval(median(ordered), ordered[rank - 1], ordered[-rank])


def compute_relative_noise(samples: Sequence[float]) -> float:
    """Return the robust relative standard deviation of one sample: the scaled median deviation from the median."""
    middle = median(samples)
    deviation = median(abs(sample - middle) for sample in samples)
    return MAD_TO_STANDARD_DEVIATION * deviation / middle


def compute_ratio_interval(over: Interval, under: Interval) -> Interval:
    """Return `over` / `under` of two independent medians above 0, with about the confidence of their own intervals.

    Logarithms make the ratio a difference, whose ends lie as far from it as independent errors add up to: the root of
    the sum of squares (the method of variance estimates recovery; Zou and Donner, Statistics in Medicine 27, 2008).
    Low end over high end would claim a confidence far above that of the two.
    """
    ratio = over.median / under.median
    below = math.hypot(math.log(over.median / over.low), math.log(under.high / under.median))
    above = math.hypot(math.log(over.high / over.median), math.log(under.median / under.low))
    return Interval(ratio, ratio * math.exp(-below), ratio * math.exp(above))
