"""Estimate what the choices of a row lose between its points, and where another point would tell most of that."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, mean
from typing import Final

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sweep.records import MeasuredPoint

WANDER: Final = 0.06
"""Standard deviation of the ratio of two kernels' times around a straight line between two points, both axes being
logarithms, half-way between token counts a factor of e apart; it grows with the square root of the distance.
In the samples of an H100 it is 0.056, 0.065 and 0.099 between counts a factor of 2, 4 and 16 apart."""

PLACES: Final = (0.25, 0.5, 0.75)
"""Where a gap is judged, as parts of the way from its lower to its upper end."""

Choose = Callable[[int], KernelName]
"""Return the row's choice for a token count."""

_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class Gap:
    """Two neighbouring points of a row.

    loss: what the choices between them are expected to lose, as a share of the best kernel's time, weighted by the
    gap's part of the row. gain: how much of it another point may save: not what they lose at both ends, inside a tie.
    """

    low: int
    high: int
    loss: float = 0.0
    gain: float = 0.0

    def choose_middle(self, rungs: Sequence[int]) -> int:
        """Return the token count to measure next: the rung nearest to the middle, if there is one inside."""
        middle = math.sqrt(self.low * self.high)
        inside = [rung for rung in rungs if self.low < rung < self.high] or [self._clamp(middle)]
        return min(inside, key=lambda rung: abs(math.log(rung / middle)))

    def list_places(self) -> list[tuple[float, int]]:
        """Return the places at which the gap is judged, with their token counts."""
        return [(place, self._clamp(self.low * (self.high / self.low) ** place)) for place in PLACES]

    def _clamp(self, tokens: float) -> int:
        return min(max(round(tokens), self.low + 1), self.high - 1)


def list_gaps(points: Mapping[int, MeasuredPoint], choose: Choose) -> Iterator[Gap]:
    """Yield the gaps of a row with their losses. From 1 to 2 tokens weighs as much as from 100 to 200."""
    counts = sorted(points)
    whole = math.log(counts[-1] / counts[0]) if len(counts) > 1 else 0.0
    for low, high in pairwise(counts):
        if high - low > 1:
            times_us = points[low].times_us, points[high].times_us
            loss = _compute_loss(Gap(low, high), *times_us, choose)
            known = mean(map(_compute_known_loss, times_us, (choose(low), choose(high))))
            part = math.log(high / low) / whole
            yield Gap(low, high, loss * part, max(loss - known, 0.0) * part)


def compute_expected_loss(points: Mapping[int, MeasuredPoint], choose: Choose) -> float:
    """Return what the choices of a row are expected to lose, as a share of the best kernel's time."""
    return sum(gap.loss for gap in list_gaps(points, choose))


def _compute_known_loss(times_us: Mapping[KernelName, float], choice: KernelName) -> float:
    best = min(times_us.values())
    return times_us.get(choice, best) / best - 1


def _compute_loss(
    gap: Gap, low_us: Mapping[KernelName, float], high_us: Mapping[KernelName, float], choose: Choose
) -> float:
    """Return the mean of the expected losses at the places of a gap: at each the largest that another kernel causes."""
    losses = []
    for place, tokens in gap.list_places():
        choice = choose(tokens)
        others = low_us.keys() & high_us.keys() - {choice}
        if choice not in low_us or choice not in high_us or not others:
            continue
        deviation = 2 * WANDER * math.sqrt(place * (1 - place) * math.log(gap.high / gap.low))
        lost = [
            (1 - place) * math.log(low_us[choice] / low_us[other]) + place * math.log(high_us[choice] / high_us[other])
            for other in others
        ]
        losses.append(max(math.expm1(_compute_mean_excess(one, deviation)) for one in lost))
    return mean(losses) if losses else 0.0


def _compute_mean_excess(middle: float, deviation: float) -> float:
    """Return the mean of what a normally distributed number exceeds 0 by."""
    relative = middle / deviation
    return middle * _NORMAL.cdf(relative) + deviation * _NORMAL.pdf(relative)
