"""The search finds every change of the winner that its ladder can see."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.measure.verdict import Verdict
from moesort_tune.sweep.search import (
    Gap,
    Judged,
    TokenRange,
    _rate_gap,
    build_ladder,
    find_most_important_gap,
    search_token_counts,
)
from tests.sweep.kernels import MANY, ONE, TIE, VERDICTS

Truth = Callable[[int], Verdict]


def search(
    truth: Truth, rungs: list[int], ratio: Callable[[int], float | None] = lambda _: None, **limits: int
) -> dict[int, Verdict]:
    """Return the points that the search measured with true times."""
    search = search_token_counts(rungs, **limits)
    verdicts: dict[int, Verdict] = {}
    try:
        tokens = next(search)
        while True:
            verdicts[tokens] = truth(tokens)
            tokens = search.send(Judged(verdicts[tokens], ratio(tokens)))
    except StopIteration:
        return verdicts


def make_truth(tie_first: int, switch: int) -> Truth:
    """Return verdicts: oneshot below `tie_first`, a tie up to `switch`, multiphase from there."""

    def truth(tokens: int) -> Verdict:
        if tokens < tie_first:
            return ONE
        return TIE if tokens < switch else MANY

    return truth


def test_ladder_holds_both_ends_and_the_landmarks() -> None:
    """First, last and the points where rules switch are always measured, and nothing outside the range."""
    rungs = build_ladder(TokenRange(5, 1000), [57, 4, 2000])
    assert rungs == [*range(5, 33), 48, 57, 64, 96, 128, 192, 256, 384, 512, 768, 1000]


def test_ladder_has_every_count_up_to_32() -> None:
    """Serving captures a graph of each of these batches: no count between two rungs is left to its neighbours."""
    assert build_ladder(TokenRange(1, 40)) == [*range(1, 33), 40]
    assert build_ladder(TokenRange(30, 48)) == [30, 31, 32, 48]


def test_ladder_has_finer_steps_from_1024_tokens() -> None:
    """Launches change shape there: the wide steps below would hide a kernel that wins from 2056 to 2304 tokens."""
    assert build_ladder(TokenRange(600, 8000)) == [
        *(600, 768, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8000),
    ]


def test_ladder_of_one_count_is_that_count() -> None:
    """A range of one token count is a valid sweep."""
    assert build_ladder(TokenRange(7, 7)) == [7]


@given(st.integers(1, 2000), st.integers(0, 300), st.integers(1, 2000))
def test_search_brackets_a_crossing_to_adjacent_counts(tie_first: int, width: int, last: int) -> None:
    """Both edges of the tie, or the switch itself, are found exactly wherever they lie."""
    truth = make_truth(tie_first, tie_first + width)
    verdicts = search(truth, build_ladder(TokenRange(1, last)))
    changes = [(low, high) for low, high in pairwise(sorted(verdicts)) if verdicts[low] != verdicts[high]]
    assert all(high - low == 1 for low, high in changes)
    assert conclude(verdicts, last) == [truth(tokens) for tokens in range(1, last + 1)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_search_finds_several_crossings(changes: list[int]) -> None:
    """A winner that changes more than once is found wherever a rung lies between two changes."""
    starts = sorted(2**change + 1 for change in changes)

    def truth(tokens: int) -> Verdict:
        passed = sum(tokens >= start for start in starts)
        return MANY if passed % 2 else ONE

    verdicts = search(truth, build_ladder(TokenRange(1, 1024)))
    assert conclude(verdicts, 1024) == [truth(tokens) for tokens in range(1, 1025)]


def test_search_without_a_crossing_measures_only_the_ladder() -> None:
    """No change, no bisection: the cheap case stays cheap."""
    rungs = build_ladder(TokenRange(1, 4096))
    assert sorted(search(lambda _: ONE, rungs)) == rungs


def test_winner_between_two_rungs_is_found_where_the_loser_came_close() -> None:
    """oneshot's time drops at 2305 tokens, as it did on an H100: multiphase wins below, and oneshot at both rungs."""

    def truth(tokens: int) -> Verdict:
        return MANY if 2081 <= tokens < 2305 else ONE

    verdicts = search(truth, [1, 1024, 2048, 2560, 4096], lambda tokens: 1.02 if tokens == 2048 else 1.16)
    assert conclude(verdicts, 4096) == [truth(tokens) for tokens in range(1, 4097)]


