"""Decide when to stop timing the candidates at one point, and which of them are best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final

from moesort_tune.measure.statistics import Interval, compute_median_interval, compute_relative_noise, round_value
from moesort_tune.measure.verdict import Verdict
from moesort_tune.numerals import check_within

FOREVER_S: Final = 1e9
"""Seconds of a measurement that only its rounds limit."""


@dataclass(frozen=True)
class Comparison:
    """Two candidates side by side: the ratio of their times in the same round, `first` over `second`.

    first: the earlier of the two in the candidates' order. noise: relative deviation of one round's ratio.
    """

    first: str
    second: str
    ratio: Interval
    noise: float


@dataclass(frozen=True)
class Stop:
    """The end of a measurement: the ranking, and why no more rounds are needed.

    comparisons: of the fastest candidate with each other one. decided: more rounds could not change the verdict.
    """

    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    reason: str
    decided: bool


@dataclass(frozen=True)
class StoppingRule:
    """Stop as soon as the interval of every ratio to the fastest candidate answers who is best, else at a limit.

    margin: a candidate loses only by more than this share of the other's time, and by more than the noise of one round;
    less is a tie. Rounds of a disturbed device are not independent, so a narrow interval alone proves little there.
    confidence: of the interval of a median ratio; strict, because it is looked at after every round.
    min_rounds: rounds before the first look; the extremes of 8 samples enclose the median in 99.2 % of all cases.
    max_rounds, max_seconds: where to give up on an answer and take the likely one. min_rounds are taken even then,
    since fewer can tell nothing but a tie, unless they would last `patience` times max_seconds.
    """

    margin: float = 0.02
    confidence: float = 0.99
    min_rounds: int = 8
    max_rounds: int = 50
    max_seconds: float = 2.0
    patience: float = 4.0

    def __post_init__(self) -> None:
        """Raise ValueError for a field that is not finite or outside its range."""
        check_within("margin", self.margin, 0, 1)
        check_within("confidence", self.confidence, 0, 1)
        check_within("min_rounds", self.min_rounds, 1)
        check_within("max_rounds", self.max_rounds, 1)
        check_within("max_seconds", self.max_seconds, 0)
        check_within("patience", self.patience, 1)

    @classmethod
    def make_fixed(cls, rounds: int, confidence: float = 0.99) -> "StoppingRule":
        """Return the rule that takes exactly so many rounds, however clear their answer is and however long they last.

        A verdict on few rounds asks for less confidence: 0.99 takes the extremes of fewer than 12 samples, so that
        a single disturbed one makes a tie.
        """
        return cls(confidence=confidence, min_rounds=rounds, max_rounds=rounds, max_seconds=FOREVER_S)

    def judge(self, samples_us: Mapping[str, Sequence[float]], elapsed_s: float) -> Stop | None:
        """Return the end of the measurement after these rounds, or None if another one is needed.

        samples_us: every candidate's times, in the candidates' order; the n-th of each are of the same round.
        """
        rounds = min(map(len, samples_us.values()))
        limit = self._find_limit(rounds, elapsed_s)
        if not rounds or (rounds < self.min_rounds and limit is None):
            return None
        comparisons = compare(samples_us, self.confidence)
        alone = len(samples_us) == 1  # which leaves no question to decide
        verdict, decided = self.weigh(tuple(samples_us), comparisons, rounds)
        if decided:
            limit = f"timed alone in {rounds} rounds" if alone else f"settled in {rounds} rounds"
        return None if limit is None else Stop(verdict, comparisons, limit, decided or alone)

    def weigh(self, order: Sequence[str], comparisons: Sequence[Comparison], rounds: int) -> tuple[Verdict, bool]:
        """Return the verdict that comparisons with the fastest candidate come to, and whether it is decided.

        order: the candidates in their order. Takes the digits that a file of samples keeps, so that a measurement
        read from there gets the verdict that it got when it was made. Where noise lets the candidate that is compared
        with all others lose to one of them, the candidates beat each other in a circle: it ties with that one.
        """
        if rounds < self.min_rounds:
            return Verdict(tuple(order)), False
        outcomes = [_judge_comparison(comparison, max(self.margin, comparison.noise)) for comparison in comparisons]
        lost = {outcome.loser: comparison for outcome, comparison in zip(outcomes, comparisons, strict=True)}
        in_circle = len(comparisons) > 1 and lost.pop(_find_common(comparisons), None) is not None
        best = tuple(name for name in order if name not in lost)
        others = sorted((name for name in order if name in lost), key=lambda name: _compute_slowness(lost[name], name))
        return Verdict(best, tuple(others)), not in_circle and all(outcome.decided for outcome in outcomes)

    def _find_limit(self, rounds: int, elapsed_s: float) -> str | None:
        if rounds >= self.max_rounds:
            return f"stopped at the limit of {self.max_rounds} rounds"
        patience = 1.0 if rounds >= self.min_rounds else self.patience
        if elapsed_s >= patience * self.max_seconds:
            return f"stopped at the limit of {patience * self.max_seconds:.2g} s after {rounds} rounds"
        return None


def compare(samples_us: Mapping[str, Sequence[float]], confidence: float) -> tuple[Comparison, ...]:
    """Compare the fastest candidate with each other one, in the digits that a file of samples keeps.

    The fastest is the one whose paired ratio to each other candidate has a median of at most 1, or, where noise lets no
    candidate be that, the one for which this holds most often; on a tie the first in order.
    """
    pairs = {
        (first, second): [a / b for a, b in zip(samples_us[first], samples_us[second], strict=True)]
        for first, second in combinations(samples_us, 2)
    }
    fastest = _find_fastest(tuple(samples_us), pairs)
    return tuple(
        Comparison(
            *pair,
            compute_median_interval(ratios, confidence).round_values(),
            round_value(compute_relative_noise(ratios)),
        )
        for pair, ratios in pairs.items()
        if fastest in pair
    )


def _find_fastest(order: Sequence[str], pairs: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """Return the candidate that wins the most pairs, the first in order where several do."""
    wins = dict.fromkeys(order, 0)
    for (first, second), ratios in pairs.items():
        wins[first if median(ratios) <= 1 else second] += 1
    return max(order, key=lambda name: wins[name])


def _find_common(comparisons: Sequence[Comparison]) -> str:
    """Return the candidate that two or more comparisons share."""
    first, second = comparisons[:2]
    return first.first if first.first in (second.first, second.second) else first.second


@dataclass(frozen=True)
class _Outcome:
    """The answer of one comparison. loser: None in a tie."""

    loser: str | None
    decided: bool


def _judge_comparison(comparison: Comparison, margin: float) -> _Outcome:
    """Return the answer that the whole interval shares, else the likely one."""
    first, second, ratio = comparison.first, comparison.second, comparison.ratio
    if ratio.high < 1 / (1 + margin):
        return _Outcome(second, decided=True)
    if ratio.low > 1 + margin:
        return _Outcome(first, decided=True)
    if ratio.low >= 1 / (1 + margin) and ratio.high <= 1 + margin:
        return _Outcome(None, decided=True)
    if ratio.high < 1 and ratio.median < 1 / (1 + margin):
        return _Outcome(second, decided=False)
    if ratio.low > 1 and ratio.median > 1 + margin:
        return _Outcome(first, decided=False)
    return _Outcome(None, decided=False)


def _compute_slowness(comparison: Comparison, loser: str) -> float:
    """Return how many times as long as the fastest candidate the loser takes."""
    return comparison.ratio.median if comparison.first == loser else 1 / comparison.ratio.median
