"""What changed between two tables, row by row."""

from collections.abc import Iterator

import msgspec

from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.tables.schema import Entry, EntryKey, Row, Table


class Difference(msgspec.Struct, frozen=True):
    """Token counts first..last (None: all that follow) for which another kernel is chosen.

    in_ties: everywhere in this range one of the two tables says that neither kernel won.
    """

    first: int
    last: int | None
    before: KernelName
    after: KernelName
    in_ties: bool


class RowChange(msgspec.Struct, frozen=True):
    """A shape of which the two tables say different things; before or after is None where it has no row."""

    before: Row | None
    after: Row | None
    differences: tuple[Difference, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(num_experts, topk)."""
        row = self.before or self.after
        if row is None:
            raise ValueError("a change needs a row before or after it")
        return row.shape


class EntryChange(msgspec.Struct, frozen=True):
    """Two entries that stand for the same device, kernels and timing; before or after is None where there is none."""

    before: EntryKey | None
    after: EntryKey | None
    rows: tuple[RowChange, ...]
    unchanged: int


def compare(before: Table, after: Table) -> list[EntryChange]:
    """Entries of both, those that differ in the revision alone taken for the same where nothing else fits better."""
    return [_entry_change(old, new) for old, new in _pairs(before, after)]


def _pairs(before: Table, after: Table) -> Iterator[tuple[Entry | None, Entry | None]]:
    old = {entry.key: entry for entry in before.tables}
    new = {entry.key: entry for entry in after.tables}
    partner = {key: key for key in old if key in new}
    for key in old.keys() - partner.keys():
        free = [k for k in new if k not in partner.values() and k._replace(revision=key.revision) == key]
        if len(free) == 1:
            partner[key] = free[0]
    for key, entry in old.items():
        yield entry, new[partner[key]] if key in partner else None
    for key, entry in new.items():
        if key not in partner.values():
            yield None, entry


def _entry_change(before: Entry | None, after: Entry | None) -> EntryChange:
    old = {row.shape: row for row in before.rows} if before else {}
    new = {row.shape: row for row in after.rows} if after else {}
    changes = [_row_change(old.get(shape), new.get(shape)) for shape in sorted(old.keys() | new.keys())]
    told = tuple(change for change in changes if change is not None)
    return EntryChange(
        before=before.key if before else None,
        after=after.key if after else None,
        rows=told,
        unchanged=len(changes) - len(told),
    )


def _row_change(before: Row | None, after: Row | None) -> RowChange | None:
    """None where both choose the same for every token count."""
    if before is None or after is None:
        return RowChange(before, after)
    differences = tuple(_differences(before, after))
    return RowChange(before, after, differences) if differences else None


def _differences(before: Row, after: Row) -> Iterator[Difference]:
    choices = [(first, before.kernel_at(first), after.kernel_at(first)) for first in _cuts(before, after)]
    spans = [span for index, span in enumerate(choices) if index == 0 or choices[index - 1][1:] != span[1:]]
    for index, (first, old, new) in enumerate(spans):
        last = spans[index + 1][0] - 1 if index + 1 < len(spans) else None
        if old != new:
            yield Difference(first, last, old, new, _in_ties(before, after, first, last))


def _cuts(*rows: Row) -> list[int]:
    """Token counts at which the choice of a row may change."""
    limits = (row.oneshot_max_tokens + 1 for row in rows if row.oneshot_max_tokens < MAX_TOKENS)
    return sorted({*limits, *(first for row in rows for first, _ in row.policy)})


def _in_ties(before: Row, after: Row, first: int, last: int | None) -> bool:
    """Whether every count of first..last lies in a tie of one of the rows."""
    reached = first
    for start, end in sorted((*before.tie, *after.tie)):
        if start <= reached:
            reached = max(reached, end + 1)
    return last is not None and reached > last
