"""Time the candidates of one point, interleaved, until the ratios of their times answer which of them are best.

The device is behind a `Timer`, so that all of this is tested with synthetic times.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.clock_watch import ClockWatch
from moesort_tune.measure.statistics import Interval, compute_median_interval, compute_relative_noise
from moesort_tune.measure.stopping import Comparison, Stop, StoppingRule
from moesort_tune.measure.verdict import Verdict, agree


class TimingError(MoesortTuneError):
    """Times that cannot be true, or nothing that could be timed."""


class Timer(Protocol):
    """Take one sample at a time from a device."""

    def sample(self, name: str, variant: int) -> float:
        """Return the microseconds that the candidate `name` takes on the input number `variant`."""

    def sample_sentinel(self) -> float | None:
        """Return the microseconds of the sentinel; None where there is none, and then no round is dropped."""


@dataclass(frozen=True)
class WarmUp:
    """Discard rounds until the last `window` of them agree within `tolerance`, or until a limit is reached."""

    tolerance: float = 0.05
    window: int = 3
    max_rounds: int = 10
    max_seconds: float = 0.5

    def is_steady(self, totals: Sequence[float]) -> bool:
        """Return whether the last rounds' total times are alike."""
        last = totals[-self.window :]
        return len(last) == self.window and max(last) <= min(last) * (1 + self.tolerance)


ONE_ROUND = WarmUp(max_rounds=1)
"""Enough where the first run of a candidate alone is slow."""


@dataclass(frozen=True)
class Measurement:
    """The outcome of measuring the candidates at one point.

    times_us: median time of each candidate with its interval, in microseconds.
    noise: relative deviation of one round's ratio, the largest of the comparisons (of one round's time where there is
    one candidate). rounds: counted; dropped: because the device's clock moved.
    confirmed: a second measurement, whose verdict is what both agree on.
    samples_us: every counted round's times.
    """

    times_us: dict[str, Interval]
    stop: Stop
    noise: float
    rounds: int
    dropped: int
    reason: str
    confirmed: bool = False
    samples_us: dict[str, list[float]] = field(default_factory=dict, repr=False)

    @property
    def settled(self) -> bool:
        """Whether the stopping rule got its answer before a limit; a candidate timed alone leaves no question."""
        return self.stop.decided

    @property
    def verdict(self) -> Verdict:
        """The ranking; a candidate timed alone has won."""
        return self.stop.verdict

    def confirm(self, first: Verdict) -> "Measurement":
        """Return this second measurement of a point with the verdict that it shares with the first, else a tie."""
        verdict = agree(tuple(self.times_us), first, self.verdict)
        stop = replace(self.stop, verdict=verdict)
        return replace(self, stop=stop, reason=f"both times {verdict.winner or 'tie'}; {self.reason}", confirmed=True)


@dataclass
class Engine:
    """Run rounds on a timer: each takes the sentinel and then every candidate once.

    Their order is drawn anew for every two rounds, of which the second runs backwards: even few rounds favour nobody.
    names: the candidates in their order. variants: number of inputs, used in turn. clock: seconds, for the limits.
    """

    timer: Timer
    names: Sequence[str]
    variants: int = 3
    seed: int = 0
    rule: StoppingRule = field(default_factory=StoppingRule)
    warm_up: WarmUp = field(default_factory=WarmUp)
    clock: Callable[[], float] = time.monotonic
    _watch: ClockWatch = field(default_factory=ClockWatch)
    _samples_us: dict[str, list[float]] = field(init=False)
    _dropped: int = 0
    _turn: int = 0
    _order: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Start without samples. Raise ValueError without candidates."""
        if not self.names:
            raise ValueError("expected at least one candidate to time, got none")
        self._samples_us = {name: [] for name in self.names}
        self._order = list(self.names)
        self._random = random.Random(self.seed)

    def measure(self) -> Measurement:
        """Warm up, then run rounds until the stopping rule ends the measurement. Raise TimingError."""
        self._warm()
        started = self.clock()
        while True:
            self._run_round()
            elapsed = self.clock() - started
            if self._is_too_restless(elapsed):
                raise TimingError(f"the device's clock moved in each of {self._dropped} rounds; nothing was timed")
            if (stop := self.rule.judge(self._samples_us, elapsed)) is not None:
                return self._summarize(stop)

    def _warm(self) -> None:
        totals: list[float] = []
        started = self.clock()
        while len(totals) < self.warm_up.max_rounds and not self.warm_up.is_steady(totals):
            sentinel, times = self._sample()
            self._has_moved(sentinel)
            totals.append(sum(times.values()))
            if self.clock() - started >= self.warm_up.max_seconds:
                return

    def _run_round(self) -> None:
        sentinel, times = self._sample()
        if self._has_moved(sentinel):
            self._dropped += 1
            return
        for name, sample in times.items():
            self._samples_us[name].append(sample)

    def _sample(self) -> tuple[float | None, dict[str, float]]:
        """Return one round's times. All candidates get the same input, so that their ratios are paired."""
        if self._turn % 2:
            self._order.reverse()
        else:
            self._random.shuffle(self._order)
        variant = self._turn % self.variants
        self._turn += 1
        sentinel = self.timer.sample_sentinel()
        if sentinel is not None:
            _check_plausible(sentinel, "the sentinel")
        times = {name: self.timer.sample(name, variant) for name in self._order}
        for name, sample in times.items():
            _check_plausible(sample, name)
        return sentinel, times

    def _has_moved(self, sentinel: float | None) -> bool:
        return sentinel is not None and self._watch.has_moved(sentinel)

    def _is_too_restless(self, elapsed_s: float) -> bool:
        limit_s = self.rule.patience * self.rule.max_seconds
        return not self._count_rounds() and (self._dropped >= self.rule.max_rounds or elapsed_s >= limit_s)

    def _count_rounds(self) -> int:
        return len(self._samples_us[self.names[0]])

    def _summarize(self, stop: Stop) -> Measurement:
        samples_us = self._samples_us
        return Measurement(
            times_us={
                name: compute_median_interval(samples, self.rule.confidence) for name, samples in samples_us.items()
            },
            stop=stop,
            noise=compute_overall_noise(samples_us, stop.comparisons),
            rounds=self._count_rounds(),
            dropped=self._dropped,
            reason=stop.reason,
            samples_us=samples_us,
        )


def compute_overall_noise(samples_us: Mapping[str, Sequence[float]], comparisons: Sequence[Comparison]) -> float:
    """Return the largest noise of the comparisons, or that of its times where there is a single candidate."""
    if comparisons:
        return max(comparison.noise for comparison in comparisons)
    return compute_relative_noise(next(iter(samples_us.values())))


def _check_plausible(microseconds: float, what: str) -> None:
    """Raise TimingError for a time that cannot be true: it is an error, never a win."""
    if not (math.isfinite(microseconds) and microseconds > 0):
        raise TimingError(f"{what} took {microseconds:g} us, which cannot be; its launches or events failed")
