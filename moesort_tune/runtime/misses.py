"""The file of shapes without a row, which `moesort-tune sweep --from-misses` measures.

A decision only queues a shape. One daemon thread of the process does everything that may wait or fail.
"""

import _thread
import atexit
import contextlib
import errno
import fcntl
import logging
import math
import os
import queue
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from moesort_tune.domain.vocabulary import LOGGER, MAX_EXPERTS, MAX_TOKENS, MAX_TOPK
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular_to_append
from moesort_tune.tables.errors import format_path

COLUMNS: Final = ("num_experts", "topk", "arch", "compute_units", "kernels", "tokens")
"""Columns of the file. A line is the first request of a shape on a device; tokens: those of that request."""

MAX_SHAPES: Final = 10_000
"""Most shapes that a dispatcher notes, and most that a process queues for writing."""

MAX_BYTES: Final = 1 << 22
"""Largest file that is appended to; MAX_SHAPES take half a megabyte."""

LOCK_SECONDS: Final = 2.0
"""Timeout of the file lock. Another process holds it for milliseconds; a failed write is tried again later."""

RETRY_SECONDS: Final = 10.0
"""Time between a failed write and the next one."""

COLLECT_SECONDS: Final = 0.05
"""Delay that batches a burst of misses, since each append reads the file first."""

EXIT_SECONDS: Final = 2.0
"""Time that a process waits at its exit for queued misses."""

_HEADER: Final = ",".join(COLUMNS).encode()
_LOG = logging.getLogger(LOGGER)


class Misses:
    """The shapes without a row of one dispatcher, each noted once."""

    def __init__(self, path: Path, *, arch: str | None, compute_units: int | None, kernels: str) -> None:
        self._path = path
        self._device = f"{re.sub(r'[^a-z0-9_]', '?', (arch or '')[:64])},{compute_units or ''},{kernels}"
        self._seen: dict[tuple[int, int], object] = {}

    def note(self, *, num_experts: int, topk: int, tokens: int) -> None:
        """Queue a shape that had no row. Take no lock, do no I/O and never wait.

        Ignore a shape that no table may have a row for: a sweep could not measure it.
        """
        shape, mine = (num_experts, topk), object()
        if shape in self._seen or num_experts > MAX_EXPERTS or topk > min(num_experts, MAX_TOPK):
            return
        if len(self._seen) >= MAX_SHAPES:
            _writer.drop()
        elif self._seen.setdefault(shape, mine) is mine:
            beginning = f"{num_experts},{topk},{self._device},".encode()
            _writer.put(_Miss(self._path, beginning, min(tokens, MAX_TOKENS)))

    def wait(self, seconds: float = 5.0) -> None:
        """Wait until queued misses are written or have failed, for at most `seconds`."""
        _writer.flush(seconds)


class _Miss(NamedTuple):
    """A line of a file; all fields but `tokens` identify it."""

    path: Path
    beginning: bytes
    tokens: int


