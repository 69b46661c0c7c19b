"""Timers of a real device: replayed graphs, and launches one by one.

Events are always recorded outside a capture, where they carry a time, and the stop event is waited for before
the time between two events is read.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import TimingError

Work = Callable[[hip.Stream], None]
"""Gives one whole sort (or one sentinel) to a stream, without allocating."""

Works = Mapping[tuple[KernelName, int], Work]
"""The work of each kernel on each input."""

ENOUGH_US = 200.0
"""A sample shorter than this is a large part event overhead (events tick at 10 ns, markers cost microseconds)."""

LONG_US = 2000.0
"""Beside this, what a first launch costs more than later ones is nothing."""

MAX_LAUNCHES = 256
"""Sorts in one sample; more would only make capturing slow."""

ADAPTING_ROUNDS = 5
"""Attempts at a number of launches that lasts long enough; each gets closer as fixed costs weigh less."""

MAX_BACKLOG = 64
"""Replays in one backlog; a host that needs longer than these last to launch one sample will not do it at all."""

FLUSH_BYTES = 256 << 20
"""Zeroed to flush the last-level cache: 256 MB on MI300, where HIP reports only the L2 of one XCD."""


class Stopwatch:
    """Times what is given to a stream between two events. Close it to give them back.

    given_at: when the last work had been given to the stream, in seconds of time.perf_counter.
    """

    def __init__(self, device: hip.Device, stream: hip.Stream) -> None:
        self.device = device
        self.stream = stream
        self.given_at = 0.0
        with ExitStack() as resources:
            self._start = resources.enter_context(device.event())
            self._stop = resources.enter_context(device.event())
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Give the events back. Raise HipError."""
        self._resources.close()

    def elapsed_us(self, work: Work) -> float:
        """Device time of `work` in microseconds; waits for it."""
        self._start.record(self.stream)
        work(self.stream)
        self._stop.record(self.stream)
        self.given_at = time.perf_counter()
        self._stop.synchronize()
        return hip.elapsed_us(self._start, self._stop)

    def settled_us(self, work: Work) -> float:
        """How much of a sweep's time one sample takes: the longer of device and wall time.

        The first time pays for uploads, queues and arguments, so it only counts where that cannot matter.
        """
        first_us = self._lasting_us(work)
        return first_us if first_us > LONG_US else self._lasting_us(work)

    def _lasting_us(self, work: Work) -> float:
        started = time.perf_counter()
        device_us = self.elapsed_us(work)
        return max(device_us, (time.perf_counter() - started) * 1e6)


def next_launches(launches: int, lasting_us: float) -> int:
    """How many launches to try after `launches` of them lasted `lasting_us`; the same number if that was enough."""
    if lasting_us >= ENOUGH_US:
        return launches
    return min(MAX_LAUNCHES, math.ceil(1.2 * launches * ENOUGH_US / lasting_us))


def long_graph(stopwatch: Stopwatch, work: Work) -> tuple[hip.Graph, int]:
    """Return a graph of `work` whose replay lasts long enough, and how many times the work is in it."""
    device, stream = stopwatch.device, stopwatch.stream
    with ExitStack() as resources:
        launches, graph = 1, resources.enter_context(device.capture(stream, work))
        for _ in range(ADAPTING_ROUNDS):
            wanted = next_launches(launches, stopwatch.settled_us(graph.launch))
            if wanted <= launches:
                break
            graph.destroy()
            launches, graph = wanted, resources.enter_context(device.capture(stream, repeated(work, wanted)))
        resources.pop_all()
        return graph, launches


class GraphTimer:
    """Times replays of graphs that hold a sort many times over: how serving runs it. Close it to free the graphs."""

    def __init__(self, stopwatch: Stopwatch, works: Works, sentinel: Work) -> None:
        self._stopwatch = stopwatch
        self._works = works
        self._sentinel = sentinel
        self._graphs: dict[object, tuple[hip.Graph, int]] = {}
        self._resources = ExitStack()

    def sample(self, kernel: KernelName, variant: int) -> float:
        """Microseconds of one sort, from one replay."""
        return self._replay_us((kernel, variant), self._works[kernel, variant])

    def sentinel(self) -> float:
        """Microseconds of one sentinel, from one replay."""
        return self._replay_us("sentinel", self._sentinel)

    def close(self) -> None:
        """Free the graphs. Raise HipError."""
        self._graphs.clear()
        self._resources.close()

    def _replay_us(self, key: object, work: Work) -> float:
        if key not in self._graphs:
            self._graphs[key] = long_graph(self._stopwatch, work)
            self._resources.push(self._graphs[key][0])
        graph, launches = self._graphs[key]
        return self._stopwatch.elapsed_us(graph.launch) / launches


