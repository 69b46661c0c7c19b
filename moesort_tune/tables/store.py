"""Tables on disk: written all or nothing, merged under a lock."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from moesort_tune.tables.errors import RefusedError, TableError
from moesort_tune.tables.files import load
from moesort_tune.tables.keeping import RowKeptError, reasons_to_keep
from moesort_tune.tables.merge import merge_entry
from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import SCHEMA, Entry, Table
from moesort_tune.tables.validation import check, to_table
from moesort_tune.tables.writer import to_yaml
from moesort_tune.whole_file import replace_file

__all__ = ["add_entry", "load", "save", "update"]

LOCK_SECONDS = 30.0
"""Whoever holds a table's lock writes a file of some kilobytes; file systems without files keep it out for good."""


def save(path: Path, table: Table) -> None:
    """Writes `table` whole or not at all; readers see the old file or the new one.

    Raises TableError where it is not valid or the folder cannot be written.
    """
    try:
        check(table)
        text = to_yaml(table)
        to_table(parse(text.encode()))
    except RefusedError as error:
        raise TableError(f"not written to {path}: {error}") from error
    with _told(f"cannot write {path}"):
        path = path.resolve()  # a link stays one
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())


def add_entry(path: Path, arch: str, entry: Entry, *, replace: bool = False, finished: bool = True) -> Table:
    """Puts the rows of `entry` into the table in `path`, which need not exist, and returns the whole table.

    What is there stays; rows of the same entry and shape are replaced, without `replace` only by rows of the same
    settings that rest on no less (RowKeptError; finished: see reasons_to_keep). Several processes may do so at once.
    Raises TableError where the file is of another architecture, not a table, or cannot be written.
    """

    def added(table: Table | None) -> Table:
        if table is None:
            return Table(schema=SCHEMA, arch=arch, tables=(entry,))
        if table.arch != arch:
            raise TableError(f"{path} holds the table of {table.arch}, not of {arch}; name another file")
        if not replace and (reasons := reasons_to_keep(table, entry, finished=finished)):
            raise RowKeptError(f"{path}: {reasons[0]}")
        return merge_entry(table, entry)

    return update(path, added)


def update(path: Path, change: Callable[[Table | None], Table]) -> Table:
    """Replaces the table in `path` (None where there is none) by `change` of it, while no other process does."""
    with _locked(path):
        table = change(load(path) if path.exists() else None)
        save(path, table)
    return table


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of the table; a hidden file beside it, which stays."""
    with _told(f"cannot write {path}"):
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise TableError(
                f"cannot write {path}: {lock.lock_file} could not be locked in {LOCK_SECONDS:g} s"
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TableError(f"{what}: {error.strerror or error}; name a file in a folder that can be written") from error
