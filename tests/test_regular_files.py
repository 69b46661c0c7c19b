"""Where a regular file is expected, no other file blocks a process or is read for ever."""

import errno
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import NotRegularError, open_regular, open_regular_to_append
from moesort_tune.replay.steps import read_trace
from moesort_tune.sweep.grid import read_misses
from moesort_tune.sweep.samples import append_samples, read_samples
from moesort_tune.tables.files import load

OPENERS = [open_regular, open_regular_to_append]


@pytest.fixture(autouse=True)
def _hangs_end() -> Iterator[None]:
    """Fail a test that waits for another end of a FIFO, instead of hanging."""

    def give_up(*_: object) -> None:
        raise TimeoutError("waited for something that is not a regular file")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def list_descriptors() -> set[str]:
    """Return the open descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def make_fifo(folder: Path) -> Path:
    """Make a FIFO that no other process has open."""
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def open_listening_socket(folder: Path) -> Path:
    """Create a socket file and return its name; the socket is closed again."""
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder / "socket"))
    return folder / "socket"


OTHERS: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda folder: folder,
    "a FIFO": make_fifo,
    "a socket": open_listening_socket,
    "an endless device": lambda _: Path("/dev/zero"),
    "a full device": lambda _: Path("/dev/full"),
}


@pytest.mark.parametrize("open_it", OPENERS)
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_a_regular_file_is_refused_at_once(
    tmp_path: Path, other: str, open_it: Callable[[Path], object]
) -> None:
    """Nothing is read or written, nothing blocks, and no descriptor stays open."""
    path = OTHERS[other](tmp_path)
    before = list_descriptors()
    with pytest.raises(OSError) as refused:  # noqa: PT011 - which errno it is depends on what stands there
        open_it(path)
    assert isinstance(refused.value, NotRegularError) or refused.value.errno in (errno.EISDIR, errno.ENXIO)
    assert refused.value.strerror
    assert list_descriptors() == before


@pytest.mark.parametrize("open_it", OPENERS)
@pytest.mark.parametrize("name", ["a\0b", "\ud800", "n" * 5000, "loop"])
def test_name_that_no_file_can_have_is_an_oserror(tmp_path: Path, name: str, open_it: Callable[[Path], object]) -> None:
    """One exception type, so that no caller forgets the other one."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as refused:  # noqa: PT011 - one of several
        open_it(tmp_path / name)
    assert refused.value.strerror


def test_regular_file_is_read_and_appended_to(tmp_path: Path) -> None:
    """Ordinary files behave as with `open`: links are followed, and a missing file is its own error."""
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        open_regular(path)
    for text in (b"one\n", b"two\n"):
        with open_regular_to_append(path) as file:
            file.write(text)
    (tmp_path / "link").symlink_to(path)
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"one\ntwo\n"


@pytest.mark.parametrize(
    "use",
    [load, read_samples, lambda path: append_samples(path, []), read_misses, read_trace],
    ids=["table", "samples", "samples appended", "misses", "trace"],
)
@pytest.mark.parametrize("other", OTHERS)
def test_every_input_file_of_another_kind_is_reported_in_a_sentence(
    tmp_path: Path, other: str, use: Callable[[Path], object]
) -> None:
    """Whatever reads a file that people name: the sentence names it."""
    path = OTHERS[other](tmp_path)
    with pytest.raises(MoesortTuneError) as refused:
        use(path)
    assert str(path) in str(refused.value)
    assert "None" not in str(refused.value)


@pytest.mark.parametrize("amount", [-1, 100])
def test_file_that_would_be_waited_for_is_an_oserror(
    tmp_path: Path, amount: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that only looks regular, like /proc/kmsg, never reads as None, which no caller expects."""
    monkeypatch.setattr("moesort_tune.regular_files.stat.S_ISREG", stat.S_ISFIFO)
    pipe = make_fifo(tmp_path)
    with pipe.open("r+b", buffering=0), open_regular(pipe) as file, pytest.raises(BlockingIOError) as caught:
        file.read(amount)
    assert caught.value.strerror
