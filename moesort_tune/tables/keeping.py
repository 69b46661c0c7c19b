"""Which row may take the place of which: nothing that was measured gives way to less, or to another setting."""

from collections.abc import Iterator
from typing import Final

from moesort_tune.domain.vocabulary import DEFAULT_TOKENS
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Entry, Range, Row, Table

SETTINGS: Final = ("unit_size", "model_dim", "dtype", "routing", "ep", "cold")
"""Fields of a sweep that change what its times mean and that no entry is known by; the seed is none of them."""


class RowKeptError(TableError):
    """A row stays, because what would take its place has other settings or rests on less."""


def reasons_to_keep(table: Table, entry: Entry, *, finished: bool = True) -> list[str]:
    """Return a sentence for each row of `table` that `entry` would replace by one of other settings, or a poorer one.

    finished: the rows of `entry` are all that their sweep meant to find.
    """
    reasons = (why_kept(old, new, finished=finished) for old, new in replaced_rows(table, entry))
    return [reason for reason in reasons if reason is not None]


def replaced_rows(table: Table, entry: Entry) -> Iterator[tuple[Row, Row]]:
    """Yield the rows of `table` whose key and shape `entry` has too, each with the one that would replace it."""
    old = {row.shape: row for one in table.tables if one.key == entry.key for row in map(one.complete, one.rows)}
    for new in map(entry.complete, entry.rows):
        if new.shape in old:
            yield old[new.shape], new


def why_kept(old: Row, new: Row, *, finished: bool = True) -> str | None:
    """Return why `new` should not take the place of `old`, as a sentence, or None. Both must be complete."""
    if differing := other_settings(old, new):
        return (
            f"the row of {_shape(old)} was measured with {differing[0]}, and the new one with {differing[1]};"
            f" use --replace to put the new one in its place, or name another file with --out"
        )
    if not covers(new, old):
        first, last = swept(old)
        return (
            f"the row of {_shape(old)} rests on {_points(old)} from {first} to {last}, and the new one would reach from"
            f" {swept(new)[0]} to {swept(new)[1]}, since no samples like its own hold the rest;"
            f" use --tokens {first}:{last}, or --replace, or name another file with --out"
        )
    if not finished and (new.evidence.points or 0) < (old.evidence.points or 0):
        return (
            f"the row of {_shape(old)} rests on {_points(old)}, and the time was enough for {new.evidence.points};"
            f" raise --time-budget, go on with --resume, or use --replace"
        )
    return None


def other_settings(old: Row, new: Row) -> tuple[str, str] | None:
    """Return the settings of both complete rows in which they differ, like ('ep=1', 'ep=4'), or None."""
    if old.sweep is None or new.sweep is None:
        return None
    learned = old.evidence.learned or new.evidence.learned  # its routing is whatever came, which no sweep can ask for
    names = [name for name in SETTINGS if not (learned and name == "routing")]
    told = [
        (f"{name}={getattr(old.sweep, name)}", f"{name}={getattr(new.sweep, name)}")
        for name in names
        if getattr(old.sweep, name) != getattr(new.sweep, name)
    ]
    return (" and ".join(one for one, _ in told), " and ".join(other for _, other in told)) if told else None


def covers(row: Row, other: Row) -> bool:
    """Return whether `row` was measured on all of the token range of `other`."""
    (first, last), (other_first, other_last) = swept(row), swept(other)
    return first <= other_first and other_last <= last


def swept(row: Row) -> Range:
    """Return the first and last token count of a row."""
    return row.evidence.tokens or DEFAULT_TOKENS


def differing_origins(rows: list[Row], others: list[Row]) -> Iterator[tuple[str, str, str]]:
    """Yield what complete rows of one entry differ in that they keep for themselves: what, of `rows`, of `others`."""
    for what, text_of in (("device", _device_text), ("software", _software_text)):
        texts = [sorted({text_of(row) for row in one}) for one in (rows, others)]
        if rows and others and texts[0] != texts[1]:
            yield what, " and ".join(texts[0]), " and ".join(texts[1])


def _device_text(row: Row) -> str:
    return row.device.name if row.device else "no device"


def _software_text(row: Row) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted((row.software or {}).items())) or "none"


def _shape(row: Row) -> str:
    return f"{row.num_experts}/{row.topk}"


def _points(row: Row) -> str:
    return "token counts" if row.evidence.points is None else f"{row.evidence.points} token counts"
