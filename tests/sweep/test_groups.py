"""Cards are grouped by what they say they are."""

from dataclasses import replace
from typing import Any

from moesort_tune.sweep.fleet.groups import group_workers, name_kinds, select_groups
from moesort_tune.sweep.worker.messages import Worker
from tests.sweep.fakes import FACTS, FakeWorker


def make_card(bus: int, **changes: Any) -> Worker:
    """Return the worker of a card whose device says something else of itself."""
    return FakeWorker({}, facts=replace(FACTS, host="node", pci_address=f"0000:{bus:02x}:00", **changes))


def test_cards_of_one_kind_are_together_the_most_first() -> None:
    """Host and address alone make no other kind; compute units, product and software do."""
    cards = [make_card(1, compute_units=80), make_card(2), make_card(3), make_card(4, device_id="other")]
    assert group_workers(cards) == [[cards[1], cards[2]], [cards[0]], [cards[3]]]


def test_cards_that_differ_in_software_alone_are_left_out_by_name() -> None:
    """A row cannot rest on two drivers: the group with the most cards is swept, and the other one is named."""
    warnings: list[str] = []
    cards = [make_card(1), make_card(2, driver="9.9"), make_card(3)]
    assert select_groups(group_workers(cards), warnings.append) == [[cards[0], cards[2]]]
    assert warnings == [
        "left out, since their software is not that of the 2 others of their kind: node 0000:02:00 with driver 9.9"
        f" instead of {FACTS.driver}; sweep them with --out another file"
    ]


def test_kinds_are_named_by_what_tells_them_apart() -> None:
    """Compute units are enough unless two products have as many; a single kind needs no name."""
    few, many, same = replace(FACTS, compute_units=80), FACTS, replace(FACTS, name="another")
    assert name_kinds([many]) == [""]
    assert name_kinds([many, few]) == [f"{FACTS.compute_units} compute units", "80 compute units"]
    assert name_kinds([many, same]) == [
        f"{FACTS.name}, {FACTS.compute_units} compute units",
        f"another, {FACTS.compute_units} compute units",
    ]
