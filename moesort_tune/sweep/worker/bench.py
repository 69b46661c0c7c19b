"""The device with its kernels, sentinel and timers: checks a point and measures it. Lives in the worker's process."""

from collections.abc import Callable
from contextlib import ExitStack, closing

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Engine, Measurement, WarmUp
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.timers import EagerTimer, GraphTimer, Stopwatch, Works, flush_buffer, repeated
from moesort_tune.providers.work.base import Point, PreparedPoint, open_provider
from moesort_tune.sweep.worker.messages import (
    Answer,
    CheckRequest,
    DeviceFacts,
    LimitRequest,
    Measured,
    MeasureRequest,
    Request,
    WorkerSpec,
)

VARIANTS = 3
"""Inputs that are used in turn."""

SELF_AVERAGING_TOKENS = 4096
"""From so many tokens on one random routing is like any other, and memory is better spent otherwise."""

CLOCK_RAMP = WarmUp(tolerance=0.02, window=20, max_rounds=10_000, max_seconds=2.0)
"""MI300's clock ramps for 400 ms and more after a pause; this is done once, when the device is opened."""


class WrongDeviceError(MoesortTuneError):
    """The attached device is not of the architecture that was asked for."""


class Bench:
    """An opened device. Raises HipError, WrongDeviceError, ProviderError, CompileError where it cannot be opened.

    What it has made on the device is given back by `close`, or at the end of a `with`.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._device = hip.open_device(spec.runtime, spec.ordinal)
        _check_promise(spec.arch, self._device.properties)
        with ExitStack() as resources:
            self._provider = resources.enter_context(closing(open_provider(spec.provider, self._device)))
            self._stream = resources.enter_context(self._device.stream())
            self._stopwatch = resources.enter_context(closing(Stopwatch(self._device, self._stream)))
            self._sentinel = resources.enter_context(closing(Sentinel(self._device)))
            self._resources = resources.pop_all()
        self._flush: hip.Buffer | None = None
        self._checked: set[tuple[Point, KernelName]] = set()

    def close(self) -> None:
        """Give everything back. Raise HipError."""
        self._resources.close()

    @property
    def facts(self) -> DeviceFacts:
        """What the table records of device and kernels."""
        return DeviceFacts.of(
            self._device.properties,
            compiler=self._provider.compiler,
            provider=self._provider.name,
            revision=self._provider.revision,
        )

    def warm_up(self, clock: Callable[[], float]) -> None:
        """Runs the sentinel until the device's clock has settled; a host has no clock that waits for work."""
        if self._device.properties.runtime == "host":
            return
        times: list[float] = []
        started = clock()
        while not CLOCK_RAMP.steady(times) and clock() - started < CLOCK_RAMP.max_seconds:
            times.append(self._stopwatch.elapsed_us(repeated(self._sentinel.launch, 200)))

    def answer(self, request: Request) -> Answer:
        """Does what is asked. Raises MoesortTuneError."""
        if isinstance(request, LimitRequest):
            return self._provider.oneshot_max_tokens(request.shape)
        if isinstance(request, MeasureRequest):
            return self._measure(request)
        self._check(request)
        return None

    def _check(self, request: CheckRequest) -> None:
        point = _point(request)
        with self._provider.prepare(point) as prepared:
            self._check_once(point, prepared, request.kernels)

    def _measure(self, request: MeasureRequest) -> Measured:
        point = _point(request)
        with self._provider.prepare(point) as prepared:
            works = {(k, v): prepared.work(k, v) for k in request.kernels for v in range(point.variants)}
            first_us = {kernel: self._stopwatch.elapsed_us(works[kernel, 0]) for kernel in request.kernels}
            self._check_once(point, prepared, request.kernels)
            return Measured(self._timed(request, works, point.variants), first_us)

    def _check_once(self, point: Point, prepared: PreparedPoint, kernels: tuple[KernelName, ...]) -> None:
        for kernel in kernels:
            if (point, kernel) in self._checked:
                continue
            for variant in range(point.variants):
                prepared.check(kernel, variant, self._stream)
            self._checked.add((point, kernel))

    def _timed(self, request: MeasureRequest, works: Works, variants: int) -> Measurement:
        with closing(self._timer(request, works)) as timer:
            return Engine(
                timer,
                request.kernels,
                variants=variants,
                seed=request.settings.seed,
                rule=request.rule,
                warm_up=WarmUp(max_seconds=request.rule.max_seconds / 4),
            ).measure()

    def _timer(self, request: MeasureRequest, works: Works) -> GraphTimer | EagerTimer:
        if request.settings.timing == "graph":
            return GraphTimer(self._stopwatch, works, self._sentinel.launch)
        flush = self._flush_buffer() if request.settings.cold else None
        return EagerTimer(self._stopwatch, works, self._sentinel.launch, flush)

    def _flush_buffer(self) -> hip.Buffer:
        if self._flush is None:
            self._flush = self._resources.enter_context(flush_buffer(self._device))
        return self._flush


def _check_promise(arch: str | None, properties: hip.DeviceProperties) -> None:
    """Before anything is compiled: the device must be the one that was promised."""
    if arch not in (None, properties.arch):
        raise WrongDeviceError(
            f"{arch} was asked for, but what is attached is {properties.arch} ({properties.name}); "
            f"use --arch {properties.arch} to measure that"
        )


def _point(request: CheckRequest | MeasureRequest) -> Point:
    variants = VARIANTS if request.tokens < SELF_AVERAGING_TOKENS else 1
    return Point(request.shape, request.tokens, request.settings, variants)
