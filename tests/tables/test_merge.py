"""Two tables in one: what is kept, and which rows gave way."""

import datetime
from typing import Any

import pytest

from moesort_tune.tables.errors import TableError
from moesort_tune.tables.merge import merge_entry, merge_tables
from moesort_tune.tables.schema import Evidence, Kind, LaunchGaps
from tests.tables.examples import device, entry, make_published_entry, row, sweep, table

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
    both = table(entry([row(8, 2), row()]), make_published_entry())
    merged = merge_tables(both, both)
    assert (merged.table, merged.conflicts) == (both, [])


def test_published_figures_have_no_date() -> None:
    """Of two the second's are kept."""
    old, new = (make_published_entry([row(switch=switch, evidence=Evidence(source="a paper"))]) for switch in (20, 30))
    both = merge_tables(table(old), table(new))
    merged, (conflict,) = both.table, both.conflicts
    assert merged == table(new)
    assert (conflict.kept_date, conflict.dropped_date, conflict.kept_from_second) == (None, None, True)


@pytest.mark.parametrize(("better", "worse"), [("measured", "learned"), ("learned", "modelled")])
def test_row_of_the_better_kind_is_kept(better: Kind, worse: Kind) -> None:
    """What ran comes before what was computed, and a sweep before a serving process, be they the later ones."""
    good, poor = entry([row(switch=20)], evidence=better), entry(evidence=worse, sweep=sweep(date=LATER))
    for tables in ((table(good), table(poor)), (table(poor), table(good))):
        merged = merge_tables(*tables).table.tables[0]
        assert [(merged.get_kind(kept), kept.policy) for kept in merged.rows] == [(better, row(switch=20).policy)]


def test_row_says_its_kind_where_its_new_entry_has_another() -> None:
    """And no longer where the kinds are the same."""
    learned = entry([row(8, 2)], evidence="learned", sweep=sweep(date=LATER))
    merged = merge_entry(table(entry()), learned).tables[0]
    assert (merged.evidence, [kept.evidence.kind for kept in merged.rows]) == ("learned", [None, "measured"])
    again = merge_entry(table(merged), entry([row(16, 2)])).tables[0]
    assert [(kept.shape, kept.evidence.kind) for kept in again.rows] == [
        *(((8, 2), "learned"), ((16, 2), None), ((128, 4), None)),
    ]


def test_entry_keeps_its_launch_gap_until_a_sweep_measures_another() -> None:
    """Rows that a serving process learned bring none, and do not take the sweep's away."""
    swept = table(entry(launch_gap_us=LaunchGaps(graph=1.0, replay=2.0, eager=4.0)))
    learned = merge_entry(swept, entry([row(8, 2)], evidence="learned"))
    assert learned.tables[0].launch_gap_us == swept.tables[0].launch_gap_us
    newer = LaunchGaps(graph=1.1, replay=2.1, eager=4.1)
    assert merge_entry(learned, entry([row(8, 2)], launch_gap_us=newer)).tables[0].launch_gap_us == newer


@pytest.mark.parametrize(
    ("settings", "changed", "words"),
    [
        ({"ep": 4}, {"ep": 8}, "ep=4 in the first table and with ep=8 in"),
        ({}, {"model_dim": 7168}, "model_dim=4096 in the first table and with model_dim=7168 in"),
    ],
)
def test_rows_of_other_settings_are_no_choice_for_a_merge(
    settings: dict[str, Any], changed: dict[str, Any], words: str
) -> None:
    """Protects rows of one condition from those that were measured otherwise."""
    first, second = (entry([row(switch=20)], sweep=sweep(**one)) for one in (settings, settings | changed))
    with pytest.raises(TableError, match=f"measured with {words}"):
        merge_tables(table(first), table(second))


@pytest.mark.parametrize("settings", [{"moe_buf": False}, {"masked": True}, {"ep": 4}])
def test_conditions_stand_side_by_side(settings: dict[str, Any]) -> None:
    """Calls without a moe_buf, or with a mask, have rows of their own."""
    other = entry([row(switch=20)], sweep=sweep(**settings))
    both = merge_tables(table(), table(other))
    assert (both.table, both.conflicts, both.differences) == (table(entry(), other), [], [])
    again = entry([row(switch=31)], sweep=sweep(**settings))
    assert merge_entry(both.table, again) == table(entry(), again)


def test_columns_of_a_moe_buf_that_is_absent_mean_nothing() -> None:
    """Rows without a moe_buf are alike whatever size it would have had."""
    first, second = (
        entry([row(switch=switch)], sweep=sweep(moe_buf=False, model_dim=columns, dtype=dtype))
        for switch, columns, dtype in ((20, 4096, "bfloat16"), (21, 7168, "float16"))
    )
    assert merge_tables(table(first), table(second)).table == table(second)


@pytest.mark.parametrize("known", ["0x74a1", None])
def test_products_stand_side_by_side(known: str | None) -> None:
    """A sweep on an MI325X leaves the rows of an MI300X alone, and those of which nobody knows the product."""
    one, other = (entry([row(switch=switch)], device=device(id=name)) for switch, name in ((20, known), (30, "0x74a5")))
    assert merge_entry(table(one), other) == table(one, other)
    both = merge_tables(table(one), table(other))
    assert (both.table, both.conflicts, both.differences) == (table(one, other), [], [])
    again = entry([row(switch=31)], device=device(id="0x74a5"))
    assert merge_entry(both.table, again) == table(one, again)
