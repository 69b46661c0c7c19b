"""The tables that a process started here would find, and whether they are readable."""

import os
from collections.abc import Iterator
from pathlib import Path

from moesort_tune.doctor.diagnosis import MeasuredDevice, TableState
from moesort_tune.providers.facts.registry import BrokenProviderError, UnknownProviderError
from moesort_tune.providers.work.base import revision_of
from moesort_tune.runtime.search import TABLE_VARIABLE, compute_digest
from moesort_tune.runtime.selection import is_measured
from moesort_tune.shipped import get_tables_folder
from moesort_tune.tables.errors import TableError, format_path
from moesort_tune.tables.files import is_folder, load_bytes, read
from moesort_tune.tables.schema import Entry, Table


def find_tables() -> tuple[TableState, ...]:
    """Return the tables of MOESORT_TUNE_TABLE, of ./tables and of this package, each file once."""
    states: dict[Path, TableState] = {}
    for origin, path in _list_files():
        states.setdefault(_resolve(path), _read_state(path, origin))
    return tuple(states.values())


def list_own_files() -> list[Path]:
    """Return the tables of MOESORT_TUNE_TABLE and of ./tables, readable or not, and all samples found there."""
    tables = [path for origin, path in _list_files() if origin != "shipped"]
    return [*tables, *find_samples()]


def find_samples() -> list[Path]:
    """Return the samples in ./tables and in a folder MOESORT_TUNE_TABLE, also those that have no table yet."""
    folders = dict.fromkeys([Path("tables"), Path(os.environ.get(TABLE_VARIABLE) or "tables")])
    return [samples for folder in folders for samples in sorted(folder.glob("*.samples.csv"))]


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return path.absolute()


def _list_files() -> Iterator[tuple[str, Path]]:
    named = os.environ.get(TABLE_VARIABLE)
    if named:
        yield from ((TABLE_VARIABLE, path) for path in _list_named(Path(named)))
    for origin, folder in (("./tables", Path("tables")), ("shipped", get_tables_folder())):
        yield from ((origin, path) for path in sorted(folder.glob("*.yaml")))


def _list_named(named: Path) -> list[Path]:
    """Return the tables in a folder, or the file itself even if absent: reading it reports why."""
    try:
        return sorted(named.glob("*.yaml")) if is_folder(named) else [named]
    except (OSError, ValueError, TableError):
        return [named]


def _read_state(path: Path, origin: str) -> TableState:
    digest = ""
    try:
        data = read(path)
        digest = compute_digest(data)
        table = load_bytes(path, data)
    except TableError as error:
        return TableState(format_path(path), origin, refused=str(error), digest=digest)
    revisions, own_revisions = _list_revisions(table)
    return TableState(
        path=format_path(path),
        origin=origin,
        arch=table.arch,
        compute_units=tuple(sorted({entry.device.compute_units for entry in table.tables})),
        revisions=revisions,
        own_revisions=own_revisions,
        devices=tuple(dict.fromkeys(_describe_device(entry) for entry in table.tables)),
        digest=digest,
        is_named=origin == TABLE_VARIABLE and path == Path(os.environ.get(TABLE_VARIABLE, "")),
    )


def _describe_device(entry: Entry) -> MeasuredDevice:
    device = entry.device
    evidence = "measured" if entry.evidence == "learned" else entry.evidence
    return MeasuredDevice(device.name, device.compute_units, device.id or "", evidence)


def _list_revisions(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return TableState's revisions and own_revisions, of measured entries: others serve whatever kernels run."""
    entries = [entry for entry in table.tables if is_measured(entry) and entry.kernels.revision]
    measured = {(entry.kernels.provider, entry.kernels.revision) for entry in entries}
    own = {provider: _find_own_revision(provider, table.arch) for provider, _ in measured}
    comparable = sorted(revision for provider, revision in measured if revision and own[provider])
    return tuple(comparable), tuple(sorted(filter(None, own.values())))


def _find_own_revision(provider: str, arch: str) -> str | None:
    """Return the revision of the provider's kernels here; None where it is not known or there are no such kernels."""
    try:
        return revision_of(provider, arch)
    except (UnknownProviderError, BrokenProviderError):
        return None
