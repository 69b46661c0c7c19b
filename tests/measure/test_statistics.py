"""Intervals of medians."""

import math
import random

import pytest

from moesort_tune.measure.statistics import (
    Interval,
    compute_interval_rank,
    compute_median_interval,
    compute_ratio_interval,
    compute_relative_noise,
)


def test_interval_rank_matches_published_tables() -> None:
    """Order-statistic ranks are those of the sign test's tables, so the confidence is the one claimed."""
    assert [compute_interval_rank(n, 0.95) for n in (5, 6, 8, 9, 10, 20, 50)] == [0, 1, 1, 2, 2, 6, 18]
    assert [compute_interval_rank(n, 0.99) for n in (7, 8, 12, 20)] == [0, 1, 2, 4]


def test_median_interval_covers_the_true_median_as_often_as_claimed() -> None:
    """The interval holds for a skewed distribution, which timings are."""
    rng = random.Random(1)
    covered = 0
    for _ in range(2000):
        interval = compute_median_interval([rng.expovariate(1.0) for _ in range(15)], 0.95)
        covered += interval.low <= 0.693147 <= interval.high
    assert covered / 2000 > 0.94


def test_median_interval_of_few_samples_is_their_whole_range() -> None:
    """Too few samples never claim more than they can."""
    interval = compute_median_interval([3.0, 1.0, 2.0], 0.99)
    assert (interval.low, interval.median, interval.high) == (1.0, 2.0, 3.0)


def test_median_interval_of_nothing_is_refused() -> None:
    """No samples are a bug of the caller, not a median of zero."""
    with pytest.raises(ValueError, match="at least one sample"):
        compute_median_interval([], 0.95)


def test_relative_noise_ignores_one_outlier() -> None:
    """One interrupted round does not make a quiet point look noisy."""
    quiet = [1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0]
    assert compute_relative_noise([*quiet, 50.0]) < 0.03


def test_relative_noise_estimates_a_standard_deviation() -> None:
    """Normal noise of 5 % is reported as about 5 %."""
    rng = random.Random(2)
    assert compute_relative_noise([rng.gauss(10.0, 0.5) for _ in range(4000)]) == pytest.approx(0.05, rel=0.1)


def test_ratio_interval_is_narrower_than_that_of_its_ends() -> None:
    """Two independent errors of 3 and 4 % add up to 5 %, not to 7 %."""
    over = Interval(20.0, 20 * math.exp(-0.03), 20 * math.exp(0.04))
    under = Interval(10.0, 10 * math.exp(-0.03), 10 * math.exp(0.04))
    ratio = compute_ratio_interval(over, under)
    assert ratio.median == 2.0
    assert ratio.low == pytest.approx(2 * math.exp(-0.05))
    assert ratio.high == pytest.approx(2 * math.exp(0.05))


def test_ratio_interval_encloses_the_true_ratio() -> None:
    """The ratio of two medians of eight rounds each lies inside as often as the confidence of the intervals says."""
    source = random.Random(5)

    def measure(time_us: float) -> Interval:
        return compute_median_interval([time_us * math.exp(source.gauss(0, 0.02)) for _ in range(8)], 0.99)

    ratios = [compute_ratio_interval(measure(15.0), measure(10.0)) for _ in range(2000)]
    assert sum(ratio.low <= 1.5 <= ratio.high for ratio in ratios) >= 0.99 * len(ratios)
