"""Files that are replaced as a whole, and what killed writers leave beside them."""

import fcntl
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.whole_file import replace_file
from tests.tables.examples import table


def _stop_while_writing(path: Path, ready: "Connection[str, None]") -> None:
    """Write all of the new file and stop before the rename."""

    def stop(_handle: int) -> None:
        ready.send("written")
        signal.pause()

    os.fsync = stop  # type: ignore[assignment]
    replace_file(path, b"never finished")


def list_leftovers(folder: Path) -> list[Path]:
    """Return half-written files."""
    return [found for found in folder.iterdir() if found.suffix == ".new"]


@pytest.mark.parametrize("killed", [True, False])
def test_file_of_a_writer_is_removed_only_when_the_writer_is_dead(tmp_path: Path, killed: bool) -> None:
    """SIGKILL in the middle of a write leaves nothing for long, and a slower writer keeps what it is writing."""
    path = tmp_path / "gfx942.yaml"
    ours, theirs = multiprocessing.Pipe()
    writer = multiprocessing.get_context("fork").Process(target=_stop_while_writing, args=(path, theirs))
    writer.start()
    assert ours.recv() == "written"
    if killed:
        writer.kill()
        writer.join()
    assert len(list_leftovers(tmp_path)) == 1
    store.save(path, table())
    assert len(list_leftovers(tmp_path)) == (0 if killed else 1)
    assert store.load(path) == table()
    writer.kill()
    writer.join()


def test_files_of_others_are_not_taken_for_leftovers(tmp_path: Path) -> None:
    """Only names that a writer of this very file makes are removed, and only files."""
    kept = [".gfx942.yaml.new", ".gfx942.yaml.0123.new", ".gfx950.yaml.0123456789abcdef.new", "gfx942.yaml.bak"]
    for name in kept:
        (tmp_path / name).write_text("")
    (tmp_path / ".gfx942.yaml.00000000000000ff.new").symlink_to(tmp_path / "gfx942.yaml.bak")
    (tmp_path / ".gfx942.yaml.0123456789abcdef.new").write_text("")
    replace_file(tmp_path / "gfx942.yaml", b"new")
    assert {found.name for found in tmp_path.iterdir()} == {
        *kept,
        ".gfx942.yaml.00000000000000ff.new",
        "gfx942.yaml",
    }


def test_file_removed_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers that meet between making a file and locking it both end with a whole file."""
    removed: list[Path] = []
    real = fcntl.flock

    def meet(file: object, operation: int) -> None:
        if not removed:
            removed.extend(list_leftovers(tmp_path))
            removed[0].unlink()
        real(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", meet)
    replace_file(tmp_path / "gfx942.yaml", b"new")
    assert (tmp_path / "gfx942.yaml").read_bytes() == b"new"
    assert removed
    assert list_leftovers(tmp_path) == []


@pytest.mark.parametrize("through_link", [False, True])
def test_fifo_is_not_replaced_by_a_table(tmp_path: Path, through_link: bool) -> None:
    """`merge --out /dev/full` run as root does not put a file in the place of the device."""
    fifo = tmp_path / "gfx942.yaml"
    os.mkfifo(fifo)
    named = tmp_path / "link.yaml" if through_link else fifo
    if through_link:
        named.symlink_to(fifo)
    with pytest.raises(TableError, match="not a regular file"):
        store.save(named, table())
    assert fifo.is_fifo()
    assert named.is_symlink() is through_link
    assert list_leftovers(tmp_path) == []
