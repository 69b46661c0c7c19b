"""Merge tables: entries by their key, rows by their shape."""

import datetime
from collections.abc import Iterable
from typing import Final

import msgspec

from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import covers, find_differing_origins, find_other_settings
from moesort_tune.tables.schema import Entry, EntryKey, Kind, Row, Table

_KINDS: Final[tuple[Kind, ...]] = ("modelled", "learned", "published", "measured")
"""Kinds of figures, the best last."""


class Conflict(msgspec.Struct, frozen=True):
    """A shape for which two tables have different rows; the dates are None for published figures."""

    key: EntryKey
    kept: Row
    dropped: Row
    kept_from_second: bool
    kept_date: datetime.date | None
    dropped_date: datetime.date | None


class Difference(msgspec.Struct, frozen=True):
    """The devices or software with which two entries of one key were measured. what: 'device' or 'software'."""

    key: EntryKey
    what: str
    first: str
    second: str


class Merged(msgspec.Struct, frozen=True):
    """Two tables in one, the rows that were dropped, and the devices and software that rows keep for themselves."""

    table: Table
    conflicts: list[Conflict]
    differences: list[Difference]


def merge_entry(table: Table, entry: Entry) -> Table:
    """Return `table` with the rows of `entry`, which replace those of the same key and shape."""
    old = _find_entry(table, entry.key)
    return _put_entry(table, entry if old is None else _replace_rows(old, entry))


def merge_tables(first: Table, second: Table, *, replace: bool = False) -> Merged:
    """Return both tables as one.

    Where both have a row, keep a measured one before a published one, that before a learned one, and that before a
    modelled one; then the one that covers the other's token range and more, then the later one, then that of `second`.
    replace: keep that of `second` in any case. Raise TableError for tables of different architectures, and without
    `replace` for rows of one shape that were measured with different settings.
    """
    if first.arch != second.arch:
        raise TableError(
            f"a table of {first.arch} and one of {second.arch} cannot be put together; a file is of one arch"
        )
    merged = Merged(first, [], [])
    for entry in second.tables:
        old = _find_entry(first, entry.key)
        if old is None:
            merged = msgspec.structs.replace(merged, table=_put_entry(merged.table, entry))
        else:
            merged = _merge_both(merged, old, entry, replace)
    return merged


def _merge_both(merged: Merged, first: Entry, second: Entry, replace: bool) -> Merged:
    both, conflicts = _choose_rows(first, second, replace)
    rows = ([entry.complete(row) for row in entry.rows] for entry in (first, second))
    return Merged(
        _put_entry(merged.table, both),
        [*merged.conflicts, *conflicts],
        [*merged.differences, *(Difference(first.key, *texts) for texts in find_differing_origins(*rows))],
    )


def _find_entry(table: Table, key: EntryKey) -> Entry | None:
    return next((entry for entry in table.tables if entry.key == key), None)


def _put_entry(table: Table, entry: Entry) -> Table:
    """Return `table` with `entry` in the place of the one of its key, or at the end."""
    if _find_entry(table, entry.key) is None:
        return msgspec.structs.replace(table, tables=(*table.tables, entry))
    entries = tuple(entry if old.key == entry.key else old for old in table.tables)
    return msgspec.structs.replace(table, tables=entries)


def _replace_rows(old: Entry, new: Entry) -> Entry:
    """Return the new entry with the rows and, where it has none of its own, the launch gap of the old one."""
    entry = msgspec.structs.replace(new, launch_gap_us=new.launch_gap_us or old.launch_gap_us)
    return set_rows(entry, {**_complete_rows(old), **_complete_rows(new)}.values())


def _choose_rows(first: Entry, second: Entry, replace: bool) -> tuple[Entry, list[Conflict]]:
    """Return every shape once, under the settings of the later sweep of which a row is kept, and the conflicts."""
    of_first, of_second = _complete_rows(first), _complete_rows(second)
    rows = {**of_first, **of_second}
    conflicts = []
    for shape in sorted(of_first.keys() & of_second.keys()):
        conflict = _settle(first.key, of_first[shape], of_second[shape], replace)
        rows[shape] = conflict.kept
        conflicts += [conflict] if conflict.kept != conflict.dropped else []
    both = ((second, of_second), (first, of_first))
    kept = [entry for entry, own in both if any(rows[shape] == row for shape, row in own.items())]
    return set_rows(max(kept, key=lambda entry: entry.date), rows.values()), conflicts


def _settle(key: EntryKey, first: Row, second: Row, replace: bool) -> Conflict:
    """Return which of two complete rows is kept."""
    if not replace and (differing := find_other_settings(first, second)):
        raise TableError(
            f"{first.num_experts}/{first.topk} of {key} was measured with {differing[0]} in the first table and with"
            f" {differing[1]} in the second; use --replace to keep the second, or keep two files"
        )
    if not replace and _rate_row(first, second) > _rate_row(second, first):
        return Conflict(key, first, second, False, _get_day(first), _get_day(second))
    return Conflict(key, second, first, True, _get_day(second), _get_day(first))


def _rate_row(row: Row, other: Row) -> tuple[int, bool, datetime.date]:
    """Return what makes a complete row better than another: its kind, a wider range, a later day."""
    day = _get_day(row) if _get_day(other) else None
    return (
        _KINDS.index(row.evidence.kind or "measured"),
        covers(row, other) and not covers(other, row),
        day or datetime.date.min,
    )


def _complete_rows(entry: Entry) -> dict[tuple[int, int], Row]:
    return {row.shape: entry.complete(row) for row in entry.rows}


def _make_relative(row: Row, base: Entry) -> Row:
    """Return a complete row as one of `base`, without what it shares with that."""
    return msgspec.structs.replace(
        row,
        sweep=None if row.sweep == base.sweep else row.sweep,
        software=None if row.software == base.software else row.software or None,
        device=None if row.device == base.device else row.device,
        evidence=msgspec.structs.replace(
            row.evidence, kind=None if row.evidence.kind == base.evidence else row.evidence.kind
        ),
    )


def set_rows(entry: Entry, rows: Iterable[Row]) -> Entry:
    """Return the entry with these complete rows, each without what it shares with the entry, ascending by shape."""
    relative = (_make_relative(row, entry) for row in sorted(rows, key=lambda row: row.shape))
    return msgspec.structs.replace(entry, rows=tuple(relative))


def _get_day(row: Row) -> datetime.date | None:
    return row.sweep.date if row.sweep else None
