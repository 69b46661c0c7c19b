"""Which candidates may run, and where there is a choice between them."""

import pytest

from moesort_tune.domain.candidates import (
    build_steps,
    choose_by_steps,
    choose_for_no_tokens,
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


@pytest.mark.parametrize(
    ("lasts", "steps"),
    [
        ((12, 100), [(1, "wave"), (13, "block"), (101, "grid")]),
        ((12, 12), [(1, "wave"), (13, "grid")]),
        ((12, 5), [(1, "wave"), (13, "grid")]),
        ((0, 100), [(1, "block"), (101, "grid")]),
        ((-1, 0), [(1, "grid")]),
    ],
)
def test_steps_leave_out_what_would_never_be_chosen(lasts: tuple[int, int], steps: list[tuple[int, str]]) -> None:
    """A rule's steps ascend from one token on, also for a shape whose first kernels take no token of it."""
    wave, block = lasts
    assert build_steps({"wave": wave, "block": block, "grid": MAX_TOKENS}) == steps


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("wave", "oneshot", "multiphase"), "oneshot"),
        (("oneshot", "multiphase"), "oneshot"),
        (("wave", "block", "grid"), "wave"),
        (("grid",), "grid"),
    ],
)
def test_no_tokens_are_oneshots_or_the_first_candidates(names: tuple[str, ...], chosen: str) -> None:
    """Callers of before there was a third kernel keep policy 1 for an empty call; other providers have no oneshot."""
    assert choose_for_no_tokens(names) == chosen
