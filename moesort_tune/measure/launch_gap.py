"""Measure what each further launch costs: one, two and four empty kernels, in graphs and launched one by one.

`multiphase` is several launches and `oneshot` is one, so this figure moves the token count at which they cross.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Final

from moesort_tune.domain.vocabulary import LAUNCH_MODES, LaunchMode
from moesort_tune.measure.engine import Engine, TimingError, WarmUp
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.statistics import Interval
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import EagerTimer, GraphTimer, LongGraph, Stopwatch, Work, Works, repeat

COUNTS: Final = (1, 2, 4)
"""Empty kernels of one unit of work: three counts show whether each further one costs the same."""

ROUNDS: Final = 30

_ENOUGH: Final = WarmUp(max_seconds=0.5)


@dataclass(frozen=True)
class LaunchGap:
    """The times of one mode. times_us: of so many empty kernels, median with its 99 % interval."""

    mode: LaunchMode
    times_us: Mapping[int, Interval]

    @property
    def gap_us(self) -> float:
        """The cost of one further launch: the slope of the line through the medians."""
        return linear_regression(list(self.times_us), [time.median for time in self.times_us.values()]).slope


@dataclass(frozen=True)
class MeasuredGaps:
    """The launch gaps of a device. failures: why a mode has none."""

    gaps: tuple[LaunchGap, ...] = ()
    failures: Mapping[LaunchMode, str] = field(default_factory=dict)


def measure_launch_gaps(stopwatch: Stopwatch, sentinel: Sentinel, sentinels: LongGraph) -> MeasuredGaps:
    """Return the launch gap of each mode, measured on the stopwatch's stream. Raise HipError.

    A mode that cannot be timed costs the others nothing: a busy host is no hindrance to one long graph.
    sentinel, sentinels: watch the device's clock, and keep the device busy while the host launches.
    """
    with closing(Sentinel(stopwatch.device, steps=0)) as empty:
        works = {count: repeat(empty.launch, count) for count in COUNTS}
        gaps, failures = list[LaunchGap](), dict[LaunchMode, str]()
        for mode in LAUNCH_MODES:
            try:
                gaps.append(_measure_mode(mode, works, stopwatch, sentinel, sentinels))
            except TimingError as error:
                failures[mode] = str(error)
        return MeasuredGaps(tuple(gaps), failures)


def _measure_mode(
    mode: LaunchMode, works: Mapping[int, Work], stopwatch: Stopwatch, sentinel: Sentinel, sentinels: LongGraph
) -> LaunchGap:
    with ExitStack() as resources:
        if mode == "replay":
            works = {count: _capture(stopwatch, work, resources) for count, work in works.items()}
        named = {(str(count), 0): work for count, work in works.items()}
        timer = resources.enter_context(closing(_open_timer(mode, named, stopwatch, sentinel, sentinels)))
        rule = StoppingRule.make_fixed(ROUNDS)
        engine = Engine(timer, tuple(map(str, works)), variants=1, rule=rule, warm_up=_ENOUGH)
        times_us = engine.measure().times_us
        return LaunchGap(mode, {count: times_us[str(count)] for count in works})


def _capture(stopwatch: Stopwatch, work: Work, resources: ExitStack) -> Work:
    """Return the replay of a graph of `work`, which `resources` frees."""
    return resources.enter_context(stopwatch.device.capture(stopwatch.capturing, work)).launch


def _open_timer(
    mode: LaunchMode, works: Works, stopwatch: Stopwatch, sentinel: Sentinel, sentinels: LongGraph
) -> GraphTimer | EagerTimer:
    if mode == "graph":
        return GraphTimer(stopwatch, works, sentinels)
    # On a host a launch has run before the call returns, so that there is nothing to queue behind.
    filler = None if stopwatch.device.properties.runtime == "host" else sentinels
    return EagerTimer(stopwatch, works, sentinel.launch, filler)
