"""Whatever the file system says about a table, a serving process goes on, and whoever named the table hears of it."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moesort_tune import runtime, shipped
from moesort_tune.domain.device import AttachedGpu
from moesort_tune.runtime import Dispatcher, Reason
from moesort_tune.runtime.search import Asked, Surroundings, find
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from tests.tables.examples import entry, row, table

ERRORS = [errno.ESTALE, errno.EIO, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EMFILE, errno.ETIMEDOUT]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the shipped table of the attached GPU, which serves where the named one does not."""
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "shipped" / "gfx942.yaml"
    store.save(path, table(entry([row(8, 2)])))
    monkeypatch.setattr(shipped, "get_tables_folder", lambda: path.parent)
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: AttachedGpu("gfx942", 304, alike=True))
    monkeypatch.setattr(runtime.dispatcher, "_warned", {})
    runtime.reset()
    yield path
    runtime.reset()


def make_fifo(path: Path) -> Path:
    """Return a FIFO without a writer."""
    os.mkfifo(path)
    return path


def make_loop(path: Path) -> Path:
    """Return a link to itself."""
    path.symlink_to(path)
    return path


def make_path_below_a_file(path: Path) -> Path:
    """Return a file inside of a file."""
    path.write_text("")
    return path / "gfx942.yaml"


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path,
    "a name of 300 characters": lambda path: path / ("n" * 300),
    "a name of 5000 characters": lambda path: path / ("n" * 5000),
    "a name that is no text": lambda path: path / os.fsdecode(b"\xff\x1b[31m.yaml"),
    "a loop": make_loop,
    "below a file": make_path_below_a_file,
    "a FIFO": make_fifo,
    "a device": lambda _: Path("/dev/zero"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_named_table_that_cannot_be_had_gives_way_to_the_next(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hostile: str
) -> None:
    """`get` never raises for a name; `load` does, with one sentence."""
    named = HOSTILE[hostile](tmp_path / "named")
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(named))
    dispatcher = runtime.get()
    assert dispatcher.table == ours
    assert len(dispatcher.not_used) == 1
    assert dispatcher.not_used[0].isprintable()
    assert "this table is not used" in caplog.text
    for path in (None, named):
        with pytest.raises(TableError) as refused:
            Dispatcher.load(path)
        assert str(refused.value) == dispatcher.not_used[0]


@pytest.mark.parametrize("call", ["stat", "open"])
@pytest.mark.parametrize("number", ERRORS)
def test_error_of_the_file_system_gives_way_to_the_next_table(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """Network file systems go away between two calls; the reason is in the system's own words."""
    named = tmp_path / "named"
    store.save(named / "gfx942.yaml", table())
    _make_call_fail(monkeypatch, call, named, number)
    for name in (named, named / "gfx942.yaml"):
        monkeypatch.setenv("MOESORT_TUNE_TABLE", str(name))
        runtime.reset()
        dispatcher = runtime.get()
        assert dispatcher.table == ours
        assert os.strerror(number) in dispatcher.not_used[0]
        with pytest.raises(TableError, match=os.strerror(number)):
            Dispatcher.load(name, arch="gfx942")


def _make_call_fail(monkeypatch: pytest.MonkeyPatch, call: str, folder: Path, number: int) -> None:
    """Let a call of the operating system fail for everything in this folder."""
    original = getattr(os, call)

    def fail(path: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(path, int) and str(folder) in os.fsdecode(path):
            raise OSError(number, os.strerror(number), path)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, call, fail)


def test_error_while_reading_gives_way_to_the_next_table(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that opens may still not be read."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", "/proc/self/mem")  # a regular file whose first page is not there
    dispatcher = runtime.get()
    assert dispatcher.table == ours
    assert os.strerror(errno.EIO) in dispatcher.not_used[0]
    assert tmp_path.is_dir()


@pytest.mark.parametrize("arch", ["x" * 300, "x" * 5000, "../gfx942", "\x1b[31m", "gfx942\n", os.fsdecode(b"\xff")])
def test_architecture_that_is_none_leaves_the_kernels_rule(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    """MOESORT_TUNE_ARCH is part of a file's name and of sentences."""
    monkeypatch.setenv("MOESORT_TUNE_ARCH", arch)
    for named in (ours.parent, ours, tmp_path):
        monkeypatch.setenv("MOESORT_TUNE_TABLE", str(named))
        runtime.reset()
        reported = runtime.get().explain(1, 8, 2)
        assert reported.reason is Reason.OWN_RULE
        assert all(sentence.isprintable() and len(sentence) < 1500 for sentence in reported.not_used)
        assert str(reported).isprintable()


@pytest.mark.parametrize("variable", ["MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH"])
def test_nul_in_a_variable_gives_way_to_the_next_table(ours: Path, variable: str) -> None:
    """No file can be named so, which is the same as one that cannot be read."""
    environment = {"MOESORT_TUNE_TABLE": str(ours.parent / "none"), variable: "a\0b"}
    around = Surroundings(environment, lambda: None, ours.parent)
    found = find(Asked("gfx942" if variable == "MOESORT_TUNE_TABLE" else None), None, around, strict=False)
    assert "null" in " ".join(found.not_used)
    with pytest.raises(TableError, match="null"):
        find(Asked(), Path("a\0b"), around, strict=True)


def test_folder_of_another_user_gives_way_to_the_next_table(ours: Path, tmp_path: Path) -> None:
    """A server runs as a user of its own, who may not look into the home of whoever made the table."""
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    program = """
import logging, os, sys
from moesort_tune import runtime
from moesort_tune.device import architectures
if os.geteuid() == 0:  # root may read everything, and others perhaps not even this interpreter
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for named in sys.argv[1:]:
    os.environ["MOESORT_TUNE_TABLE"] = named
    runtime.reset()
    print(runtime.get(arch="gfx942", compute_units=304).not_used[0])
"""
    names = (closed, closed / "gfx942.yaml", closed / "deeper" / "gfx942.yaml")
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Permission denied") == len(names)
    assert ours.exists()


def test_variable_of_a_gpus_name_is_nonsense_rather_than_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """HSA_OVERRIDE_GFX_VERSION is read by `get` too: a number of any length is no version."""
    from moesort_tune.device.attached import find_attached_gpu
    from moesort_tune.device.kfd import KfdGpu

    gpu = KfdGpu(1, "gfx942", 304, 65536)
    for value in (f"{'9' * 5000}.4.2", "9.4.", "9.4.²", "-9.4.2", "\udcff.1.1"):
        monkeypatch.setenv("HSA_OVERRIDE_GFX_VERSION", value)
        assert find_attached_gpu([gpu], os.environ) == AttachedGpu("gfx942", 304, alike=True)
