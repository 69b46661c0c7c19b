"""What changed between two tables, token count by token count."""

import pytest

from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.compare import Difference, compare
from moesort_tune.tables.schema import Evidence, Kernels, Row
from tests.tables.examples import BOTH, device, entry, row, table


def list_differences(before: Row, after: Row) -> list[Difference]:
    """Return the differences of two tables with one row each."""
    (changed,) = compare(table(entry([before])), table(entry([after])))
    return [difference for change in changed.rows for difference in change.differences]


@pytest.mark.parametrize(
    ("ties_before", "ties_after", "in_ties"),
    [
        (((5, 9),), (), True),
        (((5, 7),), ((8, 9),), True),
        (((5, 7),), ((5, 9),), True),
        (((4, 10),), ((6, 7),), True),
        (((5, 8),), (), False),
        (((6, 9),), (), False),
        (((5, 6),), ((8, 9),), False),
    ],
)
def test_change_lies_in_ties_where_they_cover_all_of_it(
    ties_before: tuple[tuple[int, int], ...], ties_after: tuple[tuple[int, int], ...], in_ties: bool
) -> None:
    """The switch moved from 5 to 10: of 5 to 9 tokens each must lie in a tie of either table."""
    old, new = ([(*ends, BOTH) for ends in ties] for ties in (ties_before, ties_after))
    found = list_differences(row(switch=5, tie=tuple(old)), row(switch=10, tie=tuple(new)))
    assert found == [Difference(5, 9, "multiphase", "oneshot", in_ties)]


def test_change_at_every_token_count_ends_with_what_was_measured() -> None:
    """Two rows of one step each that never agree: neither a switch nor a limit cuts them."""
    always = row(switch=None, limits={"oneshot": MAX_TOKENS})
    never = row(policy=((1, "multiphase"),), limits={"oneshot": MAX_TOKENS})
    assert list_differences(always, never) == [Difference(1, 16384, "oneshot", "multiphase", False)]


def test_rows_measured_on_other_token_counts_are_changed() -> None:
    """Protects from silence about a row that was extended, though the counts that both measured choose alike."""
    short, long = (row(evidence=Evidence(tokens=(1, last))) for last in (64, 4096))
    (changed,) = compare(table(entry([short])), table(entry([long])))
    assert (changed.rows[0].swept_ranges, changed.rows[0].differences) == (((1, 64), (1, 4096)), ())


def test_changes_of_a_row_are_told_apart() -> None:
    """Between two changes the tables agree; each change has its own ends, the last one none but oneshot's limit."""
    before = row(switch=10, limits={"oneshot": 100})
    after = row(policy=((1, "oneshot"), (8, "multiphase"), (50, "oneshot")), limits={"oneshot": 100})
    assert list_differences(before, after) == [
        Difference(8, 9, "oneshot", "multiphase", False),
        Difference(50, 100, "multiphase", "oneshot", False),
    ]


def test_entry_of_another_revision_is_the_same_one_changed() -> None:
    """Kernels change with every release; a diff of their tables is about the choices."""
    old = entry([row(switch=10), row(8, 2)], kernels=Kernels(provider="builtin", revision="old"))
    new = entry([row(switch=20), row(8, 2)], kernels=Kernels(provider="builtin", revision="new"))
    (changed,) = compare(table(old), table(new))
    assert (changed.before, changed.after, changed.unchanged) == (old.key, new.key, 1)
    assert [change.shape for change in changed.rows] == [(128, 4)]


def test_entries_that_differ_in_more_than_the_revision_are_not_compared() -> None:
    """One was removed and another added: their choices are not about the same kernels or device."""
    old = entry([row(), row(8, 2)])
    for new in (entry(kernels=Kernels(provider="aiter", revision="1")), entry(device=device(compute_units=80))):
        removed, added = compare(table(old), table(new))
        assert (removed.before, removed.after, removed.unchanged) == (old.key, None, 0)
        assert (added.before, added.after, added.unchanged) == (None, new.key, 0)
        assert [(change.shape, change.after) for change in removed.rows] == [((8, 2), None), ((128, 4), None)]
        assert [(change.shape, change.before) for change in added.rows] == [((128, 4), None)]