def test_look_between_rungs_ends_where_they_are_narrow() -> None:
    """The look costs a few points beside the rung that was close, and none where the winner was clear."""
    verdicts = search(lambda _: ONE, [1, 1024, 2048, 4096, 8192], lambda tokens: 1.05 if tokens == 2048 else 2.0)
    added = sorted(set(verdicts) - {1, 1024, 2048, 4096, 8192})
    assert added == [1536, 1792, 1920, 2176, 2304, 2560, 3072]


@given(st.randoms(use_true_random=False), st.integers(1, 100))
def test_search_of_pure_noise_ends(rng: object, max_points: int) -> None:
    """Verdicts that flicker at random cannot keep the search going past its bound."""
    choose = rng.choice  # type: ignore[attr-defined]
    rungs = build_ladder(TokenRange(1, 4096))
    verdicts = search(lambda _: choose(VERDICTS), rungs, max_points=max_points)
    assert len(verdicts) <= max(max_points, len(rungs))


def test_search_under_a_bound_looks_at_the_change_of_kernel_first() -> None:
    """With few points left, where the choice changes matters more than where a tie ends."""
    truth = {1: TIE, 100: ONE, 110: MANY}
    verdicts = search(lambda tokens: truth.get(tokens, ONE), [1, 100, 110], max_points=4)
    assert sorted(verdicts) == [1, 100, 105, 110]


ONE_WINS, MANY_WIN, TIED = (Judged(verdict) for verdict in VERDICTS)
CLOSE = Judged(ONE, 1 / 0.95)


@pytest.mark.parametrize(
    ("judged", "gap"),
    [
        ({10: ONE_WINS, 30: MANY_WIN, 1000: MANY_WIN, 1500: ONE_WINS}, (10, 30)),
        ({10: ONE_WINS, 12: MANY_WIN, 100: MANY_WIN, 300: ONE_WINS}, (100, 300)),
        ({1: TIED, 100: ONE_WINS, 110: MANY_WIN}, (100, 110)),
        ({1: CLOSE, 100: ONE_WINS, 110: MANY_WIN}, (100, 110)),
        ({1: TIED, 100: CLOSE, 120: ONE_WINS}, (100, 120)),
        ({1: ONE_WINS, 2: MANY_WIN, 3: ONE_WINS, 90: ONE_WINS, 91: TIED, 93: TIED}, None),
        ({30: CLOSE, 33: ONE_WINS}, None),
        ({30: CLOSE, 34: ONE_WINS}, (30, 34)),
        ({30: ONE_WINS, 34: CLOSE}, (30, 34)),
        ({30: Judged(ONE, 1.11), 60: ONE_WINS}, None),
        ({30: Judged(MANY, 1.09), 60: MANY_WIN}, (30, 60)),
        ({30: TIED, 60: TIED}, (30, 60)),
        ({30: TIED, 33: TIED}, None),
        ({30: TIED, 60: TIED, 63: ONE_WINS}, (60, 63)),
    ],
)
def test_search_goes_where_most_may_be_found(judged: dict[int, Judged], gap: tuple[int, int] | None) -> None:
    """A change of kernel before a close loser before the edge of a tie, the widest by ratio, and nothing narrow."""
    assert find_most_important_gap(judged) == gap


A, B, TIE_AB, TIE_BC = (Verdict(names) for names in (("a",), ("b",), ("a", "b"), ("b", "c")))


@pytest.mark.parametrize(
    ("below", "above", "gap"),
    [
        (Judged(A), Judged(TIE_BC), Gap.CHANGE),
        (Judged(TIE_AB), Judged(TIE_BC), Gap.EDGE_OF_TIE),
        (Judged(B), Judged(TIE_BC), Gap.EDGE_OF_TIE),
        (Judged(TIE_AB, 1.05), Judged(TIE_AB), Gap.CLOSE),
        (Judged(TIE_AB, 1.2), Judged(TIE_AB), Gap.INSIDE_TIE),
        (Judged(A, 1.2), Judged(A), Gap.NONE),
    ],
)
def test_gap_between_verdicts_of_three(below: Judged, above: Judged, gap: Gap) -> None:
    """A choice changes for certain where no kernel is best on both sides; a third may win beside a tie."""
    other = {10: below, 20: above, 21: Judged(B), 1000: Judged(A)}
    assert (find_most_important_gap({10: below, 20: above}) is None) is (gap is Gap.NONE)
    assert find_most_important_gap(other) == (21, 1000)
    assert _rate_gap({10: below, 20: above}, 10, 20) is gap


def conclude(verdicts: dict[int, Verdict], last: int) -> list[Verdict]:
    """Return the verdict of every count 1..last: that of the nearest measured count below."""
    result: list[Verdict] = []
    for tokens in range(1, last + 1):
        result.append(verdicts.get(tokens, result[-1] if result else TIE))
    return result
