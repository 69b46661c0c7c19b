"""Two tables in one: what is kept, and which rows gave way."""

import datetime

import pytest

from moesort_tune.tables.merge import merge_tables
from moesort_tune.tables.schema import Evidence
from tests.tables.examples import entry, published, row, sweep, table

LATER = datetime.date(2026, 12, 1)


def test_conflicts_of_every_entry_are_told_by_shape() -> None:
    """A person sees each row that gave way: none is lost behind those of another entry."""
    old, new = [row(8, 2, 900), row(64, 6, 41)], [row(8, 2, 800), row(64, 6, 40)]
    first = table(*(entry(old, sweep=sweep(timing=timing)) for timing in ("graph", "eager")))
    second = table(*(entry(new, sweep=sweep(timing=timing, date=LATER)) for timing in ("graph", "eager")))
    both = merge_tables(first, second)
    merged, conflicts = both.table, both.conflicts
    assert merged == second
    assert [(conflict.key.timing, conflict.kept.policy, conflict.dropped.policy) for conflict in conflicts] == [
        (timing, kept.policy, dropped.policy)
        for timing in ("graph", "eager")
        for kept, dropped in zip(new, old, strict=True)
    ]


@pytest.mark.parametrize("first_is_later", [True, False])
def test_row_measured_later_is_kept(first_is_later: bool) -> None:
    """From whichever table it comes; the conflict says from which and when."""
    later, earlier = entry([row(switch=20)], sweep=sweep(date=LATER)), entry([row(switch=25)])
    tables = (table(later), table(earlier)) if first_is_later else (table(earlier), table(later))
    both = merge_tables(*tables)
    merged, (conflict,) = both.table, both.conflicts
    assert merged == table(later)
    assert (conflict.kept.policy, conflict.dropped.policy) == (row(switch=20).policy, row(switch=25).policy)
    assert (conflict.kept_date, conflict.dropped_date) == (LATER, sweep().date)
    assert conflict.kept_from_second is (not first_is_later)


def test_row_of_the_second_table_is_kept_of_two_as_late() -> None:
    """And with it the settings of its entry, under which the first one's other rows say their own."""
    first = entry([row(switch=25), row(8, 2)], sweep=sweep(seed=1))
    second = entry([row(switch=20)], sweep=sweep(seed=2))
    both = merge_tables(table(first), table(second))
    merged, (conflict,) = both.table, both.conflicts
    assert conflict.kept_from_second
    assert merged.tables[0].sweep == second.sweep
    assert [found.sweep for found in merged.tables[0].rows] == [first.sweep, None]


def test_entry_is_not_dated_by_a_sweep_of_which_no_row_is_kept() -> None:
    """Else the table would name a day, and a device, of which nothing in it was measured."""
    wide = entry([row(evidence=Evidence(points=14, tokens=(1, 4096)))])
    narrow = entry([row(evidence=Evidence(points=14, tokens=(1, 64)))], sweep=sweep(date=LATER))
    for tables in ((wide, narrow), (narrow, wide)):
        assert merge_tables(*map(table, tables)).table == table(wide)


def test_equal_rows_are_no_conflict() -> None:
    """Merging a table into itself changes nothing and warns of nothing, published figures included."""
    both = table(entry([row(8, 2), row()]), published())
    merged = merge_tables(both, both)
    assert (merged.table, merged.conflicts) == (both, [])


def test_published_figures_have_no_date() -> None:
    """Of two the second's are kept."""
    old, new = (published([row(switch=switch, evidence=Evidence(source="a paper"))]) for switch in (20, 30))
    both = merge_tables(table(old), table(new))
    merged, (conflict,) = both.table, both.conflicts
    assert merged == table(new)
    assert (conflict.kept_date, conflict.dropped_date, conflict.kept_from_second) == (None, None, True)
