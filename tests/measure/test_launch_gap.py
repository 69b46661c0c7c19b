"""The launch gap: what each further launch costs, from the times of one, two and four."""

from typing import Any

import pytest

from moesort_tune.device import hip
from moesort_tune.measure import launch_gap
from moesort_tune.measure.engine import TimingError
from moesort_tune.measure.launch_gap import LaunchGap, measure_launch_gaps
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.statistics import Interval
from moesort_tune.measure.timers import OF_SENTINEL, Stopwatch, capture_long_graph


@pytest.mark.parametrize(
    ("times_us", "gap_us"),
    [((5.0, 7.5, 12.5), 2.5), ((9.7, 12.0, 16.6), 2.3), ((3.0, 3.0, 3.0), 0.0)],
)
def test_gap_is_the_slope_of_the_times_and_not_their_level(times_us: tuple[float, ...], gap_us: float) -> None:
    """Protects the figure from what a first launch, a graph or two events cost: those are in every time."""
    times = {count: Interval(us, us, us) for count, us in zip((1, 2, 4), times_us, strict=True)}
    assert LaunchGap("replay", times).gap_us == pytest.approx(gap_us)


def test_mode_that_cannot_be_timed_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the figures of graphs, which do not depend on the host, from a host too busy for eager launches."""
    open_timer = launch_gap._open_timer

    def refuse_eager(mode: str, *rest: Any) -> Any:
        if mode == "eager":
            raise TimingError("the host is too busy")
        return open_timer(mode, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(launch_gap, "_open_timer", refuse_eager)
    device = hip.open_device("host")
    stopwatch, sentinel = Stopwatch(device, device.create_stream()), Sentinel(device)
    measured = measure_launch_gaps(stopwatch, sentinel, capture_long_graph(stopwatch, [sentinel.launch], OF_SENTINEL))
    assert [gap.mode for gap in measured.gaps] == ["graph", "replay"]
    assert measured.failures == {"eager": "the host is too busy"}
