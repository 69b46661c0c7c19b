"""Stores tables on disk: each write is atomic, and rows are merged under a lock."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from moesort_tune.tables.errors import RefusedError, TableError
from moesort_tune.tables.files import load
from moesort_tune.tables.keeping import RowKeptError, list_reasons_to_keep
from moesort_tune.tables.merge import merge_entry
from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import SCHEMA, Entry, Table
from moesort_tune.tables.validation import check, to_table
from moesort_tune.tables.writer import to_yaml
from moesort_tune.whole_file import replace_file

__all__ = ["add_entry", "load", "save", "update"]

LOCK_SECONDS = 30.0
"""A holder of the lock only writes a file of some kilobytes; on file systems that cannot lock, waiting never ends."""


def save(path: Path, table: Table) -> None:
    """Write `table` whole or not at all; readers see the old file or the new one.

    Raise TableError where it is not valid or the folder cannot be written.
    """
    try:
        check(table)
        text = to_yaml(table)
        to_table(parse(text.encode()))
    except RefusedError as error:
        raise TableError(f"not written to {path}: {error}") from error
    with _convert_errors(f"cannot write {path}"):
        path = path.resolve()  # a link stays one
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())


def add_entry(path: Path, arch: str, entry: Entry, *, replace: bool = False, finished: bool = True) -> Table:
    """Put the rows of `entry` into the table in `path`, which need not exist, and return the whole table.

    Other rows stay; rows of the same entry and shape are replaced, without `replace` only by rows of the same
    settings that rest on no less (RowKeptError; finished: see reasons_to_keep). Several processes may do so at once.
    Raise TableError where the file is of another architecture, not a table, or cannot be written.
    """

    def add(table: Table | None) -> Table:
        if table is None:
            return Table(schema=SCHEMA, arch=arch, tables=(entry,))
        if table.arch != arch:
            raise TableError(f"{path} holds the table of {table.arch}, not of {arch}; name another file")
        if not replace and (reasons := list_reasons_to_keep(table, entry, finished=finished)):
            raise RowKeptError(f"{path}: {reasons[0]}")
        return merge_entry(table, entry)

    return update(path, add)


def update(path: Path, change: Callable[[Table | None], Table]) -> Table:
    """Replace the table in `path` (None where there is none) by `change` of it, while no other process does."""
    with _lock(path):
        table = change(load(path) if path.exists() else None)
        save(path, table)
    return table


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of the table: a hidden file beside it, which stays."""
    with _convert_errors(f"cannot write {path}"):
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
def _convert_errors(what: str) -> Iterator[None]:
    """Turn an error of the file system into a TableError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise TableError(f"{what}: {error.strerror or error}; name a file in a folder that can be written") from error
