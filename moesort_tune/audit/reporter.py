"""Write a process's records to the folder that MOESORT_TUNE_AUDIT names, now and then and at its end.

There is one for each function whose calls are counted. A call only counts. A daemon thread does everything that may
wait or fail.
"""

import atexit
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moesort_tune.audit.record import Process, Record, encode, escape, name_file, now
from moesort_tune.audit.tally import SORTING, make_token
from moesort_tune.domain.vocabulary import LOGGER
from moesort_tune.tables.errors import format_path
from moesort_tune.whole_file import replace_file

VARIABLE: Final = "MOESORT_TUNE_AUDIT"
"""Names the folder; without it nothing is written."""

WRITE_SECONDS: Final = 5.0
"""Time between two looks at the counts: what a process that is killed loses."""

EXIT_SECONDS: Final = 2.0
"""Time that a process waits at its exit for the last write."""

MAX_COMMAND: Final = 200
"""Characters of the command line that are kept."""

_LOG = logging.getLogger(LOGGER)

Describe = Callable[[Process, str], Record]
"""Returns the record of a process at a time."""


def describe_process() -> Process:
    """Return this process as records name it, each time with another token."""
    command = escape(" ".join(getattr(sys, "orig_argv", sys.argv)))[:MAX_COMMAND]
    token = make_token()
    return Process(pid=os.getpid(), host=socket.gethostname(), started=now(), token=token, command=command)


class Reporter:
    """The record of this process, and the thread that writes it.

    Until something was counted the thread ends after each write, so that a process that only forks does so without it.
    What is described may change without a touch; the last write sees that too.
    """

    def __init__(self, folder: Path, describe: Describe) -> None:
        self._folder = folder
        self._describe = describe
        self._process = describe_process()
        self._written: Record | None = None
        self._has_warned = False
        self._is_touched = False
        self._is_changed = False
        self._changing = threading.RLock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def renew(self) -> "Reporter":
        """Return one like this for another process. It writes nothing before its first `touch`."""
        return Reporter(self._folder, self._describe)

    def touch(self) -> None:
        """Have the record written soon. Wait for nothing that may hang, and raise nothing."""
        with self._changing:
            self._is_touched = self._is_changed = True
            if self._thread is None:
                self._start()

    def stop(self, seconds: float = EXIT_SECONDS) -> None:
        """Write once more what has changed, touched or not, and end; wait for at most `seconds`."""
        self._stopping.set()
        with self._changing:
            if self._thread is None and self._is_touched:
                self._start()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _start(self) -> None:
        """Start the thread where that is possible: an interpreter that is shutting down has no more threads."""
        thread = threading.Thread(target=self._run, name="moesort-tune audit", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            self._is_changed = False
            self._write()
            with self._changing:
                is_idle = self._written is not None and not self._written.calls and not self._is_changed
                if is_last or (is_idle and not self._stopping.is_set()):
                    self._thread = None
                    return
            self._stopping.wait(WRITE_SECONDS)

    def _write(self) -> None:
        """Write the record if it has changed. Log once where the folder cannot be written to, and try again later."""
        try:
            record = self._describe(self._process, "")
            if record != self._written:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / name_file(self._process)
                replace_file(path, encode(self._describe(self._process, now())))
                self._written = record
        except Exception as error:  # the thread must not die of any
            if not self._has_warned:
                self._has_warned = True
                _LOG.warning(
                    "counts for `moesort-tune audit` cannot be written to %s: %s", format_path(self._folder), error
                )


_reporters: dict[str, Reporter] = {}
"""By the function whose calls they report; a process has few."""


def start(describe: Describe, function: str = SORTING) -> None:
    """Report the calls of a function in this process, where MOESORT_TUNE_AUDIT names a folder.

    A second call replaces the first. Raise nothing: a folder that cannot be used is logged.
    """
    folder = os.environ.get(VARIABLE)
    stop(function)
    if not folder:
        return
    try:
        reporter = _reporters[function] = Reporter(Path(folder).absolute(), describe)
    except OSError as error:  # the current folder was deleted
        _LOG.warning("counts for `moesort-tune audit` cannot be written to %s: %s", escape(folder), error)
        return
    reporter.touch()
    _stop_at_end_of_child(reporter)


def touch(function: str = SORTING) -> None:
    """Have what has changed written soon, where the function is reported."""
    reporter = _reporters.get(function)
    if reporter is not None:
        reporter.touch()


def stop(function: str = SORTING) -> None:
    """Write what has changed, and report the function no more."""
    reporter = _reporters.pop(function, None)
    if reporter is not None:
        reporter.stop()


def stop_all() -> None:
    """Write what has changed, and report no more."""
    for function in list(_reporters):
        stop(function)


def renew(function: str = SORTING) -> None:
    """Report a forked child, which has no thread, in a file of its own as soon as it has something to say."""
    reporter = _reporters.get(function)
    if reporter is not None:
        renewed = _reporters[function] = reporter.renew()
        _stop_at_end_of_child(renewed)


def _stop_at_end_of_child(owner: Reporter) -> None:
    """Write at the end of a child of multiprocessing, which ends without calling the functions of atexit.

    Children forget finalizers when they begin, after they have run what is registered by `register_after_fork`.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, stop_all, exitpriority=0)
        util.register_after_fork(owner, lambda _: util.Finalize(None, stop_all, exitpriority=0))


atexit.register(stop_all)
