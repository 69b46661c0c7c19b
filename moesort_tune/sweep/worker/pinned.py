"""A worker that is served by one thread of its own, for as long as it lives."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.messages import CheckRequest, DeviceFacts, Measured, MeasureRequest, NoLaunchGaps
from moesort_tune.tables.schema import LaunchGaps

Result = TypeVar("Result")

_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class PinnedWorker:
    """Open a worker that was not opened yet, and make its calls, in a thread that ends with the program.

    The kernel ends a worker's process with the thread that started it (PR_SET_PDEATHSIG), so that must not be a thread
    that comes and goes. Several of these open their devices at the same time; the first use waits for that.
    """

    def __init__(self, unopened: ProcessWorker) -> None:
        self._worker = unopened
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="worker", daemon=True).start()
        self._opened = self._enqueue(unopened.open)

    @property
    def worker(self) -> ProcessWorker:
        """The opened worker. Raise what opening it raised."""
        self._opened.result()
        return self._worker

    @property
    def facts(self) -> DeviceFacts:
        """Facts of the opened device and kernels."""
        return self.worker.facts

    def limits(self, shape: Shape) -> Limits:
        """Return the largest token count of each kernel."""
        return self._enqueue(self.worker.limits, shape).result()

    def check(self, request: CheckRequest) -> None:
        """Raise WorkerRefusedError for a wrong kernel, WorkerLostError where a kernel crashes or never ends."""
        self._enqueue(self.worker.check, request).result()

    def measure(self, request: MeasureRequest) -> Measured:
        """Check and time kernels. Raise WorkerRefusedError, WorkerLostError."""
        return self._enqueue(self.worker.measure, request).result()

    def measure_launch_gaps(self) -> LaunchGaps | NoLaunchGaps:
        """Return what each further launch costs, or why it is not known. Raise WorkerRefusedError, WorkerLostError."""
        return self._enqueue(self.worker.measure_launch_gaps).result()

    def close(self) -> None:
        """Kill the worker's process, also while it opens its device or is in the middle of a call; end the thread."""
        self._worker.close()
        self._calls.put(None)

    def _enqueue(self, function: Callable[..., Result], *arguments: object) -> "Future[Result]":
        future: Future[Result] = Future()
        self._calls.put((future, function, arguments))
        return future

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, arguments = call
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

    def __enter__(self) -> "PinnedWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
