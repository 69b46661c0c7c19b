"""The backlog behind which eager launches are timed, with a host and a device whose times are known."""

from typing import Any, cast

import pytest

from moesort_tune.device import hip
from moesort_tune.tuning.timers import MAX_BACKLOG, Backlog, Stopwatch, nothing
from moesort_tune.tuning.timing import TimingError

FILLER_US = 200.0
WORK_US = 50.0


class Machine:
    """A host that needs launching_us[i] for the i-th attempt, and a device; as a Stopwatch of both.

    queued: what the device has to do before the work.
    """

    def __init__(self, *launching_us: float) -> None:
        self.stream = cast(hip.Stream, self)
        self.given_at = 0.0
        self.queued: list[str] = []
        self.backlog = Backlog(self.queuing("filler"), FILLER_US, lambda: self._host_us / 1e6)
        self._host_us = 0.0
        self._launching_us = iter(launching_us)

    def queuing(self, what: str) -> Any:
        """Work that is seen in `queued`."""
        return lambda _stream: self.queued.append(what)

    def elapsed_us(self, work: Any) -> float:
        """Device time, in which the device waits for the host where that is still launching."""
        work(self.stream)
        launching_us = next(self._launching_us)
        self._host_us += launching_us
        self.given_at = self._host_us / 1e6
        waited_us = max(0.0, launching_us - FILLER_US * self.queued.count("filler"))
        self.last_queued, self.queued = self.queued, []
        return WORK_US + waited_us

    def sample(self, before: Any = nothing) -> tuple[float, list[str]]:
        """A sample behind the backlog, and what was queued before the work of it."""
        return self.backlog.elapsed_us(cast(Stopwatch, self), nothing, before), self.last_queued


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


def test_host_that_never_keeps_up_is_an_error() -> None:
    """Protects tables from times of the host: where launching takes too long nothing is measured, and that is said."""
    machine = Machine(*[FILLER_US * MAX_BACKLOG * 2] * 20)
    with pytest.raises(TimingError, match="too busy to time eager launches"):
        machine.sample()
