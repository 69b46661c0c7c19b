"""Entries of moe_align_block_size: what is one, and what keeps it apart from those of moe_sorting."""

from typing import Any

import pytest

from moesort_tune.domain.vocabulary import ALIGN
from moesort_tune.tables.compare import compare
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.merge import merge_entry, merge_tables
from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import Evidence, Kernels
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.writer import to_yaml
from tests.tables.examples import align_entry, entry, make_published_entry, row, sweep, table


def test_entry_is_read_back_as_it_was_written() -> None:
    """Protects the field from a default that hides it in the file."""
    one = table(entry(), align_entry())
    assert to_table(parse(to_yaml(one).encode())) == one
    assert to_yaml(one).count("- operation: moe_align_block_size\n") == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"operation": "moe_sorting"},
            "tables[0].operation: expected moe_align_block_size, which the kernels of align compute, got moe_sorting",
        ),
        ({"sweep": sweep()}, "tables[0].sweep.moe_buf: expected false, the only condition of moe_align_block_size"),
        (
            {"sweep": sweep(moe_buf=False, ep=4)},
            "tables[0].sweep.masked: expected false, the only condition of moe_align_block_size",
        ),
        (
            {"kernels": Kernels(provider="aiter", revision="1")},
            "tables[0].operation: expected moe_sorting, which the kernels of aiter compute, got moe_align_block_size",
        ),
    ],
)
def test_entry_that_contradicts_itself_is_refused(changes: dict[str, Any], reason: str) -> None:
    """A row decides only for what was measured: the operation of its provider, under its one condition."""
    with pytest.raises(RefusedError) as refused:
        to_table(parse(to_yaml(table(align_entry(**changes))).encode()))
    assert str(refused.value) == reason


def test_published_figures_may_be_of_the_operation() -> None:
    """They have no sweep that could name a condition."""
    evidence = Evidence(source="https://example.org/figures")
    kernels = Kernels(provider="align")
    one = make_published_entry([row(evidence=evidence)], kernels=kernels, operation=ALIGN)
    assert to_table(parse(to_yaml(table(one)).encode())).tables[0].key.operation == ALIGN


def test_operation_of_an_unknown_provider_is_taken_from_the_table() -> None:
    """A table may travel to a machine without the provider's package; its entries stay apart all the same."""
    kernels = Kernels(provider="elsewhere", revision="1")
    one = table(
        entry(kernels=kernels, sweep=sweep(moe_buf=False)),
        align_entry(kernels=kernels),
    )
    assert to_table(parse(to_yaml(one).encode())) == one


def test_key_names_the_operation_in_place_of_its_condition() -> None:
    """What a person reads of an entry says what its kernels compute, and nothing that is true of all such entries."""
    assert str(align_entry().key) == "304 compute units, align, a11f0e, graph, moe_align_block_size"
    assert str(entry(sweep=sweep(moe_buf=False)).key).endswith("graph, without moe_buf")


def test_entries_of_two_operations_are_merged_side_by_side() -> None:
    """Rows of one shape, device and condition do not conflict where they are of different operations."""
    sorting, align = entry([row(switch=20)], sweep=sweep(moe_buf=False)), align_entry([row(switch=30)])
    merged = merge_tables(table(sorting), table(align))
    assert (merged.table, merged.conflicts) == (table(sorting, align), [])
    assert merge_entry(table(align), sorting) == table(align, sorting)


def test_entries_of_two_operations_are_not_compared() -> None:
    """`diff` reports the one as removed and the other as added, also where all else is alike."""
    kernels = Kernels(provider="elsewhere", revision="1")
    sorting = entry(kernels=kernels, sweep=sweep(moe_buf=False))
    changes = compare(table(sorting), table(align_entry(kernels=kernels)))
    assert [(change.before is None, change.after is None) for change in changes] == [(False, True), (True, False)]
