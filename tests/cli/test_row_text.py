"""Rows in words: what they choose where they were measured, and nothing beyond."""

from typing import Any

import pytest

from moesort_tune.cli.row_text import format_choice, format_row, format_ties, list_measured_steps, list_measured_ties
from moesort_tune.tables.schema import Evidence, Row
from tests.tables.examples import BOTH, row


def make_row(switch: int | None, tokens: tuple[int, int] | None, **changes: Any) -> Row:
    """Return a row that was measured on `tokens`."""
    return row(switch=switch, evidence=Evidence(tokens=tokens), **changes)


@pytest.mark.parametrize(
    ("one", "line", "choice"),
    [
        (
            make_row(9569, (1, 16), limits={"oneshot": 9568}),
            "1-16 oneshot (limit 9568 not measured)",
            "1-16 oneshot (limit 9568 not measured)",
        ),
        (
            make_row(22, (1, 64), tie=((19, 21, BOTH),), limits={"oneshot": 9568}),
            "1-21 oneshot | 22-64 multiphase (tie 19-21)",
            "1-21 oneshot | 22-64 multiphase",
        ),
        (
            make_row(None, (8, 64), tie=((4, 9, BOTH), (60, 80, BOTH), (90, 99, BOTH))),
            "8-64 oneshot (limit 1024 not measured, tie 8-9, 60-64)",
            "8-64 oneshot (limit 1024 not measured)",
        ),
        (
            make_row(22, (8, 64)),
            "8-21 oneshot | 22-64 multiphase",
            "8-21 oneshot | 22-64 multiphase",
        ),
        (make_row(22, (30, 64)), "30-64 multiphase", "30-64 multiphase"),
        (make_row(None, (1, 1024)), "1-1024 oneshot", "1-1024 oneshot"),
        (make_row(None, None), "1-16384 oneshot (limit 1024)", "1-16384 oneshot (limit 1024)"),
        (make_row(None, None, limits={}), "1-16384 oneshot", "1-16384 oneshot"),
    ],
)
def test_words_end_with_the_swept_range(one: Row, line: str, choice: str) -> None:
    """Protects from claims: a sweep of 1 to 16 tokens says nothing of 2000, however far its kernel's limit reaches."""
    assert (format_row(one), format_choice(one)) == (line, choice)


def test_ties_of_three_kernels_name_them() -> None:
    """Protects from reading that all were as fast."""
    three = row(policy=((1, "wave"), (9, "oneshot"), (30, "multiphase")), tie=((19, 19, BOTH),))
    assert (format_ties(three), format_ties(row())) == ("19 oneshot=multiphase", "none")


def test_measured_steps_and_ties_are_what_a_picture_shows() -> None:
    """Protects plots from switch lines and ties where nothing was timed."""
    one = row(policy=((1, "oneshot"), (25, "multiphase"), (90, "oneshot")), tie=((80, 99, BOTH), (70, 79, BOTH)))
    narrow = row(policy=one.policy, tie=one.tie, evidence=Evidence(tokens=(16, 79)))
    assert list_measured_steps(narrow) == [(16, 24, "oneshot"), (25, 79, "multiphase")]
    assert list_measured_ties(narrow) == [(70, 79, BOTH)]
