"""What a row's choices may lose between its points."""

import math

import pytest

from moesort_tune.sweep.expected_loss import WANDER, Gap, compute_expected_loss, list_gaps
from moesort_tune.sweep.records import MeasuredPoint
from tests.sweep.kernels import MANY, MULTIPHASE, ONE, ONESHOT


def make_point(oneshot_us: float, multiphase_us: float) -> MeasuredPoint:
    """Return a point of both kernels."""
    times_us = {ONESHOT: oneshot_us, MULTIPHASE: multiphase_us}
    return MeasuredPoint(times_us, ONE if oneshot_us < multiphase_us else MANY, 0.0)


def choose_oneshot(_: int) -> str:
    """Always choose oneshot."""
    return ONESHOT


def test_switch_between_two_points_costs_most_where_they_are_far_apart() -> None:
    """A winner that changes between 64 and 1024 tokens is the largest loss, one that nothing threatens the least."""
    points = {
        1: make_point(1.0, 9.0),
        16: make_point(1.0, 8.0),
        64: make_point(2.0, 4.0),
        1024: make_point(8.0, 4.0),
        2048: make_point(16.0, 4.0),
    }
    losses = {gap.low: gap.loss for gap in list_gaps(points, lambda tokens: ONESHOT if tokens < 1024 else MULTIPHASE)}
    assert max(losses, key=lambda low: losses[low]) == 64
    assert losses[1] < 1e-9
    assert sum(losses.values()) == compute_expected_loss(
        points, lambda tokens: ONESHOT if tokens < 1024 else MULTIPHASE
    )


def test_loss_of_a_gap_is_what_its_choice_loses_on_a_straight_line() -> None:
    """Where oneshot takes from as long as to four times as long, and the gap is short, chance plays no part."""
    points = {1024: make_point(2.0, 1.0), 1032: make_point(4.0, 1.0)}
    straight = sum(2 * 2**place - 1 for place in (0.25, 0.5, 0.75)) / 3
    assert compute_expected_loss(points, choose_oneshot) == pytest.approx(straight, rel=0.01)


def test_even_kernels_lose_by_what_a_line_may_miss() -> None:
    """Two kernels as fast at both ends: what one may lose between them is the mean of a normal distribution's half."""
    points = {1: make_point(1.0, 1.0), 4: make_point(1.0, 1.0)}
    deviation = WANDER * math.sqrt(math.log(4))
    (gap,) = list_gaps(points, choose_oneshot)
    assert [tokens for _, tokens in gap.list_places()] == [2, 2, 3]
    assert 0.8 * deviation < gap.loss * math.sqrt(2 * math.pi) < deviation * 1.05


def test_loss_at_both_ends_is_no_gain() -> None:
    """Inside a tie the choice may be the slower one everywhere, and more points there would change nothing."""
    points = {1024: make_point(1.02, 1.0), 1300: make_point(1.02, 1.0)}
    (gap,) = list_gaps(points, choose_oneshot)
    assert gap.loss > 0.02
    assert gap.gain == pytest.approx(gap.loss - 0.02)


def test_neighbours_and_a_kernel_on_its_own_lose_nothing() -> None:
    """Between 7 and 8 tokens is nothing, and past a limit no choice."""
    alone = MeasuredPoint({MULTIPHASE: 3.0}, MANY, 0.0)
    points = {7: make_point(1.0, 1.0), 8: make_point(1.0, 1.0), 9: alone, 512: alone}
    assert compute_expected_loss(points, lambda tokens: ONESHOT if tokens < 9 else MULTIPHASE) == 0.0
    assert compute_expected_loss({1: alone}, choose_oneshot) == 0.0


@pytest.mark.parametrize(("rungs", "middle"), [([16, 64], 32), ([16, 24, 57, 64], 24), ([17, 63], 17)])
def test_middle_of_a_gap_is_a_rung_where_there_is_one(rungs: list[int], middle: int) -> None:
    """Times jump at rungs, so that others tell less."""
    assert Gap(16, 64, 0.1).choose_middle(rungs) == middle