class Backlog:
    """Keeps the device busy until a whole sample is queued behind it.

    Otherwise every launch finds an idle device, and what passes between two events is the time that the host needs to
    launch. one: gives a stream work of at least lasts_us microseconds.
    """

    def __init__(self, one: Work, lasts_us: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._one = one
        self._lasts_us = lasts_us
        self._clock = clock
        self._length = 1

    def elapsed_us(self, stopwatch: Stopwatch, work: Work, before: Work) -> float:
        """Device time of `work`, which was queued before any of it could run, behind `before`.

        The backlog grows when it was too short twice in a row; once may be a hiccup. Raises TimingError.
        """
        for attempt in itertools.count(1):
            started = self._clock()
            repeated(self._one, self._length)(stopwatch.stream)
            before(stopwatch.stream)
            elapsed_us = stopwatch.elapsed_us(work)
            if (stopwatch.given_at - started) * 1e6 < self._length * self._lasts_us:
                return elapsed_us
            if attempt > 1 and self._length == MAX_BACKLOG:
                break
            self._length *= 1 if attempt == 1 else 2
        raise TimingError(
            f"launching one sample took longer than {self._length * self._lasts_us:.0f} us several times over; "
            "the host is too busy to time eager launches"
        )


def nothing(_stream: hip.Stream) -> None:
    """Gives nothing to the stream."""


class EagerTimer:
    """Times sorts launched one by one by a host that runs ahead. With `flush` the last-level cache is cold before each.

    Close it to free its backlog.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        works: Works,
        sentinel: Work,
        flush: hip.Buffer | None = None,
    ) -> None:
        self._stopwatch = stopwatch
        self._works = works
        self._sentinel = sentinel
        self._flush = flush
        self._launches: dict[object, int] = {}
        self._resources = ExitStack()
        self._backlog: Backlog | None = None
        if stopwatch.device.properties.runtime != "host":  # where a launch has run before the call returns
            self._backlog = self._new_backlog()

    def sample(self, kernel: KernelName, variant: int) -> float:
        """Microseconds of one sort."""
        work, flush = self._works[kernel, variant], self._flush
        if flush is None:
            return self._repeated_us((kernel, variant), work)
        return self._elapsed_us(work, before=lambda stream: stream.memset(flush, 0, flush.nbytes))

    def sentinel(self) -> float:
        """Microseconds of one sentinel."""
        return self._repeated_us("sentinel", self._sentinel)

    def close(self) -> None:
        """Free the backlog. Raise HipError."""
        self._resources.close()

    def _new_backlog(self) -> Backlog:
        with ExitStack() as resources:
            filler = resources.enter_context(long_graph(self._stopwatch, self._sentinel)[0])
            backlog = Backlog(filler.launch, self._stopwatch.elapsed_us(filler.launch))
            self._resources = resources.pop_all()
            return backlog

    def _repeated_us(self, key: object, work: Work) -> float:
        if key not in self._launches:
            self._launches[key] = self._adapted(work)
        launches = self._launches[key]
        return self._elapsed_us(repeated(work, launches)) / launches

    def _elapsed_us(self, work: Work, before: Work = nothing) -> float:
        if self._backlog is not None:
            return self._backlog.elapsed_us(self._stopwatch, work, before)
        before(self._stopwatch.stream)
        return self._stopwatch.elapsed_us(work)

    def _adapted(self, work: Work) -> int:
        launches = 1
        for _ in range(ADAPTING_ROUNDS):
            wanted = next_launches(launches, self._stopwatch.settled_us(repeated(work, launches)))
            if wanted <= launches:
                break
            launches = wanted
        return launches


def repeated(work: Work, times: int) -> Work:
    """The work `times` times over."""

    def all_of_it(stream: hip.Stream) -> None:
        for _ in range(times):
            work(stream)

    return all_of_it


def flush_buffer(device: hip.Device) -> hip.Buffer:
    """Memory at least as large as the last-level cache."""
    return device.allocate(max(FLUSH_BYTES, 2 * device.properties.l2_cache_bytes))
