"""What a refused table says: the place, what was expected there, and what is there."""

from typing import Any

import pytest

from moesort_tune.tables.errors import RefusedError, format_key, shorten
from moesort_tune.tables.reader import parse
from moesort_tune.tables.validation import to_table
from tests.tables.examples import EXAMPLE


def catch_refusal(place: tuple[Any, ...], value: object) -> str:
    """Return the sentence for the documented table with another value at a place."""
    table: Any = parse(EXAMPLE.encode())
    *above, last = place
    part = table
    for step in above:
        part = part[step]
    part[last] = value
    with pytest.raises(RefusedError) as refused:
        to_table(table)
    return str(refused.value)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("tables",), {"a": 1, "b": 2}, "tables: expected a list with at least one item, got a mapping of 2"),
        (("tables",), [], "tables: expected a list with at least one item, got a list of 0"),
        (("tables", 0, "device"), [1, 2], "tables[0].device: expected a mapping, got a list of 2"),
        (("tables", 0, "rows", 0, "tie"), "none", "tables[0].rows[0].tie: expected a list, got 'none'"),
        (("tables", 0, "rows", 0, "topk"), None, "tables[0].rows[0].topk: expected int >= 1, got nothing"),
        (("tables", 0, "sweep", "seed"), 1.5, "tables[0].sweep.seed: expected int, got 1.5"),
        (("tables", 0, "sweep", "cold"), "no", "tables[0].sweep.cold: expected true or false, got 'no'"),
    ],
)
def test_wrong_value_is_told_with_what_was_expected(place: tuple[Any, ...], value: object, sentence: str) -> None:
    """Whoever edits a table by hand reads where, what is there, and what should be."""
    assert catch_refusal(place, value) == sentence


@pytest.mark.parametrize(("key", "sentence"), [("arch", "arch: missing"), ("tables", "tables: missing")])
def test_missing_key_at_the_top_is_told_by_its_name(key: str, sentence: str) -> None:
    """The top of a table has no place above it."""
    table: Any = parse(EXAMPLE.encode())
    del table[key]
    with pytest.raises(RefusedError) as refused:
        to_table(table)
    assert str(refused.value) == sentence


def test_long_text_is_shortened_and_says_how_long_it_was() -> None:
    """A value of a megabyte does not fill a terminal; one of 60 characters is shown whole."""
    assert shorten("x" * 60) == "x" * 60
    assert shorten("x" * 61) == "x" * 60 + "... (61 characters)"


def test_key_that_is_no_word_is_quoted() -> None:
    """Keys come from whoever wrote the file: spaces and control characters are shown, not printed."""
    assert [format_key(key) for key in ("num_experts", "num experts", "a\x1b[1m")] == [
        *("num_experts", "'num experts'", "'a\\x1b[1m'"),
    ]
    assert format_key("k" * 61) == "'" + "k" * 59 + "... (63 characters)"
