"""Compare two tables, row by row."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.schema import Entry, EntryKey, Range, Row, Table


class Difference(msgspec.Struct, frozen=True):
    """Token counts first..last (None: all that follow) for which another kernel is chosen.

    in_ties: everywhere in this range one of the two tables says that neither of these kernels won.
    """

    first: int
    last: int | None
    before: KernelName
    after: KernelName
    in_ties: bool


class RowChange(msgspec.Struct, frozen=True):
    """A shape for which the two tables decide differently; before or after is None where it has no row."""

    before: Row | None
    after: Row | None
    differences: tuple[Difference, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Return (num_experts, topk)."""
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
    """Return the changes of each entry, paired by key, or without the revision where no other entry fits better."""
    return [_compare_entries(old, new) for old, new in _pair_entries(before, after)]


def _pair_entries(before: Table, after: Table) -> Iterator[tuple[Entry | None, Entry | None]]:
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


def _compare_entries(before: Entry | None, after: Entry | None) -> EntryChange:
    old = {row.shape: row for row in before.rows} if before else {}
    new = {row.shape: row for row in after.rows} if after else {}
    candidates = list_names(*filter(None, (before, after)))
    changes = [_compare_rows(old.get(shape), new.get(shape), candidates) for shape in sorted(old.keys() | new.keys())]
    changed = tuple(change for change in changes if change is not None)
    return EntryChange(
        before=before.key if before else None,
        after=after.key if after else None,
        rows=changed,
        unchanged=len(changes) - len(changed),
    )


def _compare_rows(before: Row | None, after: Row | None, candidates: Sequence[KernelName]) -> RowChange | None:
    """Return the change of one shape, or None where both choose the same for every token count."""
    if before is None or after is None:
        return RowChange(before, after)
    differences = tuple(_find_differences(before, after, candidates))
    return RowChange(before, after, differences) if differences else None


def _find_differences(before: Row, after: Row, candidates: Sequence[KernelName]) -> Iterator[Difference]:
    cuts = _find_cuts(before, after)
    choices = [
        (first, before.choose_kernel(first, candidates), after.choose_kernel(first, candidates)) for first in cuts
    ]
    spans = [span for index, span in enumerate(choices) if index == 0 or choices[index - 1][1:] != span[1:]]
    for index, (first, old, new) in enumerate(spans):
        last = spans[index + 1][0] - 1 if index + 1 < len(spans) else None
        if old != new:
            ties = (*before.list_ties(old, new), *after.list_ties(old, new))
            yield Difference(first, last, old, new, _is_covered(sorted(ties), first, last))


def _find_cuts(*rows: Row) -> list[int]:
    """Return token counts at which the choice of a row may change."""
    limits = (limit + 1 for row in rows for limit in row.limits.values() if limit < MAX_TOKENS)
    return sorted({*limits, *(first for row in rows for first, _ in row.policy)})


def _is_covered(ranges: Iterable[Range], first: int, last: int | None) -> bool:
    """Return whether every count of first..last lies in one of these ascending ranges."""
    reached = first
    for start, end in ranges:
        if start <= reached:
            reached = max(reached, end + 1)
    return last is not None and reached > last
