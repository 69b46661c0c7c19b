"""Select and sort the rows that `show` prints and draws, and `report` writes."""

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.tables.schema import Row, Table

SORTS: Final[dict[str, Callable[[Row], Any]]] = {
    "experts": lambda row: row.shape,
    "topk": lambda row: (row.topk, row.num_experts),
    "switch": lambda row: row.policy[1][0] if len(row.policy) > 1 else 0,
    "loss": lambda row: -(row.evidence.rule_loss or 0),
    "noise": lambda row: -(row.evidence.noise or 0),
}
"""Keys by the names of the command line: the first switch ascending, loss and noise from the highest on."""


def sort_rows(table: Table, name: str) -> Table:
    """Return the table with the rows of each entry in the order of SORTS[name]."""
    return _replace_rows(table, lambda rows: tuple(sorted(rows, key=SORTS[name])))


def select_shapes(table: Table, shapes: Collection[Shape]) -> Table:
    """Return the table with the rows of these shapes and the entries that have one. Raise MoesortTuneError for none."""
    wanted = {(shape.num_experts, shape.topk) for shape in shapes}
    selected = _replace_rows(table, lambda rows: tuple(row for row in rows if row.shape in wanted))
    if not selected.tables:
        present = sorted({row.shape for entry in table.tables for row in entry.rows})
        there = ", ".join(f"{num_experts}/{topk}" for num_experts, topk in present)
        raise MoesortTuneError(
            f"the table has no row for {' or '.join(map(str, shapes))}, only for {there};"
            " --lookup prints what decides without a row"
        )
    return selected


def _replace_rows(table: Table, change: Callable[[tuple[Row, ...]], tuple[Row, ...]]) -> Table:
    entries = [msgspec.structs.replace(entry, rows=change(entry.rows)) for entry in table.tables]
    return msgspec.structs.replace(table, tables=tuple(entry for entry in entries if entry.rows))
