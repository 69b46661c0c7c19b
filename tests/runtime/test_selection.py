"""Which entry serves, and the sentence for each that does not."""

import datetime

import pytest

from moesort_tune.runtime.selection import Wanted, select
from moesort_tune.tables.schema import Entry, Kernels
from tests.tables.examples import device, entry, make_published_entry, sweep, table


def make_wanted(**changes: object) -> Wanted:
    """Return an MI300X that runs the builtin kernels by graphs, with a table that the user named."""
    values: dict[str, object] = {
        "arch": "gfx942",
        "compute_units": 304,
        "provider": "builtin",
        "timing": "graph",
        "revision": None,
        "named": True,
    }
    return Wanted(**(values | changes))  # type: ignore[arg-type]


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
    ],
)
def test_entry_of_something_else_is_not_used_and_says_why(one: Entry, changes: dict[str, object], why: str) -> None:
    """A stale or foreign entry that is used in silence is what users of such tables complain about."""
    selection = select(table(one), make_wanted(**changes))
    assert selection.entry is None
    assert selection.not_used == (f"entry of {one.key} is not used: {why}",)


def test_entry_of_the_kernels_that_run_is_used() -> None:
    """The revision is compared where it is known; published figures have none and serve who names them."""
    assert select(table(entry()), make_wanted(revision="5c1e0f")).entry == entry()
    assert (
        select(table(make_published_entry()), make_wanted(provider="aiter", revision="x", timing="eager")).entry
        == make_published_entry()
    )


def test_unknown_compute_units_take_the_nearest_entry_with_a_doubt() -> None:
    """80 and 304 compute units are one architecture; 120 is nearer to 80 by ratio."""
    small, large = entry(device=device(compute_units=80)), entry()
    selection = select(table(small, large), make_wanted(compute_units=120))
    assert selection.entry == small
    assert selection.doubt == (
        "no entry for gfx942 with 120 compute units; the one with 80 is used, and `moesort-tune sweep` on this device"
        " makes a better one"
    )
    assert selection.not_used == (
        f"entry of {large.key} is not used: the one with 80 compute units is nearer to this device",
    )


def test_device_that_is_not_known_takes_the_largest_entry_with_a_doubt() -> None:
    """A table of one size needs no doubt."""
    small, large = entry(device=device(compute_units=80)), entry()
    selection = select(table(small, large), make_wanted(compute_units=None))
    assert selection.entry == large
    assert selection.doubt == (
        "the compute units of this device are not known and the table of gfx942 has entries for 80, 304; the one with"
        " 304 is used, so pass compute_units="
    )
    assert select(table(large), make_wanted(compute_units=None)).doubt is None


def test_newest_of_several_revisions_is_used_where_none_is_asked_for() -> None:
    """Old entries stay in the file; they must not win by standing first."""
    old = entry(kernels=Kernels(provider="builtin", revision="old"))
    new = entry(kernels=Kernels(provider="builtin", revision="new"), sweep=sweep(date=datetime.date(2027, 1, 1)))
    selection = select(table(old, new), make_wanted())
    assert selection.entry == new
    assert selection.not_used == (f"entry of {old.key} is not used: the sweep of revision new is newer or comes first",)


def test_measured_entry_comes_before_published_figures() -> None:
    """Even where the published ones are of just this device."""
    measured = entry(device=device(compute_units=80), kernels=Kernels(provider="aiter", revision="1"))
    selection = select(table(make_published_entry(), measured), make_wanted(provider="aiter"))
    assert selection.entry == measured
    assert selection.not_used == (
        f"entry of {make_published_entry().key} is not used: a measured entry comes before published figures",
    )


def test_every_entry_that_does_not_serve_is_told_once() -> None:
    """Foreign ones and those that came second, so that nobody wonders where an entry went."""
    foreign = entry(kernels=Kernels(provider="aiter", revision="1"))
    small, best = entry(device=device(compute_units=80)), entry()
    selection = select(table(foreign, small, best), make_wanted())
    assert selection.entry == best
    assert selection.not_used == (
        f"entry of {foreign.key} is not used: it is of other kernels: aiter, not builtin",
        f"entry of {small.key} is not used: the one with 304 compute units is nearer to this device",
    )
    assert selection.doubt is None
