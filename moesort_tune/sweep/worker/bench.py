"""Check and measure points on the device, with its kernels, sentinel and timers. Lives in the worker's process."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing

from moesort_tune.device import hip
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Engine, Measurement, WarmUp
from moesort_tune.measure.launch_gap import measure_launch_gaps
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.statistics import round_value
from moesort_tune.measure.timers import (
    OF_SENTINEL,
    EagerTimer,
    GraphTimer,
    Stopwatch,
    Works,
    allocate_flush_buffer,
    capture_long_graph,
    repeat,
)
from moesort_tune.providers.work.base import Point, PreparedPoint, open_kernels
from moesort_tune.sweep.worker.messages import (
    Answer,
    CheckRequest,
    DeviceFacts,
    GapRequest,
    LimitRequest,
    Measured,
    MeasureRequest,
    NoLaunchGaps,
    Request,
    WorkerSpec,
)
from moesort_tune.tables.schema import LaunchGaps

VARIANTS = 3
"""Inputs of a point: a graph has sorts of each, launches one by one take them in turn."""

SELF_AVERAGING_TOKENS = 4096
"""From so many tokens on one random routing is like any other, and memory is better spent otherwise."""

WARM_ROUNDS = 2
"""Like rounds with which a warm-up ends: choosing how often a sample launches its work has warmed it already."""

CLOCK_RAMP = WarmUp(tolerance=0.02, window=20, max_rounds=10_000, max_seconds=2.0)
"""MI300's clock ramps for 400 ms and more after a pause; this is done once, when the device is opened."""


class WrongDeviceError(MoesortTuneError):
    """Report that the attached device is not of the architecture that was asked for."""


class DeviceBusyError(MoesortTuneError):
    """Report that another program uses the device."""


MOST_USED_BYTES = 4 << 30
"""Memory that a driver and the context of this process may take. A program that works on a GPU holds more."""


