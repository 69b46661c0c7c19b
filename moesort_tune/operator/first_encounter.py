"""Which kernel is faster for a shape that no table knows, found out the first time that it is sorted.

What AITER's pull request 3525 set out to do, with its traps avoided: every launch has its workspace, nothing is timed
cold, a refused launch or an impossible time is never a win, nothing happens under capture, one thread measures while
others wait, and topk is part of what is remembered.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple, Protocol

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName

_log = logging.getLogger("moesort_tune")

ROUNDS: Final = 7
"""Samples of each kernel: the median stands three disturbed ones."""

MARGIN: Final = 0.02
"""A kernel wins only by more than this share of the other's time, as in a sweep."""

ENOUGH_US: Final = 200.0
"""A sample shorter than this is a large part event overhead."""

MAX_SORTS: Final = 32
"""Sorts in one sample; more would only make capturing slow."""

Work = Callable[[hip.Stream], None]
"""Gives one whole sort to a stream, without allocating."""


class ShapeKey(NamedTuple):
    """What a choice is remembered by."""

    tokens: int
    num_experts: int
    topk: int


class Timer(Protocol):
    """Samples one kernel's time. It has been warmed up."""

    def sample_us(self) -> float:
        """Microseconds of one sort."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclass(frozen=True)
class Learned:
    """kernel: what to run. samples_us: a sample of each kernel a round, empty where nothing could be compared.

    winner: None where neither kernel won by more than the margin; then `kernel` is what would have run anyway.
    unit_size, model_dim, dtype: of the call that was measured; model_dim is 0 without a moe_buf.
    """

    kernel: KernelName
    winner: KernelName | None
    samples_us: Mapping[KernelName, list[float]]
    unit_size: int
    model_dim: int
    dtype: str


@dataclass(frozen=True)
class Encounter:
    """A call that may be measured. works: both kernels, on its buffers. otherwise: what would run without measuring."""

    key: ShapeKey
    works: Mapping[KernelName, Work]
    otherwise: KernelName
    unit_size: int
    model_dim: int
    dtype: str


class FirstEncounters:
    """What was learned of one device in this process. timer_of: warms a kernel up and returns its timer."""

    def __init__(self, timer_of: Callable[[Work, hip.Stream], Timer]) -> None:
        self.timer_of = timer_of
        self._learned: dict[ShapeKey, Learned] = {}
        self._lock = threading.Lock()

    def kernel(self, key: ShapeKey) -> KernelName | None:
        """What was learned of a shape, without waiting; None for nothing yet."""
        learned = self._learned.get(key)
        return None if learned is None else learned.kernel

    def learned(self) -> dict[ShapeKey, Learned]:
        """All that was learned."""
        return dict(self._learned)

    def meet(self, encounter: Encounter, stream: hip.Stream) -> KernelName:
        """What to run for this call: measured now, unless another thread has done so meanwhile.

        The outputs hold a sort by either kernel afterwards. Raises HipError where neither kernel can be launched.
        """
        with self._lock:
            if encounter.key not in self._learned:
                self._learned[encounter.key] = self._measured(encounter, stream)
            return self._learned[encounter.key].kernel

    def _measured(self, encounter: Encounter, stream: hip.Stream) -> Learned:
        with ExitStack() as stack:
            timers = self._timers(encounter, stream, stack)
            if len(timers) < len(encounter.works):
                return _without_samples(encounter, next(iter(timers)))
            samples = _interleaved(timers)
        if not all(math.isfinite(us) and us > 0 for of_kernel in samples.values() for us in of_kernel):
            _log.warning("%s could not be timed (%s); its kernel is chosen without measuring", encounter.key, samples)
            return _without_samples(encounter, encounter.otherwise)
        winner = _winner(samples)
        settings = (encounter.unit_size, encounter.model_dim, encounter.dtype)
        return Learned(winner or encounter.otherwise, winner, samples, *settings)

    def _timers(self, encounter: Encounter, stream: hip.Stream, stack: ExitStack) -> dict[KernelName, Timer]:
        """Timers of the kernels that can be launched. Raises HipError where none can."""
        timers: dict[KernelName, Timer] = {}
        refusal: hip.HipError | None = None
        for kernel, work in encounter.works.items():
            try:
                timers[kernel] = self.timer_of(work, stream)
            except hip.HipError as error:
                _log.warning("%s is not used for %s: %s", kernel, encounter.key, error)
                refusal = error
            else:
                stack.callback(timers[kernel].close)
        if not timers and refusal is not None:
            raise refusal
        return timers


def _without_samples(encounter: Encounter, kernel: KernelName) -> Learned:
    return Learned(kernel, None, {}, encounter.unit_size, encounter.model_dim, encounter.dtype)


def _interleaved(timers: Mapping[KernelName, Timer]) -> dict[KernelName, list[float]]:
    """Samples in turn, each round in the other order, so that a drifting clock favours neither."""
    samples: dict[KernelName, list[float]] = {kernel: [] for kernel in timers}
    for turn in range(ROUNDS):
        for kernel in list(timers)[:: 1 if turn % 2 == 0 else -1]:
            samples[kernel].append(timers[kernel].sample_us())
    return samples


def _winner(samples: Mapping[KernelName, list[float]]) -> KernelName | None:
    ratio = median(a / b for a, b in zip(samples["oneshot"], samples["multiphase"], strict=True))
    if ratio > 1 + MARGIN:
        return "multiphase"
    return "oneshot" if ratio < 1 / (1 + MARGIN) else None


class Stopwatch:
    """What a device needs for timing, made once: a stream to capture on, and two events."""

    def __init__(self, device: hip.Device) -> None:
        self.device = device
        # The current stream may be the default stream, which cannot be captured.
        self.capturing = device.stream()
        self._start, self._stop = device.event(), device.event()

    def elapsed_us(self, work: Work, stream: hip.Stream) -> float:
        """Microseconds of device time that `work` takes on `stream`; waits for it."""
        self._start.record(stream)
        work(stream)
        self._stop.record(stream)
        self._stop.synchronize()
        return hip.elapsed_us(self._start, self._stop)


class ReplayTimer:
    """Times a graph that holds a sort several times, replayed on the current stream: as serving runs it."""

    def __init__(self, stopwatch: Stopwatch, work: Work, stream: hip.Stream) -> None:
        """Runs the sort once by itself and once as a graph, so that nothing is cold. Raises HipError."""
        self._stopwatch = stopwatch
        self._stream = stream
        first_us = stopwatch.elapsed_us(work, stream)
        self._sorts = min(MAX_SORTS, max(1, math.ceil(ENOUGH_US / max(first_us, 1.0))))
        with ExitStack() as resources:
            self._graph = resources.enter_context(stopwatch.device.capture(stopwatch.capturing, self._repeated(work)))
            self.sample_us()
            resources.pop_all()

    def sample_us(self) -> float:
        """Microseconds of one sort."""
        return self._stopwatch.elapsed_us(self._graph.launch, self._stream) / self._sorts

    def close(self) -> None:
        """Frees the graph."""
        self._graph.destroy()

    def _repeated(self, work: Work) -> Work:
        def all_of_it(stream: hip.Stream) -> None:
            for _ in range(self._sorts):
                work(stream)

        return all_of_it
