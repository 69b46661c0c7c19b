"""Putting tables together: entries by their key, rows by their shape."""

import datetime
from collections.abc import Iterable

import msgspec

from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import covers, differing_origins, other_settings
from moesort_tune.tables.schema import Entry, EntryKey, Row, Table


class Conflict(msgspec.Struct, frozen=True):
    """A shape of which two tables have different rows; the dates are None for published figures."""

    key: EntryKey
    kept: Row
    dropped: Row
    kept_from_second: bool
    kept_date: datetime.date | None
    dropped_date: datetime.date | None


class Difference(msgspec.Struct, frozen=True):
    """What the rows of two entries of one key were measured with, where it differs: 'device' or 'software'."""

    key: EntryKey
    what: str
    first: str
    second: str


class Merged(msgspec.Struct, frozen=True):
    """Two tables in one, the rows that gave way for it, and what the others keep for themselves."""

    table: Table
    conflicts: list[Conflict]
    differences: list[Difference]


def merge_entry(table: Table, entry: Entry) -> Table:
    """`table` with the rows of `entry`, which replace those of the same key and shape."""
    old = _entry_of(table, entry.key)
    return _with(table, entry if old is None else _replacing(old, entry))


def merge_tables(first: Table, second: Table, *, replace: bool = False) -> Merged:
    """Both in one. Where both have a row, the one of a sweep is kept, not the learned one; else the one that was
    measured on all of the other's token range and more; else the later one; else that of `second`.

    replace: that of `second` is kept whatever it rests on. Raises TableError for tables of different architectures,
    and without `replace` for rows of one shape that were measured with different settings.
    """
    if first.arch != second.arch:
        raise TableError(
            f"a table of {first.arch} and one of {second.arch} cannot be put together; a file is of one arch"
        )
    merged = Merged(first, [], [])
    for entry in second.tables:
        old = _entry_of(first, entry.key)
        if old is None:
            merged = msgspec.structs.replace(merged, table=_with(merged.table, entry))
        else:
            merged = _with_both(merged, old, entry, replace)
    return merged


def _with_both(merged: Merged, first: Entry, second: Entry, replace: bool) -> Merged:
    both, conflicts = _best_of(first, second, replace)
    rows = ([entry.complete(row) for row in entry.rows] for entry in (first, second))
    return Merged(
        _with(merged.table, both),
        [*merged.conflicts, *conflicts],
        [*merged.differences, *(Difference(first.key, *told) for told in differing_origins(*rows))],
    )


def _entry_of(table: Table, key: EntryKey) -> Entry | None:
    return next((entry for entry in table.tables if entry.key == key), None)


def _with(table: Table, entry: Entry) -> Table:
    """`table` with `entry` in the place of the one of its key, or at the end."""
    if _entry_of(table, entry.key) is None:
        return msgspec.structs.replace(table, tables=(*table.tables, entry))
    entries = tuple(entry if old.key == entry.key else old for old in table.tables)
    return msgspec.structs.replace(table, tables=entries)


def _replacing(old: Entry, new: Entry) -> Entry:
    return _with_rows(new, {**_complete(old), **_complete(new)}.values())


def _best_of(first: Entry, second: Entry, replace: bool) -> tuple[Entry, list[Conflict]]:
    """Under the settings of the later sweep of which a row is kept, every shape once."""
    of_first, of_second = _complete(first), _complete(second)
    rows = {**of_first, **of_second}
    conflicts = []
    for shape in sorted(of_first.keys() & of_second.keys()):
        conflict = _settle(first.key, of_first[shape], of_second[shape], replace)
        rows[shape] = conflict.kept
        conflicts += [conflict] if conflict.kept != conflict.dropped else []
    kept = [entry for entry in (second, first) if any(row in rows.values() for row in _complete(entry).values())]
    return _with_rows(max(kept, key=_date), rows.values()), conflicts


def _settle(key: EntryKey, first: Row, second: Row, replace: bool) -> Conflict:
    """Which of two complete rows is kept."""
    if not replace and (differing := other_settings(first, second)):
        raise TableError(
            f"{first.num_experts}/{first.topk} of {key} was measured with {differing[0]} in the first table and with"
            f" {differing[1]} in the second; use --replace to keep the second, or keep two files"
        )
    if not replace and _worth(first, second) > _worth(second, first):
        return Conflict(key, first, second, False, _day(first), _day(second))
    return Conflict(key, second, first, True, _day(second), _day(first))


def _worth(row: Row, other: Row) -> tuple[bool, bool, datetime.date]:
    """What makes a row better than another: swept, measured on a wider range, later."""
    day = _day(row) if _day(other) else None
    return not row.evidence.learned, covers(row, other) and not covers(other, row), day or datetime.date.min


def _complete(entry: Entry) -> dict[tuple[int, int], Row]:
    return {row.shape: entry.complete(row) for row in entry.rows}


def _relative(row: Row, base: Entry) -> Row:
    """A complete row as one of `base`: it says for itself what it does not share with that."""
    return msgspec.structs.replace(
        row,
        sweep=None if row.sweep == base.sweep else row.sweep,
        software=None if row.software == base.software else row.software or None,
        device=None if row.device == base.device else row.device,
    )


def _with_rows(entry: Entry, rows: Iterable[Row]) -> Entry:
    told = (_relative(row, entry) for row in sorted(rows, key=lambda row: row.shape))
    return msgspec.structs.replace(entry, rows=tuple(told))


def _date(entry: Entry) -> datetime.date:
    return entry.sweep.date if entry.sweep else datetime.date.min


def _day(row: Row) -> datetime.date | None:
    return row.sweep.date if row.sweep else None
