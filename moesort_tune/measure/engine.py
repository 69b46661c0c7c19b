"""Times both kernels of one problem, interleaved, until the ratio of their times answers the question.

The device is behind a `Timer`, so that all of this is tested with synthetic times.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.clock_watch import ClockWatch
from moesort_tune.measure.statistics import Interval, median_interval, relative_noise
from moesort_tune.measure.stopping import Stop, StoppingRule
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict, agreed


class TimingError(MoesortTuneError):
    """Times that cannot be true, or none at all."""


class Timer(Protocol):
    """Takes one sample at a time from a device."""

    def sample(self, kernel: KernelName, variant: int) -> float:
        """Microseconds of one whole sort by `kernel` on the input number `variant`."""

    def sentinel(self) -> float:
        """Microseconds of the sentinel kernel."""


@dataclass(frozen=True)
class WarmUp:
    """Rounds thrown away until the last `window` of them agree within `tolerance`, or a limit is reached."""

    tolerance: float = 0.05
    window: int = 3
    max_rounds: int = 10
    max_seconds: float = 0.5

    def steady(self, totals: Sequence[float]) -> bool:
        """Whether the last rounds' total times are alike."""
        last = totals[-self.window :]
        return len(last) == self.window and max(last) <= min(last) * (1 + self.tolerance)


@dataclass(frozen=True)
class Measurement:
    """What was measured at one token count.

    times_us: median time of each kernel with its interval, in microseconds.
    stop: the answer, or None where one kernel was timed alone. noise: relative deviation of one round's ratio
    (of one round's time where there is one kernel). rounds counted, dropped because the device's clock moved.
    confirmed: a second measurement, whose verdict is what both agree on.
    """

    times_us: dict[KernelName, Interval]
    stop: Stop | None
    noise: float
    rounds: int
    dropped: int
    reason: str
    confirmed: bool = False

    @property
    def settled(self) -> bool:
        """Whether the stopping rule got its answer before a limit; a kernel timed alone asks no question."""
        return self.stop is None or self.stop.decided

    @property
    def verdict(self) -> Verdict:
        """The faster kernel; a kernel timed alone has won."""
        return self.stop.verdict if self.stop else Verdict(next(iter(self.times_us)))

    def confirming(self, first: Verdict) -> "Measurement":
        """Return this second measurement of a point with the verdict that it shares with the first, else a tie."""
        verdict = agreed(first, self.verdict)
        stop = self.stop and replace(self.stop, verdict=verdict)
        return replace(self, stop=stop, reason=f"both times {verdict.value}; {self.reason}", confirmed=True)


@dataclass
class Engine:
    """Runs rounds on a timer: each takes the sentinel and then every kernel once, in an order drawn anew.

    variants: number of inputs, used in turn. clock: seconds, for the limits.
    """

    timer: Timer
    kernels: Sequence[KernelName]
    variants: int = 3
    seed: int = 0
    rule: StoppingRule = field(default_factory=StoppingRule)
    warm_up: WarmUp = field(default_factory=WarmUp)
    clock: Callable[[], float] = time.monotonic
    _watch: ClockWatch = field(default_factory=ClockWatch)
    _times: dict[KernelName, list[float]] = field(init=False)
    _dropped: int = 0
    _turn: int = 0

    def __post_init__(self) -> None:
        self._times = {kernel: [] for kernel in self.kernels}
        self._random = random.Random(self.seed)

    def measure(self) -> Measurement:
        """Warms up, then measures until the stopping rule is content. Raises TimingError."""
        self._warm()
        started = self.clock()
        while True:
            self._round()
            elapsed = self.clock() - started
            if self._too_restless(elapsed):
                raise TimingError(f"the device's clock moved in each of {self._dropped} rounds; nothing was timed")
            if (measurement := self._finished(elapsed)) is not None:
                return measurement

    def _warm(self) -> None:
        totals: list[float] = []
        started = self.clock()
        while len(totals) < self.warm_up.max_rounds and not self.warm_up.steady(totals):
            sentinel, times = self._sampled()
            self._watch.moved(sentinel)
            totals.append(sum(times.values()))
            if self.clock() - started >= self.warm_up.max_seconds:
                return

    def _round(self) -> None:
        sentinel, times = self._sampled()
        if self._watch.moved(sentinel):
            self._dropped += 1
            return
        for kernel, sample in times.items():
            self._times[kernel].append(sample)

    def _sampled(self) -> tuple[float, dict[KernelName, float]]:
        """One round's times. Both kernels get the same input, so that their ratio is paired."""
        order = list(self.kernels)
        self._random.shuffle(order)
        variant = self._turn % self.variants
        self._turn += 1
        sentinel = _plausible(self.timer.sentinel(), "the sentinel")
        return sentinel, {kernel: _plausible(self.timer.sample(kernel, variant), kernel) for kernel in order}

    def _too_restless(self, elapsed_s: float) -> bool:
        limit_s = self.rule.patience * self.rule.max_seconds
        return not self._rounds() and (self._dropped >= self.rule.max_rounds or elapsed_s >= limit_s)

    def _rounds(self) -> int:
        return len(self._times[self.kernels[0]])

    def _finished(self, elapsed_s: float) -> Measurement | None:
        if len(self.kernels) == 1:
            reason = self.rule.enough_alone(self._rounds(), elapsed_s)
            return None if reason is None else self._measurement(None, self._times[self.kernels[0]], reason)
        pairs = zip(self._times[ONESHOT], self._times[MULTIPHASE], strict=True)
        ratios = [oneshot / multiphase for oneshot, multiphase in pairs]
        stop = self.rule.judge(ratios, elapsed_s)
        return None if stop is None else self._measurement(stop, ratios, stop.reason)

    def _measurement(self, stop: Stop | None, noisy: Sequence[float], reason: str) -> Measurement:
        return Measurement(
            times_us={k: median_interval(self._times[k], self.rule.confidence) for k in self.kernels},
            stop=stop,
            noise=relative_noise(noisy),
            rounds=self._rounds(),
            dropped=self._dropped,
            reason=reason,
        )


def _plausible(microseconds: float, what: str) -> float:
    """The time itself; a time that cannot be true is an error, never a win."""
    if not (math.isfinite(microseconds) and microseconds > 0):
        raise TimingError(f"{what} took {microseconds:g} us, which cannot be; its launches or events failed")
    return microseconds
