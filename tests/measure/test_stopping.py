"""The stopping rule: as soon as every ratio's interval answers, else at a limit."""

import itertools
import math
import random
from collections.abc import Sequence
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.measure.statistics import Interval, compute_interval_rank
from moesort_tune.measure.stopping import Comparison, Stop, StoppingRule, compare
from moesort_tune.measure.verdict import Verdict

RULE = StoppingRule(margin=0.02, confidence=0.99, min_rounds=8, max_rounds=20, max_seconds=5.0)

FIRST, SECOND, TIE = Verdict(("a",)), Verdict(("b",)), Verdict(("a", "b"))


def judge(rule: StoppingRule, ratios: Sequence[float], elapsed_s: float) -> Stop | None:
    """Judge two candidates whose times have these ratios, a over b."""
    return rule.judge({"a": ratios, "b": [1.0] * len(ratios)}, elapsed_s)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.5, FIRST), (0.97, FIRST), (0.99, TIE), (1.0, TIE), (1.01, TIE), (1.03, SECOND), (2.0, SECOND)],
)
def test_rule_stops_at_the_first_look_when_the_ratio_is_plain(ratio: float, verdict: Verdict) -> None:
    """A clear answer costs the least number of rounds, and the margin is what makes a tie."""
    assert judge(RULE, [ratio] * 7, 0.0) is None
    stop = judge(RULE, [ratio] * 8, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (verdict, True)


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_rule_takes_a_ratio_on_the_margin_for_a_tie(ratio: float) -> None:
    """A win exceeds the margin: what equals it is none, whether the rule is sure or out of time."""
    rule = StoppingRule(margin=0.25, min_rounds=8)
    stop = judge(rule, [ratio] * 8, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (TIE, True)
    nearer_1 = 0.99 if ratio < 1 else 1.01
    far = 0.5 if ratio < 1 else 2.0
    stop = judge(rule, [far, *[ratio] * 6, nearer_1], 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (TIE, False)


@pytest.mark.parametrize("far", [0.6, 1 / 0.6])
def test_rule_takes_no_wide_interval_for_a_tie(far: float) -> None:
    """Both ends must lie within the margin."""
    assert judge(RULE, [*[1.0] * 7, far], 0.0) is None


def test_rule_gives_the_ratio_that_it_judged_by() -> None:
    """Median and interval go into the samples, from a settled point and from one at its limit."""
    for ratios, elapsed_s in (([1.01] * 8, 0.0), ([0.6, *[1.01] * 7], 6.0)):
        stop = judge(RULE, ratios, elapsed_s)
        assert stop is not None
        (comparison,) = stop.comparisons
        assert (comparison.first, comparison.second) == ("a", "b")
        assert comparison.ratio == Interval(1.01, min(ratios), 1.01)


def test_rule_goes_on_while_the_interval_holds_both_answers() -> None:
    """A ratio between two verdicts is measured further, not guessed."""
    assert judge(RULE, [0.9, 1.0, 1.1, 1.2] * 3, 0.0) is None


def test_rule_at_its_round_limit_calls_an_open_question_a_tie() -> None:
    """A margin smaller than the noise never makes a winner."""
    stop = judge(RULE, [1.01, 1.03] * 10, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (TIE, False)
    assert stop.reason == "stopped at the limit of 20 rounds"


def test_rule_at_its_limit_keeps_a_likely_winner() -> None:
    """An interval that excludes 1 but reaches into the margin still has a winner when time is up."""
    stop = judge(RULE, [1.01, 1.08] * 4 + [1.08] * 12, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (SECOND, False)
    stop = judge(RULE, [1.01, 1.03] * 4, 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (TIE, False)
    assert stop.reason == "stopped at the limit of 5 s after 8 rounds"


@pytest.mark.parametrize(
    ("ratio", "last", "verdict"),
    [
        (1.1, 0.99, TIE),
        (1.1, 1.0, TIE),
        (1.1, 1.01, SECOND),
        (0.9, 1.01, TIE),
        (0.9, 1.0, TIE),
        (0.9, 0.99, FIRST),
        (0.99, 0.9, TIE),  # all of it below 1, but half of it within the margin
        (1.01, 1.1, TIE),
    ],
)
def test_rule_at_its_limit_makes_no_winner_of_an_interval_that_holds_1(
    ratio: float, last: float, verdict: Verdict
) -> None:
    """However far the median lies: while the candidates may still be equal, time that ran out decides nothing."""
    stop = judge(RULE, [ratio] * 7 + [last], 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (verdict, False)


def test_rule_takes_its_least_rounds_even_past_its_time() -> None:
    """A slow device gets the rounds that an answer needs, until that lasts far too long; then it is a tie."""
    assert judge(RULE, [2.0] * 3, 6.0) is None
    stop = judge(RULE, [2.0] * 3, 20.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (TIE, False)
    assert stop.reason == "stopped at the limit of 20 s after 3 rounds"


def test_rule_wants_a_win_to_exceed_the_noise() -> None:
    """On a disturbed machine rounds are not independent: a difference within the noise of one round is a tie."""
    disturbed = [1.005, 1.08, 1.2, 1.3, 1.01, 1.25, 1.02, 1.3]
    assert judge(RULE, disturbed, 0.0) is None
    stop = judge(RULE, disturbed, 6.0)
    assert stop is not None
    assert stop.verdict == TIE
    stop = judge(RULE, [2 * ratio for ratio in disturbed], 0.0)
    assert stop is not None
    assert stop.verdict == SECOND


def test_rule_treats_both_candidates_alike() -> None:
    """Swapping the candidates swaps the verdict: neither is favoured by the margin."""
    swapped = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
    for ratio in (0.7, 0.979, 0.981, 0.99, 1.0, 1.01, 1.019, 1.021, 1.3):
        there, back = judge(RULE, [ratio] * 8, 0.0), judge(RULE, [1 / ratio] * 8, 0.0)
        assert there is not None
        assert back is not None
        assert back.verdict == swapped[there.verdict]


@pytest.mark.parametrize(
    ("rounds", "elapsed_s", "reason"),
    [
        (7, 0.0, None),
        (8, 0.0, "timed alone in 8 rounds"),
        (1, 20.0, "stopped at the limit of 20 s after 1 rounds"),
        (0, 20.0, None),
    ],
)
def test_rule_for_a_candidate_alone_needs_the_least_rounds(rounds: int, elapsed_s: float, reason: str | None) -> None:
    """Where one candidate alone may run there is no question to settle, only a time to note."""
    stop = RULE.judge({"a": [5.0] * rounds}, elapsed_s)
    assert (stop and stop.reason) == reason
    assert stop is None or (stop.verdict, stop.comparisons, stop.decided) == (FIRST, (), True)


@pytest.mark.parametrize("field", ["margin", "confidence", "min_rounds", "max_rounds", "max_seconds", "patience"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_rule_refuses_what_it_cannot_compare_with(field: str, value: float) -> None:
    """Protects tables: with a margin of NaN every comparison is false, and nothing is ever settled."""
    with pytest.raises(ValueError, match=f"{field} must be a finite number at least .*got {value}"):
        StoppingRule(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("rounds", [1, 5, 8, 1000])
@pytest.mark.parametrize("ratios", [[1.0], [2.0], [0.5, 1.5]], ids=["equal", "clear", "open"])
def test_fixed_rule_takes_exactly_its_rounds(rounds: int, ratios: list[float]) -> None:
    """Protects comparisons of whole runs, which a person gives a number of repeats, whatever they show and take."""
    rule = StoppingRule.make_fixed(rounds)
    samples = list(itertools.islice(itertools.cycle(ratios), rounds))
    assert judge(rule, samples[:-1], 1e6) is None
    assert judge(rule, samples, 0.0) is not None


def rank(**times_us: float) -> Verdict:
    """Judge candidates whose times are constant."""
    stop = RULE.judge({name: [time] * 8 for name, time in times_us.items()}, 0.0)
    assert stop is not None
    assert stop.decided
    return stop.verdict


def test_three_candidates_are_ranked_by_their_times() -> None:
    """Protects tables of more than two kernels: the fastest wins wherever it stands, and the rest follows in order."""
    for order in itertools.permutations("abc"):
        times = dict(zip("abc", (3.0, 2.0, 4.0), strict=True))
        verdict = rank(**{name: times[name] for name in order})
        assert (verdict.best, verdict.others) == (("b",), ("a", "c"))


def test_ties_at_the_top_name_all_that_equal_the_fastest() -> None:
    """Protects rows: inside a tie any of its kernels is as good, and they are named in the candidates' order."""
    verdict = rank(a=2.01, b=5.0, c=2.0)
    assert (verdict.best, verdict.others) == (("a", "c"), ("b",))
    assert verdict.is_tie
    assert verdict.winner is None
    assert rank(a=2.0, b=2.01, c=1.99).best == ("a", "b", "c")
    assert rank(a=4.01, b=2.0, c=4.0).best == ("b",)  # those that lost are not said to tie


def test_tie_reaches_no_further_than_the_margin_of_the_fastest() -> None:
    """Protects from chains of ties: what is as fast as something that ties is not for that as fast as the fastest."""
    assert rank(a=1.0, b=1.015, c=1.03).best == ("a", "b")


def test_rule_goes_on_while_one_of_the_ratios_is_open() -> None:
    """Protects ties at the top: the loser that is plain decides nothing about the others."""
    open_ratio = [0.9, 1.0, 1.1, 1.2] * 2
    samples = {"a": open_ratio, "b": [1.0] * 8, "c": [9.0] * 8}
    assert RULE.judge(samples, 0.0) is None
    stop = RULE.judge(samples, 6.0)
    assert stop is not None
    assert (stop.verdict.best, stop.verdict.others, stop.decided) == (("a", "b"), ("c",), False)


def test_comparisons_are_those_of_the_fastest_with_each_other_candidate() -> None:
    """Protects samples: what the verdict rests on is kept, and nothing else."""
    samples = {"a": [4.0] * 8, "b": [2.0] * 8, "c": [8.0] * 8}
    assert compare(samples, 0.99) == (
        Comparison("a", "b", Interval(2.0, 2.0, 2.0), 0.0),
        Comparison("b", "c", Interval(0.25, 0.25, 0.25), 0.0),
    )


CIRCLE = {"a": [1.0, 2.0, 3.0] * 4, "b": [1.5, 2.5, 0.5] * 4, "c": [2.8, 0.8, 1.2] * 4}
"""Each is faster than the next in two of three rounds, by a median ratio of more than a fifth."""


def test_candidates_that_beat_each_other_in_a_circle_have_no_winner() -> None:
    """Protects from a winner by noise: a candidate that loses to the one that it is ranked against has not won."""
    narrow = Interval(1.5, 1.4, 1.6)
    beaten = Comparison("a", "b", Interval(0.5, 0.4, 0.6), 0.01)
    verdict, decided = RULE.weigh("abc", [beaten, Comparison("a", "c", narrow, 0.01)], 20)
    assert (verdict.best, verdict.others, decided) == (("a", "c"), ("b",), False)
    stop = RULE.judge(CIRCLE, 6.0)
    assert stop is not None
    assert (stop.verdict.is_tie, stop.decided) == (True, False)


def judge_two(rule: StoppingRule, ratios: Sequence[float], elapsed_s: float) -> tuple[str, bool] | None:
    """Judge two candidates independently, by the definition of the rule: ('a', 'b' or 'tie', decided)."""
    count = len(ratios)
    reached = count >= rule.max_rounds or elapsed_s >= rule.max_seconds * (1 if count >= rule.min_rounds else 4)
    if count < rule.min_rounds:
        return ("tie", False) if count and reached else None
    ordered = sorted(ratios)
    k = max(1, compute_interval_rank(count, rule.confidence))
    digits = [float(f"{value:.5g}") for value in (ordered[k - 1], median(ordered), ordered[-k])]
    low, middle, high = digits
    noise = float(f"{1.4826 * median(abs(r - median(ordered)) for r in ratios) / median(ordered):.5g}")
    margin = 1 + max(rule.margin, noise)
    for verdict, sure in (("a", high < 1 / margin), ("b", low > margin), ("tie", low >= 1 / margin and high <= margin)):
        if sure:
            return verdict, True
    if not reached:
        return None
    if high < 1 and middle < 1 / margin:
        return "a", False
    return ("b" if low > 1 and middle > margin else "tie"), False


TIMES = st.floats(0.5, 2.0)


@given(
    st.lists(st.tuples(TIMES, TIMES), max_size=24),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([0.0, 5.0, 20.0]),
)
def test_two_candidates_get_the_verdict_of_their_ratio(
    rounds: list[tuple[float, float]], margin: float, elapsed_s: float
) -> None:
    """Protects the tables that were measured with two: the rule for any number is the rule for one ratio with them."""
    rule = StoppingRule(margin=margin, max_rounds=20, max_seconds=5.0)
    stop = rule.judge({"a": [a for a, _ in rounds], "b": [b for _, b in rounds]}, elapsed_s)
    expected = judge_two(rule, [a / b for a, b in rounds], elapsed_s)
    assert (stop and (stop.verdict.winner or "tie", stop.decided)) == expected


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.integers(1, 24), st.integers(1, 4))
def test_verdict_from_what_is_kept_is_the_verdict_that_was_given(
    seed: int, noise: float, rounds: int, candidates: int
) -> None:
    """Protects --resume: a point that is read from its comparisons is the point that was measured, and has a best."""
    chance = random.Random(seed)
    base = {name: chance.choice([1.0, 1.01, 1.2]) for name in "abcd"[:candidates]}
    samples = {name: [time * math.exp(chance.gauss(0, noise)) for _ in range(rounds)] for name, time in base.items()}
    stop = RULE.judge(samples, 1e6)
    assert stop is not None
    again, decided = RULE.weigh(tuple(samples), stop.comparisons, rounds)
    assert (again, again.others, decided or candidates == 1) == (stop.verdict, stop.verdict.others, stop.decided)
    assert again.best
    assert sorted([*again.best, *again.others]) == sorted(samples)
