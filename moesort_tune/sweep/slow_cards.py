"""Find the cards that are slower than others of their kind, from the times of the same points on several of them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.statistics import compute_relative_noise
from moesort_tune.sweep.cards import Card

LEAST_SLOWNESS: Final = 0.05
"""Share of the time by which a card must be slower at least. Less may be how two good cards of a product differ."""

DEVIATIONS: Final = 4.0
"""The same in deviations of the card's ratios to the others, where their noise is larger."""

LEAST_POINTS: Final = 5
"""Points that a card shares with others before it is judged."""

Times = Mapping[Card, Mapping[KernelName, float]]
"""Microseconds of each kernel at one point, by card."""


def find_slow_cards(points: Iterable[Times]) -> dict[Card, float]:
    """Return the cards that are slower than their siblings by more than the noise, and by which share of the time."""
    ratios: dict[Card, list[float]] = defaultdict(list)
    for times in points:
        for card, ratio in _compare_with_siblings(times).items():
            ratios[card].append(ratio)
    slowness = {card: median(found) - 1 for card, found in ratios.items() if len(found) >= LEAST_POINTS}
    return {card: share for card, share in slowness.items() if share > _compute_limit(ratios[card])}


def _compare_with_siblings(times: Times) -> dict[Card, float]:
    """Return each card's time over the median of the others', the median over the kernels; nothing for one card."""
    if len(times) < 2:
        return {}
    kernels = next(iter(times.values()))
    ratios = [_compare_with_others([own[kernel] for own in times.values()]) for kernel in kernels]
    return {card: median(of_card) for card, of_card in zip(times, zip(*ratios, strict=True), strict=True)}


def _compare_with_others(values: Sequence[float]) -> list[float]:
    """Return each value over the median of the others, of which there is at least one."""
    ascending = sorted(values)
    lower, upper = (len(values) - 2) // 2, (len(values) - 1) // 2

    def get_other(index: int, left_out: int) -> float:
        return ascending[index + (index >= left_out)]

    ranks = (bisect_left(ascending, value) for value in values)
    return [
        2 * value / (get_other(lower, rank) + get_other(upper, rank)) for value, rank in zip(values, ranks, strict=True)
    ]


def _compute_limit(ratios: list[float]) -> float:
    return max(LEAST_SLOWNESS, DEVIATIONS * compute_relative_noise(ratios))
