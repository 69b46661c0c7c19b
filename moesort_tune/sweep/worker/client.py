"""The child process that holds the device, seen from the sweep.

A kernel that never ends or takes its process down costs that process and the shape at hand, not the sweep. The parent
never loads hip-python.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType

from moesort_tune.device.child import describe_exit
from moesort_tune.sweep.worker import process as worker_process
from moesort_tune.sweep.worker.errors import DeviceFailedError, WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import Answer, DeviceFacts, Refusal, Request, WorkerSpec
from moesort_tune.sweep.worker.requesting import RequestingWorker, require

START_SECONDS = 600.0
"""Opening a device may compile a runtime and kernels first."""

DYING_SECONDS = 10.0
"""A child that has closed its connection and lives longer than this is not about to end."""

Serve = Callable[["Connection[Answer | DeviceFacts, Request]", WorkerSpec], None]
"""Sends the device's facts, or a Refusal, then an answer to each request."""


class ProcessWorker(RequestingWorker):
    """A worker in a child process. A lost child is replaced by the next request.

    limit_s: how long one request may take. serve: what the child runs. opened: open the device now; else open() does.
    """

    def __init__(
        self, spec: WorkerSpec, *, limit_s: float, serve: Serve = worker_process.serve, opened: bool = True
    ) -> None:
        self._spec = spec
        self._limit_s = limit_s
        self._serve = serve
        self._group: int | None = None
        self._closed = False
        if opened:
            self.open()

    @property
    def facts(self) -> DeviceFacts:
        """Facts of the opened device and kernels."""
        return self._facts

    def close(self) -> None:
        """Kill the child, and what it started, at once: nothing in it is worth waiting for. No other one follows."""
        self._closed = True
        self._kill()

    def _kill(self) -> None:
        # Once: the number of a child that was waited for may be another process's by now.
        group, self._group = self._group, None
        if group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            self._process.kill()
            self._process.join()
            self._connection.close()

    def open(self) -> None:
        """Start a child and wait for its device. Another thread may close the worker meanwhile.

        Raise WorkerRefusedError, WorkerStartError.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs, self._spec), daemon=True)
        with hold_back_interrupts():
            self._process.start()
        self._group = self._process.pid
        theirs.close()
        try:
            if self._closed:  # before there was a child to kill
                raise WorkerLostError("the worker is closed")
            self._facts = require(DeviceFacts, self._receive_answer(START_SECONDS))
        except WorkerLostError as error:
            self._kill()
            raise WorkerStartError(f"the device could not be opened: {error}") from error
        except BaseException:
            self._kill()
            raise

    def request(self, request: Request) -> Answer | DeviceFacts:
        """Return the answer of the child, of a new one where the last is lost. Raise WorkerStartError as well."""
        if self._closed:
            raise WorkerLostError(f"the worker is closed ({request})")
        if not self._process.is_alive():
            self._restart()
        try:
            with _report_losses(self._process):
                self._connection.send(request)
            return self._receive_answer(self._limit_s)
        except WorkerLostError as error:
            self._kill()
            raise type(error)(f"{error} ({request})") from error

    def _restart(self) -> None:
        """Open the device again, for which whatever refuses that now is in the way."""
        try:
            self.open()
        except WorkerRefusedError as error:
            raise WorkerStartError(f"the device could not be opened again: {error}") from error

    def _receive_answer(self, limit_s: float) -> Answer | DeviceFacts:
        answer = _receive(self._connection, self._process, limit_s)
        if isinstance(answer, Refusal):
            kind = DeviceFailedError if answer.device_failed else WorkerRefusedError
            raise kind(answer.sentence) from RuntimeError(answer.details)
        return answer

    def __enter__(self) -> "ProcessWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _receive(
    connection: "Connection[Request, Answer | DeviceFacts]",
    process: multiprocessing.process.BaseProcess,
    limit_s: float,
) -> Answer | DeviceFacts:
    with _report_losses(process):
        if connection.poll(limit_s):
            return connection.recv()
    raise WorkerLostError(f"the kernels did not end within {limit_s:g} s")


@contextlib.contextmanager
def _report_losses(process: multiprocessing.process.BaseProcess) -> Iterator[None]:
    """Raise WorkerLostError where the child has closed its end of the connection, most likely by its death."""
    try:
        yield
    except (EOFError, ConnectionError):
        process.join(DYING_SECONDS)
        raise WorkerLostError(f"the process that runs the kernels {_describe_death(process.exitcode)}") from None


def _describe_death(exitcode: int | None) -> str:
    return "answers no more" if exitcode is None else describe_exit(exitcode)


@contextlib.contextmanager
def hold_back_interrupts() -> Iterator[None]:
    """Block ctrl-C for processes started inside, which inherit this: their parent decides when they end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
