"""The file of shapes that a table did not have, which `moesort-tune sweep --from-misses` measures."""

import fcntl
import logging
import threading
from pathlib import Path
from typing import Final

COLUMNS: Final = ("num_experts", "topk", "arch", "compute_units", "kernels", "tokens")
"""Of the file. A line stands for the first time that a shape was asked for on a device; tokens is how many then."""

MAX_SHAPES: Final = 10_000
"""Shapes that one process writes at most."""

_LOG = logging.getLogger("moesort_tune")
_WAIT_SECONDS = 5.0


class Misses:
    """Appends each shape once to a file, from threads of its own: the caller neither waits nor fails."""

    def __init__(self, path: Path, *, arch: str | None, compute_units: int | None, kernels: str) -> None:
        self._path = path
        self._device = f"{arch or ''},{compute_units or ''},{kernels}"
        self._seen: dict[tuple[int, int], object] = {}
        self._threads: list[threading.Thread] = []

    def note(self, *, num_experts: int, topk: int, tokens: int) -> None:
        """Remembers that this shape was asked for and had no row."""
        mine = object()
        if len(self._seen) >= MAX_SHAPES or self._seen.setdefault((num_experts, topk), mine) is not mine:
            return
        shape = f"{num_experts},{topk},{self._device},"
        thread = threading.Thread(target=self._write, args=(shape, tokens), name="moesort-tune misses")
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            _LOG.warning("missed shape %s is not written to %s: %s", shape, self._path, error)
        else:
            self._threads.append(thread)

    def wait(self) -> None:
        """Returns when what was noted is in the file, or after some seconds."""
        while self._threads:
            self._threads.pop().join(_WAIT_SECONDS)

    def _write(self, shape: str, tokens: int) -> None:
        try:
            _append_once(self._path, shape, tokens)
        except OSError as error:
            _LOG.warning("missed shapes cannot be written to %s: %s", self._path, error.strerror)


def _append_once(path: Path, shape: str, tokens: int) -> None:
    """Adds a line unless one that begins with `shape` is there; safe with several processes."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        there = file.read()
        if f"\n{shape}".encode() in there:
            return
        header = "" if there else ",".join(COLUMNS) + "\n"
        file.write(f"{header}{shape}{tokens}\n".encode())
