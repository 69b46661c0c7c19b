"""How long a sample is made, and the backlog behind which eager launches are timed, on a host and a device whose times
are known."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moesort_tune.device import hip
from moesort_tune.measure import timers
from moesort_tune.measure.engine import TimingError
from moesort_tune.measure.timers import (
    ADAPTED,
    ADAPTING_ROUNDS,
    ENOUGH_US,
    MAX_BACKLOG,
    MAX_LAUNCHES,
    Backlog,
    Launches,
    Stopwatch,
    adapt_launches,
    capture_long_graph,
    choose_next_launches,
    compute_flush_bytes,
    do_nothing,
)

FILLER_US = 200.0
WORK_US = 50.0


class Machine:
    """A host that needs launching_us[i] for the i-th attempt, and a device; as a Stopwatch of both.

    queued: what the device has to do before the work.
    """

    def __init__(self, *launching_us: float) -> None:
        self.stream = cast(hip.Stream, object())
        self.enqueued_at = 0.0
        self.queued: list[str] = []
        self.backlog = Backlog(self.queuing("filler"), FILLER_US, lambda: self._host_us / 1e6)
        self._host_us = 0.0
        self._launching_us = iter(launching_us)

    def queuing(self, what: str) -> Any:
        """Return work that is seen in `queued`."""

        def queue(stream: object) -> None:
            assert stream is self.stream
            self.queued.append(what)

        return queue

    def measure_us(self, work: Any) -> float:
        """Return the device time, in which the device waits for the host where that is still launching."""
        work(self.stream)
        launching_us = next(self._launching_us)
        self._host_us += launching_us
        self.enqueued_at = self._host_us / 1e6
        waited_us = max(0.0, launching_us - FILLER_US * self.queued.count("filler"))
        self.last_queued, self.queued = self.queued, []
        return WORK_US + waited_us

    def sample(self, before: Any = do_nothing) -> tuple[float, list[str]]:
        """Return a sample behind the backlog, and what was queued before the work of it."""
        return self.backlog.measure_us(cast(Stopwatch, self), do_nothing, before), self.last_queued


def test_sample_of_a_quick_host_waits_behind_one_filler() -> None:
    """Protects eager samples: what must come before (a flush) stands between the backlog and the work."""
    machine = Machine(150.0)
    assert machine.sample(machine.queuing("flush")) == (WORK_US, ["filler", "flush"])


def test_backlog_grows_for_a_slow_host() -> None:
    """Protects the times of slow hosts: a sample in which the device waited for the host does not count."""
    machine = Machine(*[500.0] * 5)
    assert machine.sample() == (WORK_US, ["filler"] * 4)
    assert machine.sample() == (WORK_US, ["filler"] * 4)


def test_one_hiccup_leaves_the_backlog_as_it_is() -> None:
    """Protects the length of a sweep: one late launch among many must not make every later sample longer."""
    machine = Machine(500.0, 150.0)
    assert machine.sample() == (WORK_US, ["filler"])


def test_one_hiccup_behind_the_longest_backlog_is_no_error() -> None:
    """Protects a sweep on a slow host: what a longer backlog cannot mend, another try may."""
    slow = FILLER_US * (MAX_BACKLOG - 1)
    growing = [slow] * 8  # the first is a hiccup, and six times the backlog doubles
    machine = Machine(*growing, 2 * slow, slow, 2 * slow, 2 * slow)
    assert machine.sample() == (WORK_US, ["filler"] * MAX_BACKLOG)
    assert machine.sample() == (WORK_US, ["filler"] * MAX_BACKLOG)
    with pytest.raises(TimingError, match=r"took longer than 12800 us several times over"):
        machine.sample()


def test_sample_that_was_queued_as_the_backlog_ended_does_not_count() -> None:
    """Protects eager times: a device that may have been idle for a moment has waited for the host."""
    assert Machine(FILLER_US, 150.0).sample() == (WORK_US, ["filler"])
    assert Machine(FILLER_US, FILLER_US, 150.0).sample() == (WORK_US, ["filler"] * 2)


def test_host_that_never_keeps_up_is_an_error() -> None:
    """Protects tables from times of the host: where launching takes too long nothing is measured, and that is said."""
    machine = Machine(*[FILLER_US * MAX_BACKLOG * 2] * 20)
    with pytest.raises(TimingError, match="too busy to time eager launches"):
        machine.sample()


@pytest.mark.parametrize(
    ("launches", "lasting_us", "wanted"),
    [
        (1, 200.0, 1),
        (4, 250.0, 4),
        (1, 199.0, 2),
        (1, 100.0, 3),  # two would just do; a fifth more is taken
        (10, 100.0, 24),
        (1, 0.5, MAX_LAUNCHES),
        (MAX_LAUNCHES, 10.0, MAX_LAUNCHES),
    ],
)
def test_launches_grow_until_a_sample_outweighs_its_events(launches: int, lasting_us: float, wanted: int) -> None:
    """Protects the times of short kernels: a sample of less than 200 us is repeated with a reserve of a fifth."""
    assert choose_next_launches(launches, lasting_us) == wanted


@pytest.mark.parametrize(
    ("allowed", "one_us", "tried"),
    [
        (ADAPTED, 300.0, [1]),
        (ADAPTED, 50.0, [1, 5]),
        (ADAPTED, 0.1, [1, MAX_LAUNCHES]),
        (Launches(most=32), 0.1, [1, 32]),
        (Launches(10, 10), 0.1, [10]),
        (Launches(10, 10), 9000.0, [10]),
    ],
)
def test_number_of_launches_stays_within_what_is_allowed(allowed: Launches, one_us: float, tried: list[int]) -> None:
    """Protects a first call from long samples, and benchmarks that name their number; the last one tried is taken."""
    seen: list[int] = []

    def measure_settled_us(launches: int) -> float:
        seen.append(launches)
        return one_us * launches

    assert adapt_launches(measure_settled_us, allowed) == tried[-1]
    assert seen == tried


def test_number_of_launches_that_never_lasts_is_tried_before_it_is_used() -> None:
    """Protects the first sample of a graph: it was replayed before, even where adapting gives up."""
    seen: list[int] = []

    def measure_settled_us(launches: int) -> float:
        seen.append(launches)
        return 190.0

    assert adapt_launches(measure_settled_us, ADAPTED) == seen[-1]
    assert len(seen) == ADAPTING_ROUNDS + 1


@pytest.mark.parametrize(
    ("expected_us", "captured"),
    [(ENOUGH_US, [1, 4]), (400.0, [1, 4]), (0.0, [1, 4]), (50.0, [2, 4]), (20.0, [4])],
)
def test_graph_holds_each_work_as_often(expected_us: float, captured: list[int]) -> None:
    """Protects comparisons from one lucky input, and sweeps from captures in vain where the time is known nearly."""
    runs: list[list[str]] = []

    class Graph:
        def __init__(self, work: Any) -> None:
            runs.append([])
            work(None)

        def launch(self, stream: object) -> None:
            """Take 20 us a run."""

        def __enter__(self) -> "Graph":
            return self

        def __exit__(self, *_: object) -> None:
            """Free nothing."""

    device = SimpleNamespace(capture=lambda _, work: Graph(work))
    stopwatch = SimpleNamespace(device=device, capturing=None, measure_settled_us=lambda _: 20.0 * len(runs[-1]))
    works = [lambda _, name=name: runs[-1].append(name) for name in "abc"]
    graph = capture_long_graph(cast(Stopwatch, stopwatch), works, expected_us=expected_us)
    assert [one.count("a") for one in runs] == captured
    assert runs[-1] == [name for name in "abc" for _ in range(captured[-1])]
    assert graph.runs == 3 * captured[-1]


class Event:
    """An event of a stream that runs everything at once: it reads the device's clock when it is recorded."""

    def __init__(self, device_us: list[float]) -> None:
        self.at_us = 0.0
        self._device_us = device_us

    def record(self, stream: object) -> None:
        """On the one stream."""
        assert stream is STREAM
        self.at_us = self._device_us[0]

    def synchronize(self) -> None:
        """Wait for nothing."""

    def __enter__(self) -> "Event":
        return self

    def __exit__(self, *_error: object) -> None:
        """Give nothing back."""


