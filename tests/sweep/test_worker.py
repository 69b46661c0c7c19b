"""The child process that holds the device: what it answers, and what happens when it does not."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device.hip_calls import HipError
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.worker import client as worker_module
from moesort_tune.sweep.worker import process as worker_process
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.errors import DeviceFailedError, WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import CheckRequest, MeasureRequest, WorkerSpec
from moesort_tune.sweep.worker.pinned import PinnedWorker
from moesort_tune.tables.schema import LaunchGaps
from tests.processes import find_processes
from tests.sweep.fakes import FACTS
from tests.sweep.kernels import KERNELS, ONE, make_limits
from tests.sweep.serving import (
    CRASHING_TOKENS,
    ENDLESS_TOKENS,
    FAILING_TOKENS,
    REFUSED_TOKENS,
    serve,
    serve_facts_alone,
    serve_nothing,
    serve_refusal,
    serve_stopped,
    serve_wrong_kinds,
)

SPEC = WorkerSpec(None, None, 0, "builtin")

PATIENCE_S = 60.0
"""A limit that no request reaches which ends, however busy the machine."""


@pytest.fixture
def worker() -> Iterator[ProcessWorker]:
    """Yield a worker whose kernels misbehave at some token counts."""
    with ProcessWorker(SPEC, limit_s=PATIENCE_S, serve=serve) as worker:
        yield worker


def check(tokens: int) -> CheckRequest:
    """Check the kernels at this token count."""
    return CheckRequest(Shape(8, 2), tokens, Settings(), KERNELS)


def test_worker_answers_from_its_process(worker: ProcessWorker) -> None:
    """Facts, limits and measurements survive the way through the pipe."""
    assert worker.facts == FACTS
    assert worker.limits(Shape(8, 2)) == make_limits(1024)
    request = MeasureRequest(Shape(8, 2), 16, Settings(), KERNELS, StoppingRule())
    assert worker.measure(request).measurement.verdict == ONE
    assert worker.measure_launch_gaps() == LaunchGaps(graph=1.0, replay=1.5, eager=4.0)


def test_worker_tells_a_refusal_in_its_words(worker: ProcessWorker) -> None:
    """A wrong kernel is named, and the process lives on."""
    process = worker._process
    with pytest.raises(WorkerRefusedError, match="oneshot is wrong for 8 experts"):
        worker.check(check(REFUSED_TOKENS))
    worker.check(check(1))
    assert worker._process is process


def test_failed_device_call_costs_the_process(worker: ProcessWorker) -> None:
    """What failed in HIP may stick to the process; the next request gets a new one."""
    process = worker._process
    with pytest.raises(DeviceFailedError, match=r"hipMalloc failed .* \(2\) \(oneshot and multiphase at 67 tokens\)"):
        worker.check(check(FAILING_TOKENS))
    worker.check(check(1))
    assert worker._process is not process


@pytest.mark.parametrize(
    ("error", "device_failed"), [(HipError("hipMalloc", 2, "hipErrorOutOfMemory"), True), (ValueError("no"), False)]
)
def test_failed_hip_call_is_told_from_a_wrong_kernel(error: Exception, *, device_failed: bool) -> None:
    """Another card may succeed where a call failed; what is wrong is wrong on all of them."""

    class FailingBench:
        """Fails whatever it is asked."""

        def answer(self, _request: object) -> None:
            """Fail."""
            raise error

    answer: Any = worker_process._answer(FailingBench(), check(1))  # type: ignore[arg-type]
    assert answer.device_failed is device_failed


def test_device_that_cannot_be_opened_again_is_no_refusal(worker: ProcessWorker) -> None:
    """Another program that took the card meanwhile says nothing about the kernels."""
    worker._kill()
    worker._serve = serve_refusal
    with pytest.raises(WorkerStartError, match="could not be opened again: it is in use"):
        worker.check(check(1))


def test_crashed_worker_is_told_and_replaced(worker: ProcessWorker) -> None:
    """A kernel that takes its process down is named by signal and point; the next request gets a new process."""
    with pytest.raises(WorkerLostError, match=r"died with SIGSEGV \(oneshot and multiphase at 64 tokens\)"):
        worker.check(check(CRASHING_TOKENS))
    worker.check(check(1))


def test_endless_kernel_is_ended_and_replaced(worker: ProcessWorker) -> None:
    """A kernel that never ends costs its limit; its process and all that it started are gone."""
    worker._limit_s = 1.0
    with pytest.raises(WorkerLostError, match=r"did not end within 1 s \(oneshot and multiphase at 65 tokens\)"):
        worker.check(check(ENDLESS_TOKENS))
    worker._limit_s = PATIENCE_S
    assert not find_processes("987654")
    worker.check(check(1))


def test_worker_that_cannot_start_is_reported() -> None:
    """A device that aborts its process is an error of its own, not one of a shape."""
    with pytest.raises(WorkerStartError, match=r"the device could not be opened: .* died with SIGABRT"):
        ProcessWorker(SPEC, limit_s=PATIENCE_S, serve=serve_nothing)


def test_connection_that_the_child_closed_is_a_lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe to the child is the child's loss, not that of whoever reads the program's results."""
    monkeypatch.setattr(worker_module, "DYING_SECONDS", 0.1)
    with ProcessWorker(SPEC, limit_s=60.0, serve=serve_facts_alone) as worker:
        worker._connection.poll(60.0)  # the end of the connection, since the facts have been read
        with pytest.raises(WorkerLostError, match=r"answers no more \(oneshot and multiphase at 1 tokens\)"):
            worker.check(check(1))


