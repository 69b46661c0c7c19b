"""Where each row of a sweep stands, and which worker may take it next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.card_points import RowPoints
from moesort_tune.sweep.dealing import Hand
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import RowSearch, RowTask
from moesort_tune.tables.schema import Row

TRIES_OF_A_CARD: Final = 2
"""Times that a card may lose a row: what was a coincidence does not happen there again."""

TRIES: Final = 3
"""Times that a row may be lost before it is given up: twice on one card, then on another."""


class Stage(IntEnum):
    """Steps of a row, in order; which of them it takes depends on whether its time is limited.

    CHECK: run every kernel once. COARSE: measure the few token counts of a first answer. REFINE: measure one more where
    most may be lost, again and again. SEARCH: search to the end. REPLICATE: measure on another card.
    CONFIRM: measure the wins again where no other card did.
    """

    CHECK = 0
    COARSE = 1
    REFINE = 2
    SEARCH = 3
    REPLICATE = 4
    CONFIRM = 5
    SETTLED = 6


TOGETHER: Final = (Stage.CHECK, Stage.COARSE)
"""Stages that all rows leave before any goes on."""


@dataclass
class RowState:
    """A row ahead. earlier: rows of its shape before it in the plan; row: as its search found it, None before that.

    busy: a worker has it. lost_by: the hands whose workers were lost with it, in order; retrying: the one that lost it
    last in this stage; last_words: of the last one.
    """

    key: RowKey
    settings: Settings
    stage: Stage
    earlier: "tuple[RowState, ...]" = ()
    task: RowTask | None = None
    points: RowPoints | None = None
    search: RowSearch | None = None
    row: Row | None = None
    busy: bool = False
    failed: bool = False
    lost_by: list[Hand] = field(default_factory=list)
    retrying: Hand | None = None
    last_words: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something is left to do for the row."""
        return self.stage is not Stage.SETTLED

    @property
    def gain(self) -> float:
        """The part of its expected loss that other points may save."""
        return self.search.expected_gain if self.search else 0.0

    @property
    def cost(self) -> int:
        """Compare rows by the pairs of expert and slot: more of them take longer to sort."""
        return self.key.shape.num_experts * self.key.shape.topk

    @property
    def base(self) -> "RowState | None":
        """The first earlier row that was searched, from which the search of this one begins."""
        return next((one for one in self.earlier if one.row is not None), None)

    @property
    def is_ready(self) -> bool:
        """Whether nothing is awaited that the search of this row begins from."""
        first = next((one for one in self.earlier if one.row is not None or one.is_open), None)
        return first is None or first.row is not None

    def advance(self, stage: Stage) -> None:
        """Begin another stage, with any hand that may take the row."""
        if stage is not self.stage:
            self.stage, self.retrying = stage, None

    def settle(self, *, failed: bool = False) -> None:
        """End all work on the row."""
        self.advance(Stage.SETTLED)
        self.failed = failed

    def lose(self, hand: Hand, last_words: str) -> None:
        """Note that the worker of a hand was lost."""
        self.lost_by.append(hand)
        self.retrying = hand
        self.last_words = last_words

    def allows(self, hand: Hand, alive: Collection[Hand]) -> bool:
        """Return whether a hand may take the row after its losses: first the one that lost it, then others only."""
        last = self.retrying
        if last is not None and last in alive and self.lost_by.count(last) < TRIES_OF_A_CARD:
            return hand is last
        return self.lost_by.count(hand) < TRIES_OF_A_CARD

    def list_lacking(self, hand: Hand, replicas: int) -> list[int]:
        """Return the token counts that the row rests on, has on too few cards, and this hand's card could measure."""
        if self.points is None or self.search is None:
            return []
        return self.points.list_lacking(hand.card, replicas, self.search.visited)

    def has_all_points(self) -> bool:
        """Return whether a card that counts has measured each point of the search."""
        if self.points is None or self.search is None:
            return False
        return all(self.points.find(tokens) is not None for tokens in self.search.visited)


def list_states(keys: Sequence[tuple[RowKey, Settings]], stage: Stage) -> list[RowState]:
    """Return the states of rows at their first stage, in the order of the plan."""
    by_shape: dict[Shape, list[RowState]] = {}
    states = []
    for key, settings in keys:
        alike = by_shape.setdefault(key.shape, [])
        states.append(RowState(key, settings, stage, earlier=tuple(alike)))
        alike.append(states[-1])
    return states
