"""The four answers to whether a time has changed."""

import random

import pytest

from moesort_tune.measure.change import Change, judge_change
from moesort_tune.measure.statistics import Interval, compute_median_interval, compute_ratio_interval

ROUNDS = 8
"""What the stopping rule takes at least, and at most points of a real sweep all that it takes."""


@pytest.mark.parametrize(
    ("low", "high", "change"),
    [
        (0.99, 1.01, Change.SAME),
        (1.001, 1.049, Change.SAME),
        (0.953, 0.99, Change.SAME),
        (1.001, 1.051, Change.SLOWER),
        (1.2, 1.3, Change.SLOWER),
        (0.951, 0.999, Change.FASTER),
        (0.5, 0.6, Change.FASTER),
        (0.999, 1.051, Change.AMBIGUOUS),
        (0.951, 1.0, Change.AMBIGUOUS),
        (0.9, 1.1, Change.AMBIGUOUS),
    ],
)
def test_change_is_what_the_interval_leaves(low: float, high: float, change: Change) -> None:
    """No change and a change of the threshold are each ruled out or not; 1 / 1.05 is 0.9524."""
    assert judge_change(Interval((low + high) / 2, low, high), 0.05) is change


@pytest.mark.parametrize(("noise", "planted"), [(0.005, 0.05), (0.01, 0.05), (0.01, 0.1)])
def test_equal_times_are_same_and_a_planted_difference_is_called(noise: float, planted: float) -> None:
    """At the noise of most points of an H100, 99 % of equal times are SAME and 95 % of other ones are called."""
    random_number = random.Random(7)

    def measure(time_us: float) -> Interval:
        times = [time_us * (1 + random_number.gauss(0, noise)) for _ in range(ROUNDS)]
        return compute_median_interval(times, 0.99)

    def judge(over_us: float) -> Change:
        return judge_change(compute_ratio_interval(measure(over_us), measure(10.0)))

    points = 2000
    answers = {over_us: [judge(over_us) for _ in range(points)] for over_us in (10.0, 10 * (1 + planted))}
    assert answers[10.0].count(Change.SAME) >= 0.99 * points
    assert answers[10 * (1 + planted)].count(Change.SLOWER) >= 0.95 * points


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_noise_is_ambiguous_and_no_change(noise: float) -> None:
    """However much equal times scatter, hardly one in a hundred counts as a change."""
    random_number = random.Random(3)
    points = 1000
    answers = [
        judge_change(
            compute_ratio_interval(
                *(
                    compute_median_interval([10 * 2 ** random_number.gauss(0, noise) for _ in range(ROUNDS)], 0.99)
                    for _ in range(2)
                )
            )
        )
        for _ in range(points)
    ]
    assert answers.count(Change.SLOWER) + answers.count(Change.FASTER) <= 0.01 * points
