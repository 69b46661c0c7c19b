"""When to stop timing two kernels at one token count, and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

from moesort_tune.measure.statistics import Interval, median_interval, relative_noise, rounded
from moesort_tune.measure.verdict import Verdict
from moesort_tune.numerals import check_within


@dataclass(frozen=True)
class Stop:
    """What the ratio of the two kernels' times came to, and why no more rounds are needed."""

    verdict: Verdict
    ratio: Interval
    reason: str
    decided: bool


@dataclass(frozen=True)
class StoppingRule:
    """Stops as soon as the interval of the ratio oneshot / multiphase answers the question, else at a limit.

    margin: a kernel wins only by more than this share of the other's time, and by more than the noise of one round;
    less is a tie. Rounds of a disturbed device are not independent, so a narrow interval alone proves little there.
    confidence: of the interval of the median ratio; strict, because it is looked at after every round.
    min_rounds: rounds before the first look; the extremes of 8 samples enclose the median in 99.2 % of all
    cases.
    max_rounds, max_seconds: where to give up on an answer; what was reached is then said. min_rounds are taken even
    then, since fewer can tell nothing but a tie, unless they would last `patience` times max_seconds.
    """

    margin: float = 0.02
    confidence: float = 0.99
    min_rounds: int = 8
    max_rounds: int = 100
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

    def judge(self, ratios: Sequence[float], elapsed_s: float) -> Stop | None:
        """The end of the measurement after these paired ratios, or None if another round is needed."""
        if not ratios:
            return None
        ratio = median_interval(ratios, self.confidence).rounded()
        verdict, decided = self.weigh(ratio, rounded(relative_noise(ratios)), len(ratios))
        if decided:
            return Stop(verdict, ratio, f"settled in {len(ratios)} rounds", decided=True)
        limit = self._limit(len(ratios), elapsed_s)
        return None if limit is None else Stop(verdict, ratio, limit, decided=False)

    def weigh(self, ratio: Interval, noise: float, rounds: int) -> tuple[Verdict, bool]:
        """Return the verdict on a ratio oneshot / multiphase, and whether more rounds could not change it.

        noise: relative deviation of one round's ratio. Takes the digits that the samples file keeps, so that a
        measurement read from there gets the verdict that it got when it was made.
        """
        margin = max(self.margin, noise)
        if rounds < self.min_rounds:
            return Verdict.TIE, False
        settled = _settled(ratio, margin)
        return (_likely(ratio, margin), False) if settled is None else (settled, True)

    def enough_alone(self, rounds: int, elapsed_s: float) -> str | None:
        """Why a kernel without a competitor was timed often enough; None if it was not."""
        if rounds >= self.min_rounds:
            return f"timed alone in {rounds} rounds"
        return self._limit(rounds, elapsed_s) if rounds else None

    def _limit(self, rounds: int, elapsed_s: float) -> str | None:
        if rounds >= self.max_rounds:
            return f"stopped at the limit of {self.max_rounds} rounds"
        patience = 1.0 if rounds >= self.min_rounds else self.patience
        if elapsed_s >= patience * self.max_seconds:
            return f"stopped at the limit of {patience * self.max_seconds:.2g} s after {rounds} rounds"
        return None


def _settled(ratio: Interval, margin: float) -> Verdict | None:
    """The verdict that the whole interval shares."""
    if ratio.high < 1 / (1 + margin):
        return Verdict.ONESHOT
    if ratio.low > 1 + margin:
        return Verdict.MULTIPHASE
    if ratio.low >= 1 / (1 + margin) and ratio.high <= 1 + margin:
        return Verdict.TIE
    return None


def _likely(ratio: Interval, margin: float) -> Verdict:
    """The verdict at a limit: a win if the interval excludes 1 and the median exceeds the margin."""
    if ratio.high < 1 and ratio.median < 1 / (1 + margin):
        return Verdict.ONESHOT
    if ratio.low > 1 and ratio.median > 1 + margin:
        return Verdict.MULTIPHASE
    return Verdict.TIE
