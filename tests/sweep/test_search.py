"""The search finds every change of the winner that its ladder can see."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.measure.verdict import Verdict
from moesort_tune.sweep.search import Judged, TokenRange, ladder, most_important_gap, search_token_counts

Truth = Callable[[int], Verdict]


def searched(
    truth: Truth, rungs: list[int], ratio: Callable[[int], float | None] = lambda _: None, **limits: int
) -> dict[int, Verdict]:
    """What the search measured when every measurement told the truth."""
    search = search_token_counts(rungs, **limits)
    verdicts: dict[int, Verdict] = {}
    try:
        tokens = next(search)
        while True:
            verdicts[tokens] = truth(tokens)
            tokens = search.send(Judged(verdicts[tokens], ratio(tokens)))
    except StopIteration:
        return verdicts


def crossing(tie_first: int, switch: int) -> Truth:
    """Oneshot below `tie_first`, a tie up to `switch`, multiphase from there."""

    def truth(tokens: int) -> Verdict:
        if tokens < tie_first:
            return Verdict.ONESHOT
        return Verdict.TIE if tokens < switch else Verdict.MULTIPHASE

    return truth


def test_ladder_holds_both_ends_and_the_landmarks() -> None:
    """First, last and the points where rules switch are always measured, and nothing outside the range."""
    rungs = ladder(TokenRange(5, 1000), [57, 4, 2000])
    assert rungs == [5, 6, 8, 12, 16, 24, 32, 48, 57, 64, 96, 128, 192, 256, 384, 512, 768, 1000]


def test_ladder_has_finer_steps_from_1024_tokens() -> None:
    """Launches change shape there: the wide steps below would hide a kernel that wins from 2056 to 2304 tokens."""
    assert ladder(TokenRange(600, 8000)) == [
        *(600, 768, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8000),
    ]


def test_ladder_of_one_count_is_that_count() -> None:
    """A range of one token count is a valid sweep."""
    assert ladder(TokenRange(7, 7)) == [7]


@given(st.integers(1, 2000), st.integers(0, 300), st.integers(1, 2000))
def test_search_brackets_a_crossing_to_adjacent_counts(tie_first: int, width: int, last: int) -> None:
    """Both edges of the tie, or the switch itself, are found exactly wherever they lie."""
    truth = crossing(tie_first, tie_first + width)
    verdicts = searched(truth, ladder(TokenRange(1, last)))
    changes = [(low, high) for low, high in pairwise(sorted(verdicts)) if verdicts[low] is not verdicts[high]]
    assert all(high - low == 1 for low, high in changes)
    assert concluded(verdicts, last) == [truth(tokens) for tokens in range(1, last + 1)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_search_finds_several_crossings(changes: list[int]) -> None:
    """A winner that changes more than once is found wherever a rung lies between two changes."""
    starts = sorted(2**change + 1 for change in changes)

    def truth(tokens: int) -> Verdict:
        passed = sum(tokens >= start for start in starts)
        return Verdict.MULTIPHASE if passed % 2 else Verdict.ONESHOT

    verdicts = searched(truth, ladder(TokenRange(1, 1024)))
    assert concluded(verdicts, 1024) == [truth(tokens) for tokens in range(1, 1025)]


def test_search_without_a_crossing_measures_only_the_ladder() -> None:
    """No change, no bisection: the cheap case stays cheap."""
    rungs = ladder(TokenRange(1, 4096))
    assert sorted(searched(lambda _: Verdict.ONESHOT, rungs)) == rungs


def test_winner_between_two_rungs_is_found_where_the_loser_came_close() -> None:
    """oneshot's time drops at 2305 tokens, as it did on an H100: multiphase wins below, and oneshot at both rungs."""

    def truth(tokens: int) -> Verdict:
        return Verdict.MULTIPHASE if 2081 <= tokens < 2305 else Verdict.ONESHOT

    verdicts = searched(truth, [1, 1024, 2048, 2560, 4096], lambda tokens: 0.98 if tokens == 2048 else 0.86)
    assert concluded(verdicts, 4096) == [truth(tokens) for tokens in range(1, 4097)]


def test_look_between_rungs_ends_where_they_are_narrow() -> None:
    """The look costs a few points beside the rung that was close, and none where the winner was clear."""
    verdicts = searched(
        lambda _: Verdict.ONESHOT, [1, 1024, 2048, 4096, 8192], lambda tokens: 0.95 if tokens == 2048 else 0.5
    )
    added = sorted(set(verdicts) - {1, 1024, 2048, 4096, 8192})
    assert added == [1536, 1792, 1920, 2176, 2304, 2560, 3072]


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_search_of_pure_noise_ends(rng: object, max_points: int) -> None:
    """Verdicts that flicker at random cannot keep the search going past its bound."""
    choose = rng.choice  # type: ignore[attr-defined]
    rungs = ladder(TokenRange(1, 4096))
    verdicts = searched(lambda _: choose(list(Verdict)), rungs, max_points=max_points)
    assert len(verdicts) <= max(max_points, len(rungs))


def test_search_under_a_bound_looks_at_the_change_of_kernel_first() -> None:
    """With few points left, where the choice changes matters more than where a tie ends."""
    truth = {1: Verdict.TIE, 100: Verdict.ONESHOT, 110: Verdict.MULTIPHASE}
    verdicts = searched(lambda tokens: truth.get(tokens, Verdict.ONESHOT), [1, 100, 110], max_points=4)
    assert sorted(verdicts) == [1, 100, 105, 110]


ONE, MANY, TIE = (Judged(verdict) for verdict in (Verdict.ONESHOT, Verdict.MULTIPHASE, Verdict.TIE))
CLOSE = Judged(Verdict.ONESHOT, 0.95)


@pytest.mark.parametrize(
    ("judged", "gap"),
    [
        ({10: ONE, 30: MANY, 1000: MANY, 1500: ONE}, (10, 30)),
        ({10: ONE, 12: MANY, 100: MANY, 300: ONE}, (100, 300)),
        ({1: TIE, 100: ONE, 110: MANY}, (100, 110)),
        ({1: CLOSE, 100: ONE, 110: MANY}, (100, 110)),
        ({1: TIE, 100: CLOSE, 120: ONE}, (100, 120)),
        ({1: ONE, 2: MANY, 3: ONE, 90: ONE, 91: TIE, 93: TIE}, None),
        ({30: CLOSE, 33: ONE}, None),
        ({30: CLOSE, 34: ONE}, (30, 34)),
        ({30: ONE, 34: CLOSE}, (30, 34)),
        ({30: Judged(Verdict.ONESHOT, 1 / 1.11), 60: ONE}, None),
        ({30: Judged(Verdict.MULTIPHASE, 1.09), 60: MANY}, (30, 60)),
        ({30: Judged(Verdict.TIE, 1.0), 60: Judged(Verdict.TIE, 1.0)}, None),
    ],
)
def test_search_goes_where_most_may_be_found(judged: dict[int, Judged], gap: tuple[int, int] | None) -> None:
    """A change of kernel before a close loser before the edge of a tie, the widest by ratio, and nothing narrow."""
    assert most_important_gap(judged) == gap


def concluded(verdicts: dict[int, Verdict], last: int) -> list[Verdict]:
    """Verdict of every count 1..last: that of the nearest measured count below."""
    result: list[Verdict] = []
    for tokens in range(1, last + 1):
        result.append(verdicts.get(tokens, result[-1] if result else Verdict.TIE))
    return result