def test_revision_with_two_successors_has_none() -> None:
    """Which of two new revisions stands for the old one cannot be known."""
    old, *new = (entry(kernels=Kernels(provider="builtin", revision=name)) for name in ("old", "new", "newer"))
    pairs = [(changed.before, changed.after) for changed in compare(table(old), table(*new))]
    assert pairs == [(old.key, None), (None, new[0].key), (None, new[1].key)]


def test_revision_that_is_there_has_no_other_partner() -> None:
    """An entry that both tables hold is compared with itself; an older one beside it was removed."""
    old, kept = (entry(kernels=Kernels(provider="builtin", revision=name)) for name in ("old", "kept"))
    pairs = [(changed.before, changed.after) for changed in compare(table(old, kept), table(kept))]
    assert pairs == [(old.key, None), (kept.key, kept.key)]


ELSEWHERE = Kernels(provider="elsewhere", revision="1")
"""Kernels of a provider that is not registered here."""


def test_choices_of_three_kernels_are_compared_by_name() -> None:
    """A limit cuts a choice off, and what comes next is in the order in which the rows name their kernels."""
    before = row(policy=((1, "a"), (9, "b"), (40, "c")), limits={"a": 8, "b": 39}, tie=((5, 9, ("a", "b")),))
    after = row(policy=((1, "b"), (30, "c")), limits={"b": 35}, tie=((25, 39, ("a", "b", "c")),))
    (changed,) = compare(*(table(entry([one], kernels=ELSEWHERE)) for one in (before, after)))
    assert changed.rows[0].differences == (
        Difference(1, 8, "a", "b", False),
        Difference(30, 39, "b", "c", True),
    )


def test_tie_of_other_kernels_does_not_excuse_a_change() -> None:
    """From a to c is a change where only a and b were as fast."""
    before, after = row(policy=((1, "a"),), tie=((1, 9, ("a", "b")),)), row(policy=((1, "c"), (10, "a")))
    (changed,) = compare(*(table(entry([one], kernels=ELSEWHERE)) for one in (before, after)))
    assert changed.rows[0].differences == (Difference(1, 9, "a", "c", False),)


def test_candidates_are_the_providers_or_those_that_rows_name() -> None:
    """A registered provider has an order; of another one only the order of appearance is known."""
    mixed = entry([row(policy=((1, "c"), (9, "a")), limits={"b": 5})], kernels=ELSEWHERE)
    assert list_names(mixed) == ("b", "c", "a")
    assert list_names(entry([row(policy=((1, "multiphase"),))])) == ("wave", "oneshot", "multiphase")


def test_entry_of_a_product_is_compared_with_its_own() -> None:
    """Each product's entry has its own successor, whatever their order, also of another revision."""
    old = [entry([row(switch=10)], device=device(id=name)) for name in ("0x74a1", "0x74a5")]
    new = [entry([row()], device=one.device, kernels=Kernels(provider="builtin", revision="new")) for one in old]
    pairs = [(changed.before, changed.after) for changed in compare(table(*old), table(*reversed(new)))]
    assert pairs == [(one.key, other.key) for one, other in zip(old, new, strict=True)]


@pytest.mark.parametrize("revision", ["5c1e0f", "new"])
def test_only_product_is_compared_with_the_other_tables_only_one(revision: str) -> None:
    """The choices of two products are worth comparing, and so are those of a table from before there were ids."""
    new = entry(device=device(id="0x74a5"), kernels=Kernels(provider="builtin", revision=revision))
    for old in (entry(), entry(device=device(id="0x74a1"))):
        (changed,) = compare(table(old), table(new))
        assert (changed.before, changed.after, changed.unchanged) == (old.key, new.key, 1)
    third = entry(device=device(id="0x74a9"))
    assert len(compare(table(entry(), third), table(new))) == 3
