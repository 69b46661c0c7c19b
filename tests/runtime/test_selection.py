"""Which entry serves, and the sentence for each that does not."""

import datetime
from pathlib import Path

import pytest

from moesort_tune.domain.vocabulary import Condition
from moesort_tune.runtime.selection import (
    Selected,
    Source,
    Wanted,
    choose_source,
    find_usable,
    order_by_date,
    select_sources,
)
from moesort_tune.tables.schema import Entry, Kernels, Table
from tests.tables.examples import device, entry, make_published_entry, sweep, table


def make_wanted(**changes: object) -> Wanted:
    """Return an MI300X that runs the builtin kernels by graphs, with a table that the user named."""
    values: dict[str, object] = {
        "arch": "gfx942",
        "provider": "builtin",
        "timing": "graph",
        "revision": None,
        "named": True,
    }
    return Wanted(**(values | changes))  # type: ignore[arg-type]


PATH = Path("t.yaml")


def select(given: Table, compute_units: int | None = 304, **changes: object) -> Selected:
    """Select from one table as a search does."""
    wanted = make_wanted(**changes)
    usable, not_used = find_usable(given, wanted)
    sources = [Source(PATH, "", one) for one in order_by_date(usable)]
    selected = select_sources("gfx942", sources, compute_units, one_revision=wanted.revision is None)
    return Selected(selected.sources, [*not_used, *selected.not_used], selected.doubt)


def list_entries(selected: Selected) -> list[Entry]:
    """Return the entries that serve."""
    return [source.entry for source in selected.sources]


@pytest.mark.parametrize(
    ("one", "changes", "why"),
    [
        (entry(), {"arch": "gfx950"}, "it is of gfx942, not of gfx950"),
        (entry(), {"provider": "aiter"}, "it is of other kernels: builtin, not aiter"),
        (entry(), {"timing": "eager"}, "it was timed graph, not eager"),
        (
            entry(),
            {"revision": "77"},
            "its kernels have changed: revision 5c1e0f was measured, 77 runs; sweep again",
        ),
        (
            make_published_entry(),
            {"provider": "aiter", "named": False},
            "published figures are used only where their file is named",
        ),
        (
            entry(evidence="modelled"),
            {"named": False},
            "modelled figures are used only where their file is named",
        ),
        (entry(evidence="modelled"), {"timing": "eager"}, "it was timed graph, not eager"),
    ],
)
def test_entry_of_something_else_is_not_used_and_says_why(one: Entry, changes: dict[str, object], why: str) -> None:
    """A stale or foreign entry that is used in silence is what users of such tables complain about."""
    selection = select(table(one), 304, **changes)
    assert selection.sources == []
    assert selection.not_used == [f"entry of {one.key} is not used: {why}"]


def test_entry_of_the_kernels_that_run_is_used() -> None:
    """The revision is compared where it is known; published figures have none and serve who names them."""
    assert list_entries(select(table(entry()), revision="5c1e0f")) == [entry()]
    published = make_published_entry()
    assert list_entries(select(table(published), provider="aiter", revision="x", timing="eager")) == [published]


def test_modelled_entry_serves_who_names_it_whatever_code_runs() -> None:
    """A model is of one revision; whoever names its file has decided that it is near enough to the code that runs."""
    modelled = entry(evidence="modelled")
    assert list_entries(select(table(modelled), revision="77")) == [modelled]


def test_unknown_compute_units_take_the_nearest_entry_with_a_doubt() -> None:
    """80 and 304 compute units are one architecture; 120 is nearer to 80 by ratio."""
    small, large = entry(device=device(compute_units=80)), entry()
    selection = select(table(small, large), compute_units=120)
    assert list_entries(selection) == [small]
    assert selection.doubt == (
        "no entry for gfx942 with 120 compute units; the one with 80 is used, and `moesort-tune sweep` on this device"
        " makes a better one"
    )
    assert selection.not_used == [
        f"t.yaml: entry of {large.key} is not used: the one with 80 compute units is nearer to this device"
    ]


def test_device_that_is_not_known_takes_the_largest_entry_with_a_doubt() -> None:
    """A table of one size needs no doubt."""
    small, large = entry(device=device(compute_units=80)), entry()
    selection = select(table(small, large), compute_units=None)
    assert list_entries(selection) == [large]
    assert selection.doubt == (
        "the compute units of this device are not known and the table of gfx942 has entries for 80, 304; the one with"
        " 304 is used, so pass compute_units="
    )
    assert select(table(large), compute_units=None).doubt is None


