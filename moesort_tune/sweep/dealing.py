"""Deal shapes to workers: each takes the next one as soon as it is free."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.worker.messages import Worker

Shared = TypeVar("Shared")

Task = Callable[[Shape, Worker, int], None]
"""Works on a shape with a worker; the number counts the shapes that are left, this one included."""


class _AbandonedError(BaseException):
    """The sweep ended in another thread, so this one ends too. No Exception: nothing should handle it."""


class Dealer:
    """Run tasks with a thread for each worker. hands: the number of workers."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.hands = len(workers)
        self._lock = threading.RLock()
        self._abandoned = False
        self._workers = [worker if self.hands == 1 else cast(Worker, _Checked(worker, self)) for worker in workers]

    def guard(self, target: Shared) -> Shared:
        """Return `target` with methods that one thread at a time runs, and none once a task has failed."""
        return cast(Shared, _Locked(target, self))

    def deal(self, shapes: Iterable[Shape], task: Task) -> None:
        """Run `task` on every shape. The first error ends the other threads at their next call, and is raised.

        A single worker is served by the calling thread, in the order of the shapes.
        """
        left = deque(shapes)
        if self.hands == 1:
            self._play(self._workers[0], left, task)
            return
        ends: SimpleQueue[BaseException | None] = SimpleQueue()
        for worker in self._workers:
            # Daemons: a kernel that never ends must not keep the program from ending.
            threading.Thread(target=self._play_apart, args=(worker, left, task, ends), daemon=True).start()
        try:
            for _ in self._workers:
                if (error := ends.get()) is not None:
                    raise error
        except BaseException:
            with self._lock:  # no file is being written now, and none will be
                self._abandoned = True
            raise

    def check(self) -> None:
        """Raise in a thread whose sweep has ended elsewhere."""
        if self._abandoned:
            raise _AbandonedError

    def run_locked(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method that only one thread at a time may run."""
        with self._lock:
            self.check()
            return method(*arguments, **options)

    def _play_apart(
        self, worker: Worker, left: deque[Shape], task: Task, ends: "SimpleQueue[BaseException | None]"
    ) -> None:
        try:
            self._play(worker, left, task)
        except BaseException as error:
            ends.put(error)
        else:
            ends.put(None)

    def _play(self, worker: Worker, left: deque[Shape], task: Task) -> None:
        while (taken := self._take(left)) is not None:
            task(taken[0], worker, taken[1])

    def _take(self, left: deque[Shape]) -> tuple[Shape, int] | None:
        with self._lock:
            self.check()
            return (left.popleft(), len(left) + 1) if left else None


class _Checked:
    """A worker whose calls end a thread that was abandoned."""

    def __init__(self, target: object, dealer: Dealer) -> None:
        self._target = target
        self._dealer = dealer

    def __getattr__(self, name: str) -> Any:
        self._dealer.check()
        return getattr(self._target, name)


class _Locked(_Checked):
    """An object whose methods are called by one thread at a time."""

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)
        return lambda *arguments, **options: self._dealer.run_locked(method, *arguments, **options)
