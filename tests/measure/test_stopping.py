"""The stopping rule: as soon as the ratio's interval answers, else at a limit."""

import math

import pytest

from moesort_tune.measure.statistics import Interval
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import Verdict

RULE = StoppingRule(margin=0.02, confidence=0.99, min_rounds=8, max_rounds=20, max_seconds=5.0)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (0.5, Verdict.ONESHOT),
        (0.97, Verdict.ONESHOT),
        (0.99, Verdict.TIE),
        (1.0, Verdict.TIE),
        (1.01, Verdict.TIE),
        (1.03, Verdict.MULTIPHASE),
        (2.0, Verdict.MULTIPHASE),
    ],
)
def test_rule_stops_at_the_first_look_when_the_ratio_is_plain(ratio: float, verdict: Verdict) -> None:
    """A clear answer costs the least number of rounds, and the margin is what makes a tie."""
    assert RULE.judge([ratio] * 7, 0.0) is None
    stop = RULE.judge([ratio] * 8, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (verdict, True)


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_rule_takes_a_ratio_on_the_margin_for_a_tie(ratio: float) -> None:
    """A win exceeds the margin: what equals it is none, whether the rule is sure or out of time."""
    rule = StoppingRule(margin=0.25, min_rounds=8)
    stop = rule.judge([ratio] * 8, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.TIE, True)
    nearer_1 = 0.99 if ratio < 1 else 1.01
    far = 0.5 if ratio < 1 else 2.0
    stop = rule.judge([far, *[ratio] * 6, nearer_1], 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.TIE, False)


@pytest.mark.parametrize("far", [0.6, 1 / 0.6])
def test_rule_takes_no_wide_interval_for_a_tie(far: float) -> None:
    """Both ends must lie within the margin."""
    assert RULE.judge([*[1.0] * 7, far], 0.0) is None


def test_rule_gives_the_ratio_that_it_judged_by() -> None:
    """Median and interval go into the samples, from a settled point and from one at its limit."""
    for ratios, elapsed_s in (([1.01] * 8, 0.0), ([0.6, *[1.01] * 7], 6.0)):
        stop = RULE.judge(ratios, elapsed_s)
        assert stop is not None
        assert stop.ratio == Interval(1.01, min(ratios), 1.01)


def test_rule_goes_on_while_the_interval_holds_both_answers() -> None:
    """A ratio between two verdicts is measured further, not guessed."""
    assert RULE.judge([0.9, 1.0, 1.1, 1.2] * 3, 0.0) is None


def test_rule_at_its_round_limit_calls_an_open_question_a_tie() -> None:
    """A margin smaller than the noise never makes a winner."""
    stop = RULE.judge([1.01, 1.03] * 10, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.TIE, False)
    assert stop.reason == "stopped at the limit of 20 rounds"


def test_rule_at_its_limit_keeps_a_likely_winner() -> None:
    """An interval that excludes 1 but reaches into the margin still has a winner when time is up."""
    stop = RULE.judge([1.01, 1.08] * 4 + [1.08] * 12, 0.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.MULTIPHASE, False)
    stop = RULE.judge([1.01, 1.03] * 4, 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.TIE, False)
    assert stop.reason == "stopped at the limit of 5 s after 8 rounds"


@pytest.mark.parametrize(
    ("ratio", "last", "verdict"),
    [
        (1.1, 0.99, Verdict.TIE),
        (1.1, 1.0, Verdict.TIE),
        (1.1, 1.01, Verdict.MULTIPHASE),
        (0.9, 1.01, Verdict.TIE),
        (0.9, 1.0, Verdict.TIE),
        (0.9, 0.99, Verdict.ONESHOT),
        (0.99, 0.9, Verdict.TIE),  # all of it below 1, but half of it within the margin
        (1.01, 1.1, Verdict.TIE),
    ],
)
def test_rule_at_its_limit_makes_no_winner_of_an_interval_that_holds_1(
    ratio: float, last: float, verdict: Verdict
) -> None:
    """However far the median lies: while the kernels may still be equal, time that ran out decides nothing."""
    stop = RULE.judge([ratio] * 7 + [last], 6.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (verdict, False)


def test_rule_takes_its_least_rounds_even_past_its_time() -> None:
    """A slow device gets the rounds that an answer needs, until that lasts far too long; then it is a tie."""
    assert RULE.judge([2.0] * 3, 6.0) is None
    stop = RULE.judge([2.0] * 3, 20.0)
    assert stop is not None
    assert (stop.verdict, stop.decided) == (Verdict.TIE, False)
    assert stop.reason == "stopped at the limit of 20 s after 3 rounds"


def test_rule_wants_a_win_to_exceed_the_noise() -> None:
    """On a disturbed machine rounds are not independent: a difference within the noise of one round is a tie."""
    disturbed = [1.005, 1.08, 1.2, 1.3, 1.01, 1.25, 1.02, 1.3]
    assert RULE.judge(disturbed, 0.0) is None
    stop = RULE.judge(disturbed, 6.0)
    assert stop is not None
    assert stop.verdict is Verdict.TIE
    stop = RULE.judge([2 * ratio for ratio in disturbed], 0.0)
    assert stop is not None
    assert stop.verdict is Verdict.MULTIPHASE


def test_rule_treats_both_kernels_alike() -> None:
    """Swapping the kernels swaps the verdict: neither is favoured by the margin."""
    swapped = {
        Verdict.ONESHOT: Verdict.MULTIPHASE,
        Verdict.MULTIPHASE: Verdict.ONESHOT,
        Verdict.TIE: Verdict.TIE,
    }
    for ratio in (0.7, 0.979, 0.981, 0.99, 1.0, 1.01, 1.019, 1.021, 1.3):
        there, back = RULE.judge([ratio] * 8, 0.0), RULE.judge([1 / ratio] * 8, 0.0)
        assert there is not None
        assert back is not None
        assert back.verdict is swapped[there.verdict]


def test_rule_for_a_kernel_alone_needs_the_least_rounds() -> None:
    """Where one kernel is illegal there is no question to settle, only a time to note."""
    assert RULE.enough_alone(7, 0.0) is None
    assert RULE.enough_alone(8, 0.0) == "timed alone in 8 rounds"
    assert RULE.enough_alone(1, 20.0) == "stopped at the limit of 20 s after 1 rounds"
    assert RULE.enough_alone(0, 20.0) is None


@pytest.mark.parametrize("field", ["margin", "confidence", "min_rounds", "max_rounds", "max_seconds", "patience"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_rule_refuses_what_it_cannot_compare_with(field: str, value: float) -> None:
    """Protects tables: with a margin of NaN every comparison is false, and nothing is ever settled."""
    with pytest.raises(ValueError, match=f"{field} must be a finite number at least .*got {value}"):
        StoppingRule(**{field: value})  # type: ignore[arg-type]
