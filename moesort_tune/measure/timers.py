"""Time work on a real device: as replayed graphs, or launched one by one.

Events are always recorded outside a capture, where they carry a time, and the stop event is waited for before
the time between two events is read.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

from moesort_tune.device import hip
from moesort_tune.measure.engine import TimingError

Work = Callable[[hip.Stream], None]
"""Enqueue one run of a candidate (or of the sentinel) on a stream, without allocating."""

Works = Mapping[tuple[str, int], Work]
"""The work of each candidate on each input."""

ENOUGH_US: Final = 200.0
"""A sample shorter than this is a large part event overhead (events tick at 10 ns, markers cost microseconds)."""

LONG_US: Final = 2000.0
"""Beside this, what a first launch costs more than later ones is nothing."""

MAX_LAUNCHES: Final = 256
"""Runs in one sample; more would only make capturing slow."""

ADAPTING_ROUNDS: Final = 5
"""Attempts at a number of launches that lasts long enough; each gets closer as fixed costs weigh less."""

MAX_BACKLOG: Final = 64
"""Replays in one backlog; a host that needs longer than these last to launch one sample will not do it at all."""

FLUSH_BYTES: Final = 256 << 20
"""Zeroed to flush the last-level cache, or twice the size of that cache, if this is more."""


class Launches(NamedTuple):
    """Number of runs in one sample: as many as last enough_us, but at least `least` and at most `most`."""

    least: int = 1
    most: int = MAX_LAUNCHES
    enough_us: float = ENOUGH_US


ADAPTED: Final = Launches()

OF_SENTINEL: Final = Launches(enough_us=ENOUGH_US / 2)
"""Of the sentinel, whose time decides nothing but whether a round counts, to 3 %."""


class Stopwatch:
    """Time what is enqueued on `stream` between two events. Close it to destroy them.

    capturing: the stream to capture graphs on where `stream` cannot be captured, as the default stream cannot.
    enqueued_at: when the last work had been enqueued, in seconds of time.perf_counter.
    """

    def __init__(self, device: hip.Device, stream: hip.Stream, *, capturing: hip.Stream | None = None) -> None:
        """Create the events. Raise HipError."""
        self.device = device
        self.stream = stream
        self.capturing = stream if capturing is None else capturing
        self.enqueued_at = 0.0
        with ExitStack() as resources:
            self._start = resources.enter_context(device.create_event())
            self._stop = resources.enter_context(device.create_event())
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Destroy the events. Raise HipError."""
        self._resources.close()

    def measure_us(self, work: Work) -> float:
        """Return the device time of `work` in microseconds, having waited for it."""
        self._start.record(self.stream)
        work(self.stream)
        self._stop.record(self.stream)
        self.enqueued_at = time.perf_counter()
        self._stop.synchronize()
        return hip.get_elapsed_us(self._start, self._stop)

    def measure_settled_us(self, work: Work) -> float:
        """Return how much time one sample costs: the longer of device and wall time.

        The first time pays for uploads, queues and arguments, so it only counts where that cannot matter.
        """
        first_us = self._measure_lasting_us(work)
        return first_us if first_us > LONG_US else self._measure_lasting_us(work)

    def _measure_lasting_us(self, work: Work) -> float:
        started = time.perf_counter()
        device_us = self.measure_us(work)
        return max(device_us, (time.perf_counter() - started) * 1e6)


def choose_next_launches(launches: int, lasting_us: float, allowed: Launches = ADAPTED) -> int:
    """Return how many launches to try after `launches` lasted `lasting_us`; the same number if that was enough."""
    if lasting_us >= allowed.enough_us:
        return launches
    return min(allowed.most, math.ceil(1.2 * launches * allowed.enough_us / lasting_us))


