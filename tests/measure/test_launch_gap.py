"""The launch gap: what each further launch costs, from the times of one, two and four."""

import pytest

from moesort_tune.measure.launch_gap import LaunchGap
from moesort_tune.measure.statistics import Interval


@pytest.mark.parametrize(
    ("times_us", "gap_us"),
    [((5.0, 7.5, 12.5), 2.5), ((9.7, 12.0, 16.6), 2.3), ((3.0, 3.0, 3.0), 0.0)],
)
def test_gap_is_the_slope_of_the_times_and_not_their_level(times_us: tuple[float, ...], gap_us: float) -> None:
    """Protects the figure from what a first launch, a graph or two events cost: those are in every time."""
    times = {count: Interval(us, us, us) for count, us in zip((1, 2, 4), times_us, strict=True)}
    assert LaunchGap("replay", times).gap_us == pytest.approx(gap_us)
