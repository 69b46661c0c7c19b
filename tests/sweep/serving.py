"""What the child process of a worker runs in tests: no device, and kernels that misbehave by token count."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from moesort_tune.sorting.align_kernels import PreparedAlign
from moesort_tune.sorting.arguments import AlignArguments
from moesort_tune.sweep.worker import process as worker_process
from moesort_tune.sweep.worker.messages import (
    Answer,
    DeviceFacts,
    GapRequest,
    LimitRequest,
    MeasureRequest,
    Refusal,
    Request,
    WorkerSpec,
)
from moesort_tune.sweep.worker.process import _tie_to_parent
from tests.sweep.fakes import FACTS, FakeWorker, time_two_kernels

CRASHING_TOKENS = 64
ENDLESS_TOKENS = 65
REFUSED_TOKENS = 66
FAILING_TOKENS = 67

ANSWERED_POINTS = 2
"""Points that `serve_two_points` measures."""


def serve(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Answer from formulas; some token counts crash, never end, are refused or fail, for 8 experts only."""
    del spec
    _tie_to_parent()
    connection.send(FACTS)
    worker = time_two_kernels(lambda _, tokens: 2 + 0.1 * tokens, lambda _, __: 6.0)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(_answer(worker, request))


def _answer(worker: FakeWorker, request: Request) -> Answer:
    if isinstance(request, LimitRequest):
        return worker.limits(request.shape)
    if isinstance(request, GapRequest):
        return worker.measure_launch_gaps()
    if request.shape.num_experts == 8:
        _misbehave(request.tokens)
        if request.tokens == REFUSED_TOKENS:
            return Refusal("oneshot is wrong for 8 experts", "traceback")
        if request.tokens == FAILING_TOKENS:
            return Refusal("hipMalloc failed with hipErrorOutOfMemory (2)", "traceback", device_failed=True)
    return worker.measure(request) if isinstance(request, MeasureRequest) else None


def _misbehave(tokens: int) -> None:
    if tokens == CRASHING_TOKENS:
        os.kill(os.getpid(), signal.SIGSEGV)
    if tokens == ENDLESS_TOKENS:
        subprocess.Popen(["sleep", "987654"])
        time.sleep(1000)


def serve_two_points(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Run the real kernels, but never answer a third point: a sweep that has more of them cannot end by itself."""
    connection.recv = _limit_requests(ANSWERED_POINTS, connection.recv)  # type: ignore[method-assign]
    worker_process.serve(connection, spec)


def _limit_requests(points: int, receive: Callable[[], Request]) -> Callable[[], Request]:
    """Return a `receive` that returns no request after so many to measure."""
    measured = 0

    def receive_or_wait() -> Request:
        nonlocal measured
        request = receive()
        measured += isinstance(request, MeasureRequest)
        while measured > points:
            signal.pause()
        return request

    return receive_or_wait


def serve_wrong_align(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Run the real kernels, but let those of the align form name expert 7 in every block behind the last row."""
    make_arguments = PreparedAlign._make_arguments

    def make_wrong_arguments(self: PreparedAlign) -> AlignArguments:
        arguments = make_arguments(self)
        arguments.tail_expert = 7
        return arguments

    PreparedAlign._make_arguments = make_wrong_arguments  # type: ignore[method-assign]
    worker_process.serve(connection, spec)


def serve_nothing(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Dies before it has opened anything."""
    del connection, spec
    os.kill(os.getpid(), signal.SIGABRT)


def serve_refusal(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Refuse to open the device."""
    del spec
    connection.send(Refusal("it is in use", "traceback"))


def serve_stopped(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Stop, as a driver that hangs does, before the device is open; a polite signal waits until it goes on."""
    del connection, spec
    _tie_to_parent()
    os.kill(os.getpid(), signal.SIGSTOP)


def serve_facts_alone(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Open the device and close this end of the connection, but live on for as long as the parent."""
    del spec
    _tie_to_parent()
    connection.send(FACTS)
    connection.close()
    signal.pause()


def serve_wrong_kinds(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Answer each request with an answer of no request."""
    del spec
    _tie_to_parent()
    connection.send(FACTS)
    while True:
        connection.recv()
        connection.send(FACTS)
