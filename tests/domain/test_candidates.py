"""Which candidates may run, and where there is a choice between them."""

import pytest

from moesort_tune.domain.candidates import (
    choose_by_steps,
    choose_legal,
    find_last_contested,
    list_legal_kernels,
)
from moesort_tune.domain.vocabulary import MAX_TOKENS

LIMITS = {"wave": 12, "block": 100, "grid": MAX_TOKENS}


@pytest.mark.parametrize(
    ("limits", "last"),
    [
        (LIMITS, 100),
        ({"grid": MAX_TOKENS}, 0),
        ({"oneshot": 0, "multiphase": MAX_TOKENS}, 0),
        ({"oneshot": -1, "multiphase": MAX_TOKENS}, 0),
        ({"block": MAX_TOKENS, "wave": 12, "grid": MAX_TOKENS}, MAX_TOKENS),
    ],
)
def test_last_contested_count_is_the_last_with_two_legal_kernels(limits: dict[str, int], last: int) -> None:
    """Past it nothing is measured, since there is nothing to choose; a single candidate is never contested."""
    assert find_last_contested(limits) == last
    if 0 < last < MAX_TOKENS:
        assert [len(list_legal_kernels(tokens, limits)) > 1 for tokens in (last, last + 1)] == [True, False]


@pytest.mark.parametrize(
    ("tokens", "legal"),
    [(0, ("wave", "block", "grid")), (12, ("wave", "block", "grid")), (13, ("block", "grid")), (101, ("grid",))],
)
def test_legal_kernels_keep_their_order(tokens: int, legal: tuple[str, ...]) -> None:
    """A limit is the last token count that a kernel takes; the order decides ties."""
    assert list_legal_kernels(tokens, LIMITS) == legal


@pytest.mark.parametrize(
    ("kernel", "tokens", "chosen"),
    [("wave", 12, "wave"), ("wave", 13, "block"), ("block", 101, "grid"), ("grid", 1, "grid")],
)
def test_kernel_past_its_limit_gives_way_to_the_next(kernel: str, tokens: int, chosen: str) -> None:
    """A table never runs a kernel that would fail."""
    assert choose_legal(kernel, tokens, LIMITS) == chosen


def test_earlier_candidate_is_taken_if_no_later_one_may_run() -> None:
    """The next in order comes first, also around the end; where none may run the last one remains."""
    assert choose_legal("grid", 50, {"wave": 12, "block": 100, "grid": 20}) == "block"
    assert choose_legal("wave", 500, {"wave": 12, "block": 100, "grid": 20}) == "grid"


def test_unknown_kernel_is_refused() -> None:
    """A name that a table spells otherwise is an error rather than a choice."""
    with pytest.raises(ValueError, match="expected wave or block or grid, got 'wavy'"):
        choose_legal("wavy", 1, LIMITS)


@pytest.mark.parametrize(("tokens", "chosen"), [(1, "wave"), (12, "wave"), (13, "grid"), (5000, "grid")])
def test_step_holds_from_its_first_token_count_on(tokens: int, chosen: str) -> None:
    """A rule's step is taken at the very count that it names."""
    assert choose_by_steps([(1, "wave"), (13, "grid")], tokens) == chosen
