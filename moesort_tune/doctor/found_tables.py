"""The tables that a process started here would find, and whether they can be read."""

import os
from collections.abc import Iterator
from pathlib import Path

from moesort_tune.doctor.diagnosis import TableState
from moesort_tune.shipped import tables_folder
from moesort_tune.tables.errors import TableError, path_text
from moesort_tune.tables.files import is_folder
from moesort_tune.tables.schema import Table
from moesort_tune.tables.store import load


def found_tables() -> tuple[TableState, ...]:
    """Tables of MOESORT_TUNE_TABLE, of ./tables and of this package, each file once."""
    states: dict[Path, TableState] = {}
    for origin, path in _files():
        states.setdefault(_identity(path), _state(path, origin))
    return tuple(states.values())


def _identity(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return path.absolute()


def _files() -> Iterator[tuple[str, Path]]:
    named = os.environ.get("MOESORT_TUNE_TABLE")
    if named:
        yield from (("MOESORT_TUNE_TABLE", path) for path in _of(Path(named)))
    for origin, folder in (("./tables", Path("tables")), ("shipped", tables_folder())):
        yield from ((origin, path) for path in sorted(folder.glob("*.yaml")))


def _of(named: Path) -> list[Path]:
    """The tables in a folder; or the file itself, be it there or not: reading it says why it cannot be read."""
    try:
        return sorted(named.glob("*.yaml")) if is_folder(named) else [named]
    except (OSError, ValueError, TableError):
        return [named]


def _state(path: Path, origin: str) -> TableState:
    try:
        table = load(path)
    except TableError as error:
        return TableState(path_text(path), origin, refused=str(error))
    return TableState(
        path=path_text(path),
        origin=origin,
        arch=table.arch,
        compute_units=tuple(sorted({entry.device.compute_units for entry in table.tables})),
        revisions=_builtin_revisions(table),
    )


def _builtin_revisions(table: Table) -> tuple[str, ...]:
    kernels = (entry.kernels for entry in table.tables)
    return tuple(sorted({one.revision for one in kernels if one.provider == "builtin" and one.revision}))