def test_answer_of_another_kind_is_refused() -> None:
    """An answer to another question is never a limit or a time, also where Python runs without its asserts."""
    with ProcessWorker(SPEC, limit_s=60.0, serve=serve_wrong_kinds) as worker:
        with pytest.raises(WorkerRefusedError, match=r"answered DeviceFacts.*, not dict"):
            worker.limits(Shape(8, 2))
        with pytest.raises(WorkerRefusedError, match=r"answered DeviceFacts.*, not Measured"):
            worker.measure(MeasureRequest(Shape(8, 2), 16, Settings(), KERNELS, StoppingRule()))


def test_closed_worker_leaves_no_process(worker: ProcessWorker) -> None:
    """Whatever ends the sweep, no process holds the device afterwards."""
    pid = worker._process.pid
    assert pid is not None
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_worker_that_hangs_while_it_opens_is_killed() -> None:
    """Ctrl-C ends a sweep whose driver does not answer: no process is left that the program would wait for."""
    unopened = ProcessWorker(SPEC, limit_s=PATIENCE_S, serve=serve_stopped, opened=False)
    with PinnedWorker(unopened):
        pid = await_stopped(unopened)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def await_stopped(worker: ProcessWorker) -> int:
    """Return the process of a worker once it has stopped."""
    while True:
        time.sleep(0.01)
        if worker._group and Path(f"/proc/{worker._group}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return worker._group


def test_worker_that_was_closed_before_it_opened_has_no_process() -> None:
    """Whoever closes it cannot see a child that is just being started."""
    unopened = ProcessWorker(SPEC, limit_s=PATIENCE_S, serve=serve, opened=False)
    unopened.close()
    with pytest.raises(WorkerStartError, match="the worker is closed"):
        unopened.open()
    assert not unopened._process.is_alive()


def test_worker_that_never_started_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the sweep and its shell: without a child there is no group to end, and 0 would be our own."""
    ended: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: ended.append(group))
    worker = ProcessWorker.__new__(ProcessWorker)
    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", _refuse_to_start)
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        worker.__init__(SPEC, limit_s=1.0, serve=serve)  # type: ignore[misc]
    worker.close()
    assert ended == []


def _refuse_to_start(_process: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_closed_worker_ends_its_group_once(worker: ProcessWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects whoever gets the number of a child that was waited for."""
    ended: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: ended.append(group))
    pid = worker._process.pid
    worker.close()
    worker.close()
    assert ended == [pid]
