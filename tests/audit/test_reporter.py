"""The writing of a process's record: soon, once more at its end, in each forked child, and never in the way."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.audit import reporter
from moesort_tune.audit.record import Process, Record, read

Describe = Callable[[Process, str], Record]


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    """Report nothing after a test."""
    yield
    reporter.stop_all()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that MOESORT_TUNE_AUDIT names; nobody has made it."""
    folder = tmp_path / "audit"
    monkeypatch.setenv(reporter.VARIABLE, str(folder))
    return folder


def describe_as(state: list[str]) -> Describe:
    """Describe a process by the latest state."""
    return lambda process, written: Record(
        process=process, written=written, state=state[-1], table=None, kernels="aiter"
    )


def wait_for(state: str, folder: Path) -> Record:
    """Return this process's record once it has the state."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for file in folder.glob("*.json") if folder.exists() else ():
            record = read(file)
            if record.state == state:
                return record
        time.sleep(0.01)
    raise AssertionError(f"no record has the state {state}")


def wait_for_no_thread() -> None:
    """Wait until no thread writes."""
    deadline = time.monotonic() + 20
    while any("audit" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_record_is_written_when_something_happens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects servers that are killed: what was counted is in the file soon, without an orderly end."""
    monkeypatch.setattr(reporter, "WRITE_SECONDS", 0.02)
    state = ["started"]
    reporter.start(describe_as(state))
    first = wait_for("started", folder)
    assert (first.process.pid, first.process.command.split()[0]) == (os.getpid(), sys.orig_argv[0])
    state.append("has sorted")
    reporter.touch()
    assert wait_for("has sorted", folder).process == first.process


def test_thread_ends_when_nothing_happens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects processes that fork: a thread that lives for ever makes that unsafe."""
    monkeypatch.setattr(reporter, "WRITE_SECONDS", 0.01)
    reporter.start(describe_as(["started"]))
    wait_for("started", folder)
    wait_for_no_thread()


def test_last_change_is_written_at_the_end(folder: Path) -> None:
    """Protects the counts of the last five seconds of a process that ends in order."""
    state = ["started"]
    reporter.start(describe_as(state))
    wait_for("started", folder)
    state.append("ended")
    reporter.touch()
    reporter.stop()
    assert wait_for("ended", folder)


def test_change_that_nobody_told_of_is_written_at_the_end(folder: Path) -> None:
    """Protects the proof from who takes a wrapper off: no touch tells of it, and the idle thread has ended."""
    state = ["started"]
    reporter.start(describe_as(state))
    wait_for("started", folder)
    wait_for_no_thread()
    state.append("replaced")
    reporter.stop()
    assert wait_for("replaced", folder)


def test_change_after_the_look_of_a_thread_that_goes_idle_is_written_at_the_end(folder: Path) -> None:
    """Protects the end of a process that comes between that look and the end of the thread."""
    state = ["started"]
    looked, goes_on = threading.Event(), threading.Event()

    def describe(process: Process, written: str) -> Record:
        record = describe_as(state)(process, written)
        if written and state[-1] == "started":
            looked.set()
            goes_on.wait(20)
        return record

    reporter.start(describe)
    assert looked.wait(20)
    state.append("replaced")
    stopping = threading.Thread(target=reporter.stop)
    stopping.start()
    stopping.join(0.2)
    goes_on.set()
    stopping.join(20)
    assert wait_for("replaced", folder)


def test_each_function_has_a_record_of_its_own(folder: Path) -> None:
    """Protects one function's record from the start, the touch and the end of another's."""
    reporter.start(describe_as(["sorts"]))
    reporter.start(describe_as(["aligns"]), "another")
    reporter.stop("another")
    reporter.stop_all()
    assert {read(file).state for file in folder.iterdir()} == {"sorts", "aligns"}


def test_nothing_is_written_unless_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects everybody else: counting leaves no files."""
    monkeypatch.delenv(reporter.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    reporter.start(describe_as(["started"]))
    reporter.touch()
    reporter.stop()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_to_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects a server from a full disk or a wrong folder: it goes on, and its log has one line."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(reporter.VARIABLE, str(tmp_path / "file" / "audit"))
    state = ["started"]
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        reporter.start(describe_as(state))
        state.append("again")
        reporter.touch()
        reporter.stop()
    (record,) = caplog.records
    assert "cannot be written to" in record.message


PROGRAM = """
import multiprocessing, os, sys, time
from moesort_tune.audit import reporter
from moesort_tune.audit.record import Record
from moesort_tune.integrations import aiter  # renews the reporter in forked children

def describe(process, written):
    return Record(process=process, written=written, state=f"pid {os.getpid()}", table=None, kernels="aiter")

def child():
    reporter.touch()
    print(os.getpid(), flush=True)

def idle():
    pass

if __name__ == "__main__":
    reporter.start(describe)
    process = multiprocessing.get_context("fork").Process(target=idle)
    process.start()
    process.join()
    if sys.argv[1] == "fork":
        if os.fork() == 0:
            child()
            reporter.stop()
            os._exit(0)
        os.wait()
    else:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
    print(os.getpid(), flush=True)
"""


@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_each_forked_process_has_a_record(folder: Path, tmp_path: Path, way: str) -> None:
    """Protects vLLM's workers, which are forked after the plugin has run, and end without atexit.

    A child that does nothing is no process to judge, and leaves no file.
    """
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, program, way], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    pids = {int(word) for word in done.stdout.split()}
    records = [json.loads(file.read_bytes()) for file in folder.glob("*.json")]
    assert {record["process"]["pid"] for record in records} == pids
    assert {record["state"] for record in records} == {f"pid {pid}" for pid in pids}
