"""Decide which row may replace which: no row is replaced by one with fewer points or with other settings."""

from collections.abc import Iterator
from typing import Final

from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Entry, Row, Table

SETTINGS: Final = ("unit_size", "model_dim", "dtype", "routing", "ep", "cold")
"""Settings of a sweep that its times depend on and that do not identify an entry; the seed is not one of them."""

_OF_MOE_BUF: Final = ("model_dim", "dtype")
"""Settings that mean nothing where there is no moe_buf."""


class RowKeptError(TableError):
    """A row stays, because what would take its place has other settings or rests on less."""


def list_reasons_to_keep(table: Table, entry: Entry, *, finished: bool = True) -> list[str]:
    """Return a sentence for each row of `table` that `entry` would replace by one of other settings, or a poorer one.

    finished: the rows of `entry` are all that their sweep meant to find.
    """
    reasons = (find_reason_to_keep(old, new, finished=finished) for old, new in list_replaced_rows(table, entry))
    return [reason for reason in reasons if reason is not None]


def list_replaced_rows(table: Table, entry: Entry) -> Iterator[tuple[Row, Row]]:
    """Yield the rows of `table` whose key and shape `entry` has too, each with the one that would replace it."""
    old = {row.shape: row for one in table.tables if one.key == entry.key for row in map(one.complete, one.rows)}
    for new in map(entry.complete, entry.rows):
        if new.shape in old:
            yield old[new.shape], new


def find_reason_to_keep(old: Row, new: Row, *, finished: bool = True) -> str | None:
    """Return why `new` should not take the place of `old`, as a sentence, or None. Both must be complete."""
    if differing := find_other_settings(old, new):
        return (
            f"the row of {_format_shape(old)} was measured with {differing[0]}, and the new one with {differing[1]};"
            f" use --replace to put the new one in its place, or name another file with --out"
        )
    if not covers(new, old):
        first, last = old.swept_range
        return (
            f"the row of {_format_shape(old)} rests on {_format_points(old)} from {first} to {last}, and the new one"
            f" would reach from {new.swept_range[0]} to {new.swept_range[1]}, since no samples like its own"
            f" hold the rest; use --tokens {first}:{last}, or --replace, or name another file with --out"
        )
    if not finished and (new.evidence.points or 0) < (old.evidence.points or 0):
        return (
            f"the row of {_format_shape(old)} rests on {_format_points(old)}, and the time was enough for"
            f" {new.evidence.points}; raise --time-budget, go on with --resume, or use --replace"
        )
    return None


def find_other_settings(old: Row, new: Row) -> tuple[str, str] | None:
    """Return the settings of both complete rows in which they differ, like ('ep=1', 'ep=4'), or None."""
    if old.sweep is None or new.sweep is None:
        return None
    differing = [name for name in SETTINGS if getattr(old.sweep, name) != getattr(new.sweep, name)]
    if "learned" in (old.evidence.kind, new.evidence.kind):
        differing = [name for name in differing if name != "routing"]  # served routing, which no sweep can ask for
    if not (old.sweep.moe_buf or new.sweep.moe_buf):
        differing = [name for name in differing if name not in _OF_MOE_BUF]
    if not differing:
        return None
    texts = [" and ".join(f"{name}={getattr(sweep, name)}" for name in differing) for sweep in (old.sweep, new.sweep)]
    return texts[0], texts[1]


def covers(row: Row, other: Row) -> bool:
    """Return whether `row` was measured on all of the token range of `other`."""
    (first, last), (other_first, other_last) = row.swept_range, other.swept_range
    return first <= other_first and other_last <= last


def find_differing_origins(rows: list[Row], others: list[Row]) -> Iterator[tuple[str, str, str]]:
    """Yield 'device' or 'software' where complete rows of one entry differ in it, and both values."""
    for what, text_of in (("device", _format_device), ("software", _format_software)):
        texts = [sorted({text_of(row) for row in one}) for one in (rows, others)]
        if rows and others and texts[0] != texts[1]:
            yield what, " and ".join(texts[0]), " and ".join(texts[1])


def _format_device(row: Row) -> str:
    return row.device.name if row.device else "no device"


def _format_software(row: Row) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted((row.software or {}).items())) or "none"


def _format_shape(row: Row) -> str:
    return f"{row.num_experts}/{row.topk}"


def _format_points(row: Row) -> str:
    return "token counts" if row.evidence.points is None else f"{row.evidence.points} token counts"
