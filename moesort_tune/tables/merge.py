"""Putting tables together: entries by their key, rows by their shape."""

import datetime
from collections.abc import Iterable

import msgspec

from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Entry, EntryKey, Row, Table


class Conflict(msgspec.Struct, frozen=True):
    """A shape of which two tables have different rows; the dates are None for published figures."""

    key: EntryKey
    kept: Row
    dropped: Row
    kept_from_second: bool
    kept_date: datetime.date | None
    dropped_date: datetime.date | None


def merge_entry(table: Table, entry: Entry) -> Table:
    """`table` with the rows of `entry`, which replace those of the same key and shape."""
    old = _entry_of(table, entry.key)
    return _with(table, entry if old is None else _replacing(old, entry))


def merge_tables(first: Table, second: Table) -> tuple[Table, list[Conflict]]:
    """Both in one; where both have a row the one measured later is kept, of two as late that of `second`.

    Raises TableError for tables of different architectures.
    """
    if first.arch != second.arch:
        raise TableError(
            f"a table of {first.arch} and one of {second.arch} cannot be put together; a file is of one arch"
        )
    merged, conflicts = first, list[Conflict]()
    for entry in second.tables:
        old = _entry_of(first, entry.key)
        if old is None:
            merged = _with(merged, entry)
        else:
            both, gave_way = _newest_of(old, entry)
            merged = _with(merged, both)
            conflicts += gave_way
    return merged, conflicts


def _entry_of(table: Table, key: EntryKey) -> Entry | None:
    return next((entry for entry in table.tables if entry.key == key), None)


def _with(table: Table, entry: Entry) -> Table:
    """`table` with `entry` in the place of the one of its key, or at the end."""
    if _entry_of(table, entry.key) is None:
        return msgspec.structs.replace(table, tables=(*table.tables, entry))
    entries = tuple(entry if old.key == entry.key else old for old in table.tables)
    return msgspec.structs.replace(table, tables=entries)


def _replacing(old: Entry, new: Entry) -> Entry:
    return _with_rows(new, {**_settled(old, new), **_settled(new, new)}.values())


def _newest_of(first: Entry, second: Entry) -> tuple[Entry, list[Conflict]]:
    """Under the settings of the later sweep, every shape once."""
    base = first if _date(first) > _date(second) else second
    of_first, of_second = _settled(first, base), _settled(second, base)
    rows = {**of_first, **of_second}
    conflicts = []
    for shape in of_first.keys() & of_second.keys():
        conflict = _settle(base, of_first[shape], of_second[shape])
        rows[shape] = conflict.kept
        conflicts += [conflict] if conflict.kept != conflict.dropped else []
    return _with_rows(base, rows.values()), sorted(conflicts, key=lambda conflict: conflict.kept.shape)


def _settle(base: Entry, first: Row, second: Row) -> Conflict:
    """Which of two rows is kept."""
    date_of_first, date_of_second = _date_of_row(first, base), _date_of_row(second, base)
    if date_of_first and date_of_second and date_of_first > date_of_second:
        return Conflict(base.key, first, second, False, date_of_first, date_of_second)
    return Conflict(base.key, second, first, True, date_of_second, date_of_first)


def _settled(entry: Entry, base: Entry) -> dict[tuple[int, int], Row]:
    """The rows of `entry` as rows of `base`: each says for itself what it does not share with that."""
    rows = {}
    for row in entry.rows:
        sweep, software = row.sweep or entry.sweep, row.software or entry.software
        rows[row.shape] = msgspec.structs.replace(
            row,
            sweep=None if sweep == base.sweep else sweep,
            software=None if software == base.software else software or None,
        )
    return rows


def _with_rows(entry: Entry, rows: Iterable[Row]) -> Entry:
    return msgspec.structs.replace(entry, rows=tuple(sorted(rows, key=lambda row: row.shape)))


def _date(entry: Entry) -> datetime.date:
    return entry.sweep.date if entry.sweep else datetime.date.min


def _date_of_row(row: Row, base: Entry) -> datetime.date | None:
    sweep = row.sweep or base.sweep
    return sweep.date if sweep else None