class _Writer:
    """The queue of misses in this process, and the thread that writes them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Miss | threading.Event] = queue.SimpleQueue()
        self._pending: list[_Miss] = []
        self._failed = -math.inf
        self._running = threading.Lock()  # held from the thread's start on
        self._dropped = 0
        self._next_warning = 1
        self._warned: set[str] = set()

    def put(self, miss: _Miss) -> None:
        """Queue a miss for the thread, or drop it if the queue is full."""
        if self._queue.qsize() + len(self._pending) >= MAX_SHAPES:
            self.drop()
        else:
            self._queue.put(miss)
            self._start()

    def drop(self) -> None:
        """Count a miss that is not written."""
        self._dropped += 1

    def flush(self, seconds: float) -> None:
        """Wait until the thread has written, or tried to write, all queued misses, for at most `seconds`."""
        if self._queue.empty() and not self._running.locked():
            return
        done = threading.Event()
        self._queue.put(done)
        self._start()
        done.wait(seconds)

    def _start(self) -> None:
        """Start the thread if it does not run, without waiting for it as threading.Thread does."""
        if self._running.acquire(blocking=False):
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:  # no more threads, or the interpreter is shutting down: the next miss tries again
                self._running.release()

    def _run(self) -> None:
        while True:
            waiting = self._take()
            if waiting or time.monotonic() >= self._failed + RETRY_SECONDS:
                self._write()
            for event in waiting:
                event.set()

    def _take(self) -> list[threading.Event]:
        """Wait for queue items, make the misses pending, and return the events of waiting callers."""
        waiting: list[threading.Event] = []
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(timeout=RETRY_SECONDS if self._pending else None)
            time.sleep(COLLECT_SECONDS)
            while True:
                if isinstance(item, threading.Event):
                    waiting.append(item)
                else:
                    self._pending.append(item)
                item = self._queue.get_nowait()
        return waiting

    def _write(self) -> None:
        """Write the pending misses; those that cannot be written stay pending."""
        for path in dict.fromkeys(miss.path for miss in self._pending):
            try:
                _append(path, [miss for miss in self._pending if miss.path == path])
            except Exception as error:  # the thread must not die of any
                self._failed = time.monotonic()
                reason = getattr(error, "strerror", None) or error
                self._warn_once(f"missed shapes cannot be written to {format_path(path)}: {reason}")
            else:
                self._pending = [miss for miss in self._pending if miss.path != path]
        if self._dropped >= self._next_warning:  # at the first one, then at every tenfold
            self._next_warning = 10 * self._dropped
            self._warn_once(f"{self._dropped} missed shapes are not noted, since {MAX_SHAPES} are already")

    def _warn_once(self, sentence: str) -> None:
        """Log a warning once."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            _LOG.warning("%s", sentence)


def _append(path: Path, misses: Sequence[_Miss]) -> None:
    """Add a line for each miss that the file does not have yet; safe with several processes.

    Raise OSError where it cannot be written, and MoesortTuneError where it is another kind of file.
    """
    with open_regular_to_append(path) as file:
        _lock(file.fileno())
        file.seek(0)
        there = file.read(MAX_BYTES + 1)
        _check_content(there)
        known = {line[: line.rfind(b",") + 1] for line in there.splitlines()}
        lines = {miss.beginning: miss.tokens for miss in reversed(misses) if miss.beginning not in known}
        if lines:
            text = b"".join(b"%s%d\n" % line for line in reversed(lines.items()))
            _add(file.fileno(), _choose_prefix(there) + text)


def _choose_prefix(there: bytes) -> bytes:
    """Return the bytes before new lines: the header in a new file, a newline after an unfinished last line."""
    if not there:
        return _HEADER + b"\n"
    return b"" if there.endswith(b"\n") else b"\n"


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed. Raise TimeoutError where another process holds the lock."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock") from None
        time.sleep(0.01)


def _check_content(there: bytes) -> None:
    """Raise MoesortTuneError for a file that is neither empty nor one of misses."""
    if there and there.partition(b"\n")[0].rstrip(b"\r") != _HEADER:
        raise MoesortTuneError(f"its first line is not {_HEADER.decode()}; name a new file")
    if len(there) > MAX_BYTES:
        raise MoesortTuneError(f"it is larger than {MAX_BYTES} bytes; name a new file")


def _add(descriptor: int, text: bytes) -> None:
    """Append all of `text` or nothing of it. Raise OSError."""
    size = os.fstat(descriptor).st_size
    if os.write(descriptor, text) < len(text):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _renew_writer() -> None:
    """Create a new writer in a forked child, which has no thread; the parent writes the earlier misses."""
    global _writer  # noqa: PLW0603 - a process has one
    _writer = _Writer()


_writer = _Writer()
os.register_at_fork(after_in_child=_renew_writer)
atexit.register(lambda: _writer.flush(EXIT_SECONDS))
