"""Deal work to workers: each takes the next job as soon as it is free. One thread for each worker."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar, cast

from moesort_tune.sweep.cards import get_card
from moesort_tune.sweep.worker.messages import Worker

Shared = TypeVar("Shared")

Job = Callable[[], None]


class Hand:
    """A worker in a deal.

    card: see cards; name: of the card, for a person; address: what no other worker may use meanwhile, '' for nothing.
    probing: it has begun to be compared with others; failed_starts: times in a row that no worker could be started.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.card = get_card(worker.facts)
        self.name = self.card or worker.facts.name
        self.address = self.card if worker.facts.pci_address else ""
        self.probing = False
        self.failed_starts = 0


class Board(Protocol):
    """Work for some hands. The dealer calls it from one thread at a time."""

    def take(self, hand: Hand) -> Job | None:
        """Return the next job for a hand, None where there is none now."""

    def is_open_for(self, hand: Hand) -> bool:
        """Return whether a hand without a job has to wait for one."""


class _AbandonedError(BaseException):
    """The sweep ended in another thread, so this one ends too. No Exception: nothing should handle it."""


class Dealer:
    """Run the jobs of boards, with a thread for each hand.

    A job runs without the lock; boards, sinks and listeners are called under it. Hands of one address, the partitions
    of a card, never have jobs at the same time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._abandoned = False
        self._in_use: set[str] = set()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the threads of other hands from boards, sinks and listeners meanwhile, and wake those that wait."""
        with self._changed:
            yield
            self._changed.notify_all()

    def guard(self, target: Shared) -> Shared:
        """Return `target` with methods that one thread at a time runs, and none once a job has failed."""
        return cast(Shared, _Locked(target, self))

    def watch(self, worker: Worker) -> Worker:
        """Return `worker`, whose calls end a thread that was abandoned."""
        return cast(Worker, _Checked(worker, self))

    def deal(self, tables: Sequence[tuple[Board, Sequence[Hand]]]) -> None:
        """Run all jobs of the boards. The first error ends the other threads at their next call, and is raised.

        A single hand is served by the calling thread.
        """
        seats = [(board, hand) for board, hands in tables for hand in hands]
        if len(seats) == 1:
            self._play(*seats[0])
            return
        ends: SimpleQueue[BaseException | None] = SimpleQueue()
        for board, hand in seats:
            # Daemons: a kernel that never ends must not keep the program from ending.
            threading.Thread(target=self._play_apart, args=(board, hand, ends), daemon=True).start()
        try:
            for _ in seats:
                if (error := ends.get()) is not None:
                    raise error
        except BaseException:
            with self._changed:  # no file is being written now, and none will be
                self._abandoned = True
                self._changed.notify_all()
            raise

    def check(self) -> None:
        """Raise in a thread whose sweep has ended elsewhere."""
        if self._abandoned:
            raise _AbandonedError

    def run_locked(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method that only one thread at a time may run."""
        with self._changed:
            self.check()
            return method(*arguments, **options)

    def _play_apart(self, board: Board, hand: Hand, ends: "SimpleQueue[BaseException | None]") -> None:
        try:
            self._play(board, hand)
        except BaseException as error:
            ends.put(error)
        else:
            ends.put(None)

    def _play(self, board: Board, hand: Hand) -> None:
        while (job := self._take(board, hand)) is not None:
            try:
                job()
            finally:
                self._give_back(hand)

    def _take(self, board: Board, hand: Hand) -> Job | None:
        """Return the next job of a hand, None once there will be none."""
        with self._changed:
            while True:
                self.check()
                if hand.address not in self._in_use and (job := board.take(hand)) is not None:
                    self._in_use |= {hand.address} - {""}
                    return job
                if not board.is_open_for(hand):
                    return None
                self._changed.wait()

    def _give_back(self, hand: Hand) -> None:
        with self._changed:
            self._in_use.discard(hand.address)
            self._changed.notify_all()


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
