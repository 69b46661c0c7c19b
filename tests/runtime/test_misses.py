"""Noting a missed shape costs a serving process nothing: no waiting, no file, no end that does not come."""

import contextlib
import errno
import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.runtime import misses
from moesort_tune.runtime.misses import COLUMNS, Misses
from moesort_tune.sweep.grid import read_misses
from tests.tables.examples import EXAMPLE

HEADER = ",".join(COLUMNS) + "\n"
SHAPES = [Shape(num_experts, topk) for num_experts in range(256, 1025) for topk in range(1, 14)]
"""9,997 of them."""


@pytest.fixture(autouse=True)
def _own_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a writer of its own, which has warned of nothing yet and does not wait long for a lock."""
    monkeypatch.setattr(misses, "_writer", misses._Writer())
    monkeypatch.setattr(misses, "LOCK_SECONDS", 0.2)


def make_misses(path: Path, **changes: object) -> Misses:
    """Return the misses of a dispatcher of an MI300X."""
    values: dict[str, object] = {"arch": "gfx942", "compute_units": 304, "kernels": "builtin"}
    return Misses(path, **(values | changes))  # type: ignore[arg-type]


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the file's lock, as another process does."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def count_threads() -> int:
    """Return the number of this process's threads."""
    return len(list(Path("/proc/self/task").iterdir()))


def run(program: str, *arguments: object, input: str = "") -> subprocess.CompletedProcess[str]:  # noqa: A002 - its name
    """Run a process of its own that notes misses."""
    start = "import sys, os\nfrom pathlib import Path\nfrom moesort_tune.runtime.misses import Misses\n"
    start += "noted = Misses(Path(sys.argv[1]), arch='gfx942', compute_units=304, kernels='builtin')\n"
    command = [sys.executable, "-c", start + program, *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, text=True, check=False, timeout=60)


def test_ten_thousand_shapes_take_one_thread_and_are_all_written(tmp_path: Path) -> None:
    """A server whose table has none of its shapes, asked by many sizes at once."""
    before = count_threads()
    noted = make_misses(tmp_path / "misses.csv")
    most = 0
    for shape in SHAPES:
        noted.note(num_experts=shape.num_experts, topk=shape.topk, tokens=7)
        most = max(most, count_threads() - before)
    noted.wait(60)
    assert most <= 1
    assert read_misses(tmp_path / "misses.csv") == SHAPES


def test_note_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it hands on is written by the thread, which does not run here."""
    monkeypatch.setattr(misses._Writer, "_start", lambda _: None)
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(fcntl, "flock", None)
    make_misses(tmp_path / "misses.csv").note(num_experts=8, topk=2, tokens=1)
    assert misses._writer._queue.qsize() == 1


def test_process_ends_although_another_holds_the_lock(tmp_path: Path) -> None:
    """The decision is served, the process ends by itself, the log says why the shapes are lost, the file is whole."""
    path = tmp_path / "misses.csv"
    path.write_text(HEADER)
    with hold_lock(path):
        done = run("noted.note(num_experts=8, topk=2, tokens=1); print('served')", path)
    assert (done.returncode, done.stdout) == (0, "served\n")
    assert path.read_text() == HEADER


def test_shapes_are_written_once_the_lock_is_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be written waits, and is not forgotten; the reason is logged once."""
    path = tmp_path / "misses.csv"
    noted = make_misses(path)
    with hold_lock(path):
        for num_experts in (8, 16):
            noted.note(num_experts=num_experts, topk=2, tokens=1)
            noted.wait()
    assert caplog.messages == [f"missed shapes cannot be written to {path}: another process holds its lock"]
    noted.wait()
    assert read_misses(path) == [Shape(8, 2), Shape(16, 2)]


