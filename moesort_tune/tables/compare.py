"""Compare two tables, row by row."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from moesort_tune.domain.pairing import pair_keys
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.schema import Entry, EntryKey, Range, Row, Table


class Difference(msgspec.Struct, frozen=True):
    """Token counts first..last for which another kernel is chosen.

    in_ties: everywhere in this range one of the two tables says that neither of these kernels won.
    """

    first: int
    last: int
    before: KernelName
    after: KernelName
    in_ties: bool


class RowChange(msgspec.Struct, frozen=True):
    """A shape whose rows choose or were measured differently; before or after is None where there is no row.

    differences: only within the token counts that both rows were measured on.
    """

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

    @property
    def matters(self) -> bool:
        """Return whether a deployment would notice: a row came or went, or a choice changed outside of ties."""
        one_alone = self.before is None or self.after is None
        return one_alone or not all(difference.in_ties for difference in self.differences)

    @property
    def swept_ranges(self) -> tuple[Range, Range] | None:
        """Return the token counts that the two rows were measured on, None where they are the same or one is absent."""
        if self.before is None or self.after is None:
            return None
        before, after = self.before.swept_range, self.after.swept_range
        return None if before == after else (before, after)


class EntryChange(msgspec.Struct, frozen=True):
    """Two entries that stand for the same device, kernels and timing; before or after is None where there is none."""

    before: EntryKey | None
    after: EntryKey | None
    rows: tuple[RowChange, ...]
    unchanged: int


def compare(before: Table, after: Table) -> list[EntryChange]:
    """Return the changes of each entry, paired by key, else without the revision, the product or both.

    What is left out of a pair's keys must leave one entry of `after` alone to choose from.
    """
    return [_compare_entries(old, new) for old, new in _pair_entries(before, after)]


def _pair_entries(before: Table, after: Table) -> Iterator[tuple[Entry | None, Entry | None]]:
    old = {entry.key: entry for entry in before.tables}
    new = {entry.key: entry for entry in after.tables}
    partner = pair_keys(old.keys(), new.keys(), (_drop_revision, _drop_product, _drop_both))
    for key, entry in old.items():
        yield entry, new[partner[key]] if key in partner else None
    for key, entry in new.items():
        if key not in partner.values():
            yield None, entry


def _drop_revision(key: EntryKey) -> EntryKey:
    return key._replace(revision=None)


def _drop_product(key: EntryKey) -> EntryKey:
    return key._replace(product=None)


def _drop_both(key: EntryKey) -> EntryKey:
    return _drop_revision(_drop_product(key))


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
    """Return the change of one shape, or None where both choose the same for the same token counts."""
    if before is None or after is None:
        return RowChange(before, after)
    change = RowChange(before, after, tuple(_find_differences(before, after, candidates)))
    return change if change.differences or change.swept_ranges else None


def _find_differences(before: Row, after: Row, candidates: Sequence[KernelName]) -> Iterator[Difference]:
    cuts, end = _find_cuts(before, after)
    choices = [
        (first, before.choose_kernel(first, candidates), after.choose_kernel(first, candidates)) for first in cuts
    ]
    spans = [span for index, span in enumerate(choices) if index == 0 or choices[index - 1][1:] != span[1:]]
    for index, (first, old, new) in enumerate(spans):
        last = spans[index + 1][0] - 1 if index + 1 < len(spans) else end
        if old != new:
            ties = (*before.list_ties(old, new), *after.list_ties(old, new))
            yield Difference(first, last, old, new, _is_covered(sorted(ties), first, last))


def _find_cuts(*rows: Row) -> tuple[list[int], int]:
    """Return the token counts measured in all rows at which the choice of one may change, and the last measured."""
    ranges = [row.swept_range for row in rows]
    begin, end = max(first for first, _ in ranges), min(last for _, last in ranges)
    limits = (limit + 1 for row in rows for limit in row.limits.values())
    cuts = {begin, *limits, *(first for row in rows for first, _ in row.policy)}
    return sorted(cut for cut in cuts if begin <= cut <= end), end


def _is_covered(ranges: Iterable[Range], first: int, last: int) -> bool:
    """Return whether every count of first..last lies in one of these ascending ranges."""
    reached = first
    for start, end in ranges:
        if start <= reached:
            reached = max(reached, end + 1)
    return reached > last