def test_newest_of_several_revisions_is_used_where_none_is_asked_for() -> None:
    """Old entries stay in the file; they must not win by standing first."""
    old = entry(kernels=Kernels(provider="builtin", revision="old"))
    new = entry(kernels=Kernels(provider="builtin", revision="new"), sweep=sweep(date=datetime.date(2027, 1, 1)))
    selection = select(table(old, new))
    assert list_entries(selection) == [new]
    assert selection.not_used == [
        f"t.yaml: entry of {old.key} is not used: the sweep of revision new is newer or comes first"
    ]


def test_measured_entry_comes_before_published_figures() -> None:
    """Even where the published ones are of just this device."""
    measured = entry(device=device(compute_units=80), kernels=Kernels(provider="aiter", revision="1"))
    selection = select(table(make_published_entry(), measured), provider="aiter")
    assert list_entries(selection) == [measured]
    assert selection.not_used == [
        f"t.yaml: entry of {make_published_entry().key} is not used: a measured entry comes before published figures"
    ]


def test_published_figures_come_before_modelled_ones() -> None:
    """Protects the times that somebody took from a model, whose revision and date they cannot have."""
    modelled = entry(evidence="modelled", kernels=Kernels(provider="aiter", revision="1"))
    for revision in (None, "1"):
        selection = select(table(modelled, make_published_entry()), provider="aiter", revision=revision)
        assert list_entries(selection) == [make_published_entry()]
        assert selection.not_used == [
            f"t.yaml: entry of {modelled.key} is not used: published figures come before modelled ones"
        ]


def test_reason_does_not_call_a_model_a_sweep() -> None:
    """Protects the reader of `show --lookup` from a sweep that never was."""
    old, new = (
        entry(evidence="modelled", kernels=Kernels(provider="builtin", revision=revision), sweep=sweep(date=day))
        for revision, day in (("old", datetime.date(2026, 1, 1)), ("new", datetime.date(2027, 1, 1)))
    )
    assert select(table(old, new)).not_used == [
        f"t.yaml: entry of {old.key} is not used: the modelled entry of revision new is newer or comes first"
    ]


def test_every_entry_that_does_not_serve_is_told_once() -> None:
    """Foreign ones and those that came second, so that nobody wonders where an entry went."""
    foreign = entry(kernels=Kernels(provider="aiter", revision="1"))
    small, best = entry(device=device(compute_units=80)), entry()
    selection = select(table(foreign, small, best))
    assert list_entries(selection) == [best]
    assert selection.not_used == [
        f"entry of {foreign.key} is not used: it is of other kernels: aiter, not builtin",
        f"t.yaml: entry of {small.key} is not used: the one with 304 compute units is nearer to this device",
    ]
    assert selection.doubt is None


USUAL = Condition()


def choose(*entries: Entry, exact: tuple[bool, ...], condition: Condition = USUAL) -> Entry:
    """Return the entry that decides a shape on an MI300X. exact: which of them have its row."""
    sources = [Source(PATH, "", one) for one in entries]
    return entries[choose_source(sources, exact=exact, condition=condition, device_id="0x74a1")]


def test_exact_row_comes_before_condition_and_condition_before_product() -> None:
    """Protects the order that docs/runtime.md states, each step of it against the next."""
    plain = entry()
    without = entry(sweep=sweep(moe_buf=False))
    mi325x = entry(device=device(id="0x74a5"))
    mi300x = entry(device=device(id="0x74a1"))
    asked = Condition(moe_buf=False)
    assert choose(plain, without, exact=(True, False), condition=asked) == plain
    assert choose(plain, without, exact=(True, True), condition=asked) == without
    assert choose(mi300x, without, exact=(True, True), condition=asked) == without
    assert choose(mi325x, mi300x, exact=(True, True)) == mi300x
    assert choose(mi325x, plain, exact=(True, True)) == mi325x  # of two other products the earlier place decides


def test_moe_buf_counts_more_than_the_mask() -> None:
    """Protects a masked call without moe_buf: zeroing changes a sort's time more than a mask does."""
    masked, without = entry(sweep=sweep(ep=4)), entry(sweep=sweep(moe_buf=False))
    asked = Condition(moe_buf=False, masked=True)
    assert choose(masked, without, exact=(True, True), condition=asked) == without
