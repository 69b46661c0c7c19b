"""Points of a row by token count and card: what several cards agree on, and what a card can still add."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import reduce
from statistics import median
from typing import Any

from moesort_tune.measure.verdict import agree
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import CardPoints, MeasuredPoint, find_card_points
from moesort_tune.sweep.samples import Sample
from moesort_tune.sweep.search import TokenRange


def combine_cards(points: Sequence[MeasuredPoint]) -> MeasuredPoint:
    """Return one point of several cards', at least one: a kernel wins only where it does on every card.

    Times are the medians of the cards'. Cards confirm each other.
    """
    if len(points) == 1:
        return points[0]
    first, *others = points
    order = tuple(first.times_us)
    days = [point.day for point in points]
    return replace(
        first,
        times_us={kernel: median(point.times_us[kernel] for point in points) for kernel in order},
        verdict=reduce(lambda verdict, point: agree(order, verdict, point.verdict), others, first.verdict),
        noise=max(point.noise for point in points),
        settled=all(point.settled for point in points),
        rounds=sum(point.rounds for point in points),
        dropped=sum(point.dropped for point in points),
        confirmed=True,
        day=None if None in days else max(filter(None, days)),
        since=min((day for point in points if (day := point.since or point.day)), default=None),
        cards=len(points),
        spread=max(_compute_spread([point.times_us[kernel] for point in points]) for kernel in order),
    )


def _compute_spread(times_us: Sequence[float]) -> float:
    """Return how much longer the slowest card takes than the fastest, as a share."""
    return max(times_us) / min(times_us) - 1


def find_points(samples: Iterable[Sample], **conditions: Any) -> dict[int, MeasuredPoint]:
    """Return what all cards agree on at each token count. conditions: see find_card_points."""
    return combine_points(find_card_points(samples, **conditions))


def combine_points(by_card: Mapping[int, CardPoints], left_out: Set[Card] = frozenset()) -> dict[int, MeasuredPoint]:
    """Return the combined point of each token count that a card which is not left out has."""
    deciding = {
        tokens: [point for card, point in points.items() if card not in left_out] for tokens, points in by_card.items()
    }
    return {tokens: combine_cards(points) for tokens, points in deciding.items() if points}


@dataclass
class RowPoints:
    """The points that are known of a row. left_out: cards whose points do not count, for all rows of a sweep."""

    by_tokens: dict[int, dict[Card, MeasuredPoint]] = field(default_factory=dict)
    left_out: Set[Card] = frozenset()

    def add(self, tokens: int, card: Card, point: MeasuredPoint) -> None:
        """Add a point, in the place of an earlier one of this card."""
        self.by_tokens.setdefault(tokens, {})[card] = point

    def find(self, tokens: int) -> MeasuredPoint | None:
        """Return the point that the cards agree on, None where none that counts has measured it."""
        points = self._list_deciding(tokens)
        return combine_cards(list(points.values())) if points else None

    def list_known(self, tokens: TokenRange) -> list[int]:
        """Return the token counts of a range that a card which counts has measured, ascending."""
        return sorted(count for count in self.by_tokens if count in tokens and self.find(count) is not None)

    def list_missing(self, card: Card, counts: Iterable[int]) -> list[int]:
        """Return those of `counts` that `card` has not measured."""
        return [tokens for tokens in counts if card not in self.by_tokens.get(tokens, {})]

    def list_lacking(self, card: Card, replicas: int, counts: Iterable[int]) -> list[int]:
        """Return those of `counts` that fewer than `replicas` cards have measured, and `card` has not."""
        return [
            tokens for tokens in counts if len(points := self._list_deciding(tokens)) < replicas and card not in points
        ]

    def _list_deciding(self, tokens: int) -> dict[Card, MeasuredPoint]:
        points = self.by_tokens.get(tokens, {})
        return {card: point for card, point in points.items() if card not in self.left_out}