def test_file_that_is_refused_is_not_tried_again_for_every_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand shapes would each look at the thousand that wait, in a process that has other things to do."""
    tries = []

    def refuse(*arguments: object) -> None:
        tries.append(arguments)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(misses, "_append", refuse)
    monkeypatch.setattr(misses, "RETRY_SECONDS", 1e6)
    noted = make_misses(tmp_path / "misses.csv")
    for shape in SHAPES[:1000]:
        noted.note(num_experts=shape.num_experts, topk=shape.topk, tokens=7)
    noted.wait()
    assert 1 <= len(tries) <= 2
    assert len(misses._writer._pending) == 1000


def test_what_was_noted_is_written_when_the_process_ends(tmp_path: Path) -> None:
    """Nobody has to wait for it."""
    program = "for experts in range(8, 108): noted.note(num_experts=experts, topk=2, tokens=1)"
    done = run(program, tmp_path / "misses.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_misses(tmp_path / "misses.csv")) == 100


def test_forked_child_writes_what_it_misses_itself(tmp_path: Path) -> None:
    """A thread does not survive a fork; servers fork their workers after loading."""
    program = """
noted.note(num_experts=8, topk=2, tokens=1)
noted.wait()
child = os.fork()
noted.note(num_experts=16 if child else 32, topk=2, tokens=1)
noted.wait()
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""
    done = run(program, tmp_path / "misses.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(read_misses(tmp_path / "misses.csv")) == [Shape(8, 2), Shape(16, 2), Shape(32, 2)]


def make_fifo(path: Path) -> Path:
    """Return a FIFO without a reader."""
    os.mkfifo(path)
    return path


def make_folder(path: Path) -> Path:
    """Return a folder."""
    path.mkdir()
    return path


def write_text(text: str) -> Callable[[Path], Path]:
    """Return a file of this text."""

    def make(path: Path) -> Path:
        path.write_text(text)
        return path

    return make


def write_large_file(path: Path) -> Path:
    """Return a file of misses that is too large to read whole."""
    with path.open("w") as file:
        file.write(HEADER)
        file.truncate(1 << 40)
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a table": (write_text(EXAMPLE), "its first line is not num_experts,topk,"),
    "another CSV": (write_text("num_experts,topk\n8,2\n"), "its first line is not num_experts,topk,"),
    "a first line alone": (write_text("x"), "its first line is not num_experts,topk,"),
    "an endless file": (write_large_file, "it is larger than"),
    "a full device": (lambda _: Path("/dev/full"), "not a regular file"),
    "an endless device": (lambda _: Path("/dev/zero"), "not a regular file"),
    "a FIFO": (make_fifo, "not a regular file"),
    "a folder": (make_folder, "Is a directory"),
    "a missing folder": (lambda path: path / "misses.csv", "No such file or directory"),
    "below a file": (lambda path: write_text("")(path) / "misses.csv", "Not a directory"),
    "a long name": (lambda path: path.parent / ("n" * 300), "File name too long"),
    "a name with NUL": (lambda path: path.parent / "a\0b", "embedded null byte"),
    "a name that is no text": (lambda path: path.parent / "\ud800", "no file can have this name"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_file_of_misses_is_refused_once_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Pointing the variable at a table must not ruin the table, and pointing it at a device must not hang."""
    make, why = REFUSED[kind]
    path = make(tmp_path / "named")
    size = (tmp_path / "named").stat().st_size if (tmp_path / "named").is_file() else None
    noted = make_misses(path)
    for num_experts in (8, 16, 32):
        noted.note(num_experts=num_experts, topk=2, tokens=1)
        noted.wait()
    assert len(caplog.messages) == 1
    assert why in caplog.messages[0]
    assert caplog.messages[0].isprintable()
    assert size is None or (tmp_path / "named").stat().st_size == size


@pytest.mark.parametrize("text", ["", HEADER, HEADER.rstrip(), HEADER.replace("\n", "\r\n")])
def test_empty_file_and_one_with_the_header_are_added_to(tmp_path: Path, text: str) -> None:
    """A line that another program left unfinished, or ended in its own way, is ended first."""
    (tmp_path / "misses.csv").write_text(text, newline="")
    noted = make_misses(tmp_path / "misses.csv")
    noted.note(num_experts=8, topk=2, tokens=1)
    noted.wait()
    assert read_misses(tmp_path / "misses.csv") == [Shape(8, 2)]


def test_each_shape_of_a_device_is_written_once(tmp_path: Path) -> None:
    """By several dispatchers, whether they write at once or one after the other; other devices have their own lines."""
    path = tmp_path / "misses.csv"
    for _ in range(2):
        for noted in (
            make_misses(path),
            make_misses(path),
            make_misses(path, compute_units=None),
            make_misses(path, arch="a,b\n\x1b[31m"),
        ):
            noted.note(num_experts=8, topk=2, tokens=1)
        make_misses(path).wait()
    assert path.read_text() == HEADER + "8,2,gfx942,304,builtin,1\n8,2,gfx942,,builtin,1\n8,2,a?b???31m,304,builtin,1\n"


def test_shape_that_no_sweep_can_measure_is_not_noted(tmp_path: Path) -> None:
    """One such line would have `sweep --from-misses` refuse the whole file."""
    noted = make_misses(tmp_path / "misses.csv")
    for num_experts, topk in ((1025, 2), (10**5000, 2), (8, 9), (1024, 256), (8, 2)):
        noted.note(num_experts=num_experts, topk=topk, tokens=10**5000)
    noted.wait()
    assert read_misses(tmp_path / "misses.csv") == [Shape(8, 2)]


def test_shapes_beyond_the_bound_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what was seen nor what waits grows for ever, while the file is locked or afterwards."""
    monkeypatch.setattr(misses, "MAX_SHAPES", 4)
    path = tmp_path / "misses.csv"
    with hold_lock(path):
        for noted in (make_misses(path), make_misses(path, arch="gfx950")):
            for num_experts in range(8, 14):
                noted.note(num_experts=num_experts, topk=2, tokens=1)
                noted.wait()
    noted.wait()
    assert len(path.read_text().splitlines()) == 1 + 4
    assert len(noted._seen) == 4
    assert misses._writer._dropped == 2 + 6
    assert "1 missed shapes are not noted, since 4 are already" in caplog.messages


def test_full_disk_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a line would be another shape. It is written when there is room again."""
    path = tmp_path / "misses.csv"
    path.write_text(HEADER)
    write = os.write
    noted = make_misses(path)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
        noted.note(num_experts=128, topk=2, tokens=1)
        noted.wait()
    assert path.read_text() == HEADER
    assert "No space left on device" in caplog.text
    noted.wait()
    assert read_misses(path) == [Shape(128, 2)]


def test_machine_without_threads_to_spare_is_served_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next miss tries again, and writes the earlier ones too."""

    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    noted = make_misses(tmp_path / "misses.csv")
    with monkeypatch.context() as crowded:
        crowded.setattr("_thread.start_new_thread", no_more)
        noted.note(num_experts=8, topk=2, tokens=1)
    noted.note(num_experts=16, topk=2, tokens=1)
    noted.wait()
    assert read_misses(tmp_path / "misses.csv") == [Shape(8, 2), Shape(16, 2)]


def test_failure_of_any_kind_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would take the misses of the process's other dispatchers with it."""
    append = misses._append

    def fail(path: Path, noted: list[misses._Miss]) -> None:
        if path.name == "bad.csv":
            raise ValueError("unexpected")
        append(path, noted)

    monkeypatch.setattr(misses, "_append", fail)
    with caplog.at_level(logging.WARNING):
        for name in ("bad.csv", "good.csv"):
            make_misses(tmp_path / name).note(num_experts=8, topk=2, tokens=1)
        make_misses(tmp_path).wait()
    assert caplog.messages == [f"missed shapes cannot be written to {tmp_path}/bad.csv: unexpected"]
    assert read_misses(tmp_path / "good.csv") == [Shape(8, 2)]