class Bench:
    """Hold an opened device. Close it to free everything on it."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Open the device. Raise HipError, WrongDeviceError, ProviderError, CompileError."""
        self._device = hip.open_device(spec.runtime, spec.ordinal)
        _check_promise(spec.arch, self._device.properties)
        if spec.must_be_idle:
            _check_idle(self._device.read_used_bytes())
        with ExitStack() as resources:
            self._kernels = resources.enter_context(closing(open_kernels(spec.provider, self._device)))
            self._stream = resources.enter_context(self._device.create_stream())
            self._stopwatch = resources.enter_context(closing(Stopwatch(self._device, self._stream)))
            self._sentinel = resources.enter_context(closing(Sentinel(self._device)))
            self._sentinels = capture_long_graph(self._stopwatch, [self._sentinel.launch], OF_SENTINEL)
            resources.push(self._sentinels.graph)
            self._resources = resources.pop_all()
        self._flush: hip.Buffer | None = None
        self._known_us: dict[tuple[Shape, KernelName], dict[int, float]] = {}
        self._checked: set[tuple[Point, KernelName, int]] = set()

    def close(self) -> None:
        """Free everything. Raise HipError."""
        self._resources.close()

    @property
    def facts(self) -> DeviceFacts:
        """Return the facts of device and kernels that a table records."""
        return DeviceFacts.of(
            self._device.properties,
            compiler=self._kernels.compiler,
            provider=self._kernels.name,
            revision=self._kernels.revision,
        )

    def warm_up(self, clock: Callable[[], float]) -> None:
        """Run the sentinel until the device's clock has settled; a host has no clock that waits for work."""
        if self._device.properties.runtime == "host":
            return
        times: list[float] = []
        started = clock()
        while not CLOCK_RAMP.is_steady(times) and clock() - started < CLOCK_RAMP.max_seconds:
            times.append(self._stopwatch.measure_us(repeat(self._sentinel.launch, 200)))

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raise MoesortTuneError."""
        if isinstance(request, LimitRequest):
            return dict(self._kernels.limits(request.shape))
        if isinstance(request, MeasureRequest):
            return self._measure(request)
        if isinstance(request, GapRequest):
            return self._measure_launch_gaps()
        self._check(request)
        return None

    def _measure_launch_gaps(self) -> LaunchGaps | NoLaunchGaps:
        """Return what each further launch costs, or the reasons of the modes that could not be timed."""
        measured = measure_launch_gaps(self._stopwatch, self._sentinel, self._sentinels)
        if measured.failures:
            return NoLaunchGaps("; ".join(f"{mode}: {reason}" for mode, reason in measured.failures.items()))
        return LaunchGaps(**{gap.mode: round_value(max(gap.gap_us, 0.0)) for gap in measured.gaps})

    def _check(self, request: CheckRequest) -> None:
        point = _build_point(request)
        with self._kernels.prepare(point) as prepared:
            self._check_once(point, prepared, request.kernels, range(point.variants))

    def _measure(self, request: MeasureRequest) -> Measured:
        point = _build_point(request)
        with self._kernels.prepare(point) as prepared:
            works = {(k, v): prepared.work(k, v) for k in request.kernels for v in range(point.variants)}
            first_us = {kernel: self._stopwatch.measure_us(works[kernel, 0]) for kernel in request.kernels}
            self._check_once(point, prepared, request.kernels, [choose_checked_variant(point)])
            return Measured(self._time(request, works, first_us), first_us)

    def _check_once(
        self, point: Point, prepared: PreparedPoint, kernels: tuple[KernelName, ...], variants: Iterable[int]
    ) -> None:
        for kernel, variant in itertools.product(kernels, variants):
            if (point, kernel, variant) not in self._checked:
                prepared.check(kernel, variant, self._stream)
                self._checked.add((point, kernel, variant))

    def _time(self, request: MeasureRequest, works: Works, first_us: dict[KernelName, float]) -> Measurement:
        with closing(self._open_timer(request, works, first_us)) as timer:
            measurement = Engine(
                timer,
                request.kernels,
                variants=len(works) // len(request.kernels),
                seed=request.settings.seed,
                rule=request.rule,
                warm_up=WarmUp(window=WARM_ROUNDS, max_seconds=request.rule.max_seconds / 4),
            ).measure()
        for kernel, interval in measurement.times_us.items():
            self._known_us.setdefault((request.shape, kernel), {})[request.tokens] = interval.median
        return measurement

    def _open_timer(
        self, request: MeasureRequest, works: Works, first_us: dict[KernelName, float]
    ) -> GraphTimer | EagerTimer:
        if request.settings.timing == "graph":
            expected_us = {name: self._expect_us(request, name, time_us) for name, time_us in first_us.items()}
            return GraphTimer(self._stopwatch, works, self._sentinels, expected_us=expected_us)
        flush = self._get_flush_buffer() if request.settings.cold else None
        # On a host a launch has run before the call returns, so that there is nothing to queue behind.
        filler = None if self._device.properties.runtime == "host" else self._sentinels
        return EagerTimer(self._stopwatch, works, self._sentinel.launch, filler, flush)

    def _expect_us(self, request: MeasureRequest, kernel: KernelName, first_us: float) -> float:
        """Return what one sort may take: as long as at the nearest token count so far, whatever the condition."""
        known = self._known_us.get((request.shape, kernel), {})
        nearest = min(known, key=lambda tokens: max(tokens, request.tokens) / min(tokens, request.tokens), default=None)
        return first_us if nearest is None else known[nearest]

    def _get_flush_buffer(self) -> hip.Buffer:
        if self._flush is None:
            self._flush = self._resources.enter_context(allocate_flush_buffer(self._device))
        return self._flush


def _check_promise(arch: str | None, properties: hip.DeviceProperties) -> None:
    """Raise WrongDeviceError, before anything is compiled, unless the device is the one that was promised."""
    if arch not in (None, properties.arch):
        raise WrongDeviceError(
            f"{arch} was asked for, but what is attached is {properties.arch} ({properties.name}); "
            f"`moesort-tune sweep --arch {properties.arch}` measures that"
        )


def _check_idle(used_bytes: int) -> None:
    """Raise DeviceBusyError where so much of the memory is in use that another program must hold it."""
    if used_bytes > MOST_USED_BYTES:
        raise DeviceBusyError(
            f"it is in use: {used_bytes / (1 << 30):.1f} GiB of its memory are taken by other programs; end them, or "
            "name the device alone to measure it all the same"
        )


def choose_checked_variant(point: Point) -> int:
    """Return the input on which a point is checked before it is timed: the points of a row take them in turn.

    A row's coarse rungs are checked on all inputs (CheckRequest). Checking each point on all took a quarter of a sweep
    on an H100.
    """
    return point.tokens % point.variants


def _build_point(request: CheckRequest | MeasureRequest) -> Point:
    variants = VARIANTS if request.tokens < SELF_AVERAGING_TOKENS else 1
    return Point(request.shape, request.tokens, request.settings, variants)
