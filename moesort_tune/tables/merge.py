"""Putting tables together: entries by their key, rows by their shape."""

from collections.abc import Iterable

import msgspec

from moesort_tune.tables.schema import Entry, Row, Table


def merge_entry(table: Table, entry: Entry) -> Table:
    """`table` with the rows of `entry`, which replace those of the same key and shape."""
    if all(old.key != entry.key for old in table.tables):
        return msgspec.structs.replace(table, tables=(*table.tables, entry))
    merged = tuple(merged_entries(old, entry) if old.key == entry.key else old for old in table.tables)
    return msgspec.structs.replace(table, tables=merged)


def merged_entries(old: Entry, new: Entry) -> Entry:
    """The rows of both, of one shape those of `new`; each row keeps what it was measured under."""
    rows = {row.shape: row for row in (*_settled(old, new), *new.rows)}
    return msgspec.structs.replace(new, rows=in_order(rows.values()))


def in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows by (num_experts, topk)."""
    return tuple(sorted(rows, key=lambda row: row.shape))


def _settled(old: Entry, new: Entry) -> Iterable[Row]:
    """The rows of `old`, each saying for itself what it will no longer share with its entry."""
    for row in old.rows:
        sweep, software = row.sweep or old.sweep, row.software or old.software
        yield msgspec.structs.replace(
            row,
            sweep=None if sweep == new.sweep else sweep,
            software=None if software == new.software else software or None,
        )