def adapt_launches(settled_us: Callable[[int], float], allowed: Launches, first: int = 1) -> int:
    """Return a number of launches that lasts long enough.

    settled_us: times so many, with the returned number last. first: what is tried first.
    """
    launches = min(max(first, allowed.least), allowed.most)
    for _ in range(ADAPTING_ROUNDS):
        wanted = choose_next_launches(launches, settled_us(launches), allowed)
        if wanted <= launches:
            return launches
        launches = wanted
    settled_us(launches)
    return launches


class LongGraph(NamedTuple):
    """A graph whose replay lasts long enough, and how many runs are in it."""

    graph: hip.Graph
    runs: int

    def measure_us(self, stopwatch: Stopwatch) -> float:
        """Return the microseconds of one run, from one replay."""
        return stopwatch.measure_us(self.graph.launch) / self.runs


def capture_long_graph(
    stopwatch: Stopwatch, works: Sequence[Work], allowed: Launches = ADAPTED, expected_us: float = ENOUGH_US
) -> LongGraph:
    """Return a graph of each of `works` as often as the others, one after another.

    expected_us: what one run takes, as far as it is known; the nearer it is, the less is captured in vain.
    """
    each = allowed._replace(least=-(-allowed.least // len(works)), most=max(1, allowed.most // len(works)))
    device, graphs = stopwatch.device, list[hip.Graph]()
    with ExitStack() as resources:

        def measure_settled_us(launches: int) -> float:
            resources.close()  # the shorter graph
            graph = resources.enter_context(device.capture(stopwatch.capturing, repeat_each(works, launches)))
            graphs[:] = [graph]
            return stopwatch.measure_settled_us(graph.launch)

        first = choose_next_launches(1, expected_us * len(works), each) if expected_us > 0 else 1
        launches = adapt_launches(measure_settled_us, each, first)
        resources.pop_all()
        return LongGraph(graphs[0], launches * len(works))


class GraphTimer:
    """Time replays of graphs that hold a candidate many times over, on each input as often. Close it to free them.

    sentinel: its graph, which outlives this; None where the clock is not watched. launches: of a candidate in its
    graph. expected_us: what one run of a candidate takes, as far as it is known.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        works: Works,
        sentinel: LongGraph | None = None,
        launches: Launches = ADAPTED,
        *,
        expected_us: Mapping[str, float] | None = None,
    ) -> None:
        """Capture nothing yet: each graph is captured when it is first needed."""
        self._stopwatch = stopwatch
        self._works: dict[str, list[Work]] = {}
        for (name, _), work in works.items():
            self._works.setdefault(name, []).append(work)
        self._sentinel = sentinel
        self._launches = launches
        self._expected_us = expected_us or {}
        self._graphs: dict[str, LongGraph] = {}
        self._resources = ExitStack()

    def prepare(self, name: str, variant: int) -> None:  # noqa: ARG002 - one graph has them all
        """Run a candidate, then capture and replay its graph, so that its first sample is not cold. Raise HipError."""
        for work in self._works[name]:
            self._stopwatch.measure_us(work)
        self._get_graph(name)

    def sample(self, name: str, variant: int) -> float:  # noqa: ARG002 - one graph has them all
        """Return the microseconds of one run, from one replay: the mean of all inputs."""
        return self._get_graph(name).measure_us(self._stopwatch)

    def sample_sentinel(self) -> float | None:
        """Return the microseconds of one sentinel, from one replay; None without a sentinel."""
        return None if self._sentinel is None else self._sentinel.measure_us(self._stopwatch)

    def close(self) -> None:
        """Free the graphs. Raise HipError."""
        self._graphs.clear()
        self._resources.close()

    def _get_graph(self, name: str) -> LongGraph:
        if name not in self._graphs:
            expected_us = self._expected_us.get(name, ENOUGH_US)
            self._graphs[name] = capture_long_graph(self._stopwatch, self._works[name], self._launches, expected_us)
            self._resources.push(self._graphs[name].graph)
        return self._graphs[name]


class Backlog:
    """Keep the device busy until a whole sample is queued behind it.

    Otherwise every launch finds an idle device, and what passes between two events is the time that the host needs to
    launch. one: enqueues work of at least lasts_us microseconds.
    """

    def __init__(self, one: Work, lasts_us: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start with a backlog of one."""
        self._one = one
        self._lasts_us = lasts_us
        self._clock = clock
        self._length = 1

    def measure_us(self, stopwatch: Stopwatch, work: Work, before: Work) -> float:
        """Return the device time of `work`, which was queued before any of it could run, behind `before`.

        The backlog grows when it was too short twice in a row; once may be a hiccup. Raise TimingError.
        """
        for attempt in itertools.count(1):
            started = self._clock()
            repeat(self._one, self._length)(stopwatch.stream)
            before(stopwatch.stream)
            elapsed_us = stopwatch.measure_us(work)
            if (stopwatch.enqueued_at - started) * 1e6 < self._length * self._lasts_us:
                return elapsed_us
            if attempt > 1 and self._length == MAX_BACKLOG:
                break
            self._length *= 1 if attempt == 1 else 2
        raise TimingError(
            f"launching one sample took longer than {self._length * self._lasts_us:.0f} us several times over; "
            "the host is too busy to time eager launches"
        )


def do_nothing(_stream: hip.Stream) -> None:
    """Enqueue nothing."""


class EagerTimer:
    """Time candidates that a host launches one by one while it runs ahead.

    filler: a graph of sentinels, of which the backlog consists; None where a launch has run before the call returns.
    flush: memory that is zeroed before each sample, so that the last-level cache is cold.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        works: Works,
        sentinel: Work,
        filler: LongGraph | None = None,
        flush: hip.Buffer | None = None,
    ) -> None:
        """Time the filler. Raise HipError."""
        self._stopwatch = stopwatch
        self._works = works
        self._sentinel = sentinel
        self._flush = flush
        self._launches: dict[object, int] = {}
        self._backlog = filler and Backlog(filler.graph.launch, stopwatch.measure_us(filler.graph.launch))

    def sample(self, name: str, variant: int) -> float:
        """Return the microseconds of one run."""
        work, flush = self._works[name, variant], self._flush
        if flush is None:
            return self._measure_repeated_us((name, variant), work)
        return self._measure_us(work, before=lambda stream: stream.memset(flush, 0, flush.nbytes))

    def sample_sentinel(self) -> float:
        """Return the microseconds of one sentinel."""
        return self._measure_repeated_us("sentinel", self._sentinel)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _measure_repeated_us(self, key: object, work: Work) -> float:
        if key not in self._launches:
            self._launches[key] = adapt_launches(
                lambda launches: self._stopwatch.measure_settled_us(repeat(work, launches)), ADAPTED
            )
        launches = self._launches[key]
        return self._measure_us(repeat(work, launches)) / launches

    def _measure_us(self, work: Work, before: Work = do_nothing) -> float:
        if self._backlog is not None:
            return self._backlog.measure_us(self._stopwatch, work, before)
        before(self._stopwatch.stream)
        return self._stopwatch.measure_us(work)


def repeat(work: Work, times: int) -> Work:
    """Return the work `times` times over."""

    return repeat_each((work,), times)


def repeat_each(works: Sequence[Work], times: int) -> Work:
    """Return each of the works `times` times over, one after another."""

    def enqueue(stream: hip.Stream) -> None:
        for work in works:
            for _ in range(times):
                work(stream)

    return enqueue


def allocate_flush_buffer(device: hip.Device) -> hip.Buffer:
    """Allocate memory that is zeroed to flush the last-level cache."""
    return device.allocate(compute_flush_bytes(device.properties.last_level_cache_bytes))


def compute_flush_bytes(cache_bytes: int) -> int:
    """Return the bytes to zero, so that nothing stays in a last-level cache of `cache_bytes`."""
    return max(FLUSH_BYTES, 2 * cache_bytes)
