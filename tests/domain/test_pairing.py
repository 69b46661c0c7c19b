"""Pairs of keys that need not be equal in every part."""

from collections.abc import Set

import pytest

from moesort_tune.domain.pairing import pair_keys

Key = tuple[str, str]


def drop_last(key: Key) -> Key:
    """Return a key without its second part."""
    return (key[0], "")


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ({("a", "1")}, {("a", "1")}, {("a", "1"): ("a", "1")}),
        ({("a", "1")}, {("a", "2")}, {("a", "1"): ("a", "2")}),
        ({("a", "1")}, {("a", "1"), ("a", "2")}, {("a", "1"): ("a", "1")}),
        ({("a", "1"), ("a", "2")}, {("a", "1"), ("a", "3")}, {("a", "1"): ("a", "1"), ("a", "2"): ("a", "3")}),
        ({("a", "1"), ("a", "2")}, {("a", "3")}, {}),
        ({("a", "1")}, {("b", "1")}, {}),
    ],
)
def test_keys_pair_where_one_of_each_side_is_left(before: Set[Key], after: Set[Key], pairs: dict[Key, Key]) -> None:
    """An equal key comes first, and nothing is guessed where there is a choice."""
    assert pair_keys(before, after, [drop_last]) == pairs