STREAM = cast(hip.Stream, object())


@pytest.mark.parametrize(
    ("samples", "settled_us"),
    [
        ([(2001.0, 10.0), (30.0, 10.0)], 2001.0),
        ([(10.0, 2001.0), (30.0, 10.0)], 2001.0),
        ([(2000.0, 10.0), (30.0, 10.0)], 30.0),
        ([(1500.0, 1500.0), (30.0, 90.0)], 90.0),
    ],
)
def test_first_sample_counts_only_where_it_is_long(
    samples: Sequence[tuple[float, float]], settled_us: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects sample lengths: a first launch pays for uploads; device or wall time counts, whichever is longer."""
    host_us, device_us = [0.0], [0.0]
    monkeypatch.setattr(timers, "time", SimpleNamespace(perf_counter=lambda: host_us[0] / 1e6))
    monkeypatch.setattr(hip, "get_elapsed_us", lambda start, stop: stop.at_us - start.at_us)
    coming = list(samples)

    def work(stream: object) -> None:
        assert stream is STREAM
        on_device, on_host = coming.pop(0)
        device_us[0] += on_device
        host_us[0] += on_host

    stopwatch = Stopwatch(cast(hip.Device, SimpleNamespace(create_event=lambda: Event(device_us))), STREAM)
    assert stopwatch.measure_settled_us(work) == pytest.approx(settled_us)
    assert len(coming) == (1 if settled_us > 2000.0 else 0)
    assert stopwatch.enqueued_at == pytest.approx(host_us[0] / 1e6)


@pytest.mark.parametrize(("cache_mib", "flushed_mib"), [(0, 256), (50, 256), (128, 256), (256, 512)])
def test_flush_is_twice_the_last_level_cache_or_more(cache_mib: int, flushed_mib: int) -> None:
    """Protects cold times: as much as the cache holds may still be there after as many bytes were zeroed."""
    assert compute_flush_bytes(cache_mib << 20) == flushed_mib << 20
