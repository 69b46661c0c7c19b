"""One row of a sweep: give a first answer, refine it where most may be lost, search to the end, confirm switches."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moesort_tune.domain.candidates import Limits, list_legal_kernels
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.card_points import RowPoints, combine_cards, combine_points
from moesort_tune.sweep.cards import Card, get_card
from moesort_tune.sweep.expected_loss import Gap, list_gaps
from moesort_tune.sweep.records import CardPoints, MeasuredPoint, build_point
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.rows import build_row, list_first_rungs
from moesort_tune.sweep.search import (
    DEFAULT_MAX_POINTS,
    EXACT_EDGE,
    Judged,
    Search,
    TokenRange,
    search_token_counts,
)
from moesort_tune.sweep.switch_points import find_witnesses
from moesort_tune.sweep.worker.messages import DeviceFacts, MeasureRequest, Worker
from moesort_tune.tables.schema import LaunchGaps, Row

BISECTION_POINTS: Final = 18
"""Points that a row needs beyond its ladder, roughly: two edges of a tie halved from 64 to 1, what lies near them, and
the confirmations."""

MAX_CONFIRMATIONS: Final = 12
"""Points of one row that are measured a second time at most."""

CONFIRMING_SEEDS: Final = 1 << 40
"""Added to the seed of a second measurement: other inputs, another order."""

LEAST_POINT_SECONDS: Final = 0.05
"""A point gets at least so much time, however short the budget."""

COARSE_SHARE: Final = 0.5
"""Share of the time that is left which the first answers of all rows may take."""

LEAST_GAIN: Final = 0.0001
"""Gain of a gap from which on another point is worth its time: a gap of less waits for the search."""

MANY_DROPPED: Final = 0.1
"""Share of dropped rounds that deserves a warning."""


@dataclass(frozen=True)
class SweepPlan:
    """Shapes, token counts and settings to sweep.

    settings: one for each condition. time_budget_s: for all of it, or None.
    replicas: cards that each row is measured on, as far as there are so many. kind: of the device, for a person, where
    others are swept at the same time. operation: what the kernels compute.
    """

    shapes: list[Shape]
    tokens: TokenRange
    settings: tuple[Settings, ...]
    rule: StoppingRule
    time_budget_s: float | None = None
    max_points: int = DEFAULT_MAX_POINTS
    replicas: int = 1
    kind: str = ""
    operation: Operation = SORTING

    def list_settings(self, shape: Shape) -> list[Settings]:
        """Return the settings for a shape: all that leave no rank without an expert."""
        return [settings for settings in self.settings if settings.ep <= shape.num_experts]

    def list_keys(self) -> list[RowKey]:
        """Return the rows ahead, in order."""
        return [
            RowKey(shape, one.condition, self.kind, self.operation)
            for shape in self.shapes
            for one in self.list_settings(shape)
        ]


class Sink(Protocol):
    """Store of results of one condition, this sweep's and earlier ones."""

    def find_known(self, shape: Shape, limits: Limits) -> Mapping[int, CardPoints]:
        """Return points that need not be measured again."""

    def find_kept(self, shape: Shape, limits: Limits) -> Mapping[int, CardPoints]:
        """Return points of earlier sweeps under the same conditions, which a row rests on too."""

    def keep_point(self, shape: Shape, tokens: int, measurement: Measurement, facts: DeviceFacts) -> None:
        """Keep a point that was measured on the device of these facts; it must be safe when this returns."""

    def keep_row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Keep a row and return it as it was kept; it must be safe then.

        finished: the search ended by itself. Raise RowKeptError where the one that is there stays.
        """


class Listener(Protocol):
    """Receive the progress of a sweep, for a person."""

    def announce_opening(self, provider: str) -> None:
        """Announce that the devices are opened with a provider's kernels."""

    def announce_device(self, facts: DeviceFacts, cards: Sequence[Card] = ()) -> None:
        """Announce the device that will be measured. cards: their names, where there may be several of the kind."""

    def announce_launch_gaps(self, gaps: LaunchGaps) -> None:
        """Announce what each further launch costs the device."""

    def announce_rows(self, keys: Sequence[RowKey], cards: int = 1, time_budget_s: float | None = None) -> None:
        """Announce the rows ahead, how many cards share them, and the seconds that there are, None for no limit."""

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:
        """Announce a row of about so many points. card: which measures it, where there are several."""

    def announce_replica(self, key: RowKey, points: int, card: Card) -> None:
        """Announce that another card measures these points of a row again."""

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Announce that 'checking' or 'timing' begins."""

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:
        """Report a point that was measured or known, once for each time that its row is begun."""

    def report_row(self, key: RowKey, row: Row) -> None:
        """Report a row that is in the table."""

    def report_missing_row(self, key: RowKey, reason: str) -> None:
        """Report a row that the table does not get."""

    def report_missing_card(self, reason: str) -> None:
        """Report that a card gets no more rows."""

    def warn(self, text: str) -> None:
        """Report a problem: observation, likely cause, what to try."""


class OutOfTimeError(MoesortTuneError):
    """The time budget ended before the row's first answer."""


@dataclass(frozen=True)
class Deadline:
    """When work on a row has to end, by a clock in seconds."""

    end: float
    clock: Callable[[], float]

    @property
    def left(self) -> float:
        """Seconds that are left, negative once it has passed."""
        return self.end - self.clock()


@dataclass(frozen=True)
class RowTask:
    """The plan of one row: its limits, the token counts of its ladder, and how exactly to find edges of ties.

    settings: those of the row's condition. edge: see search.search_token_counts.
    """

    key: RowKey
    settings: Settings
    limits: Limits
    rungs: Sequence[int]
    edge: float = EXACT_EDGE


class RowSearch:
    """Measures one row. Its methods raise OutOfTimeError, WorkerLostError, WorkerRefusedError.

    known: the row's points, of any card, to which this adds. visited: the token counts that the row rests on; begun:
    those from which it begins. points: what the row rests on, by token count. finished: the search ended by itself, not
    at its deadline. confirmed: its wins were measured a second time.
    """

    def __init__(
        self,
        task: RowTask,
        *,
        plan: SweepPlan,
        worker: Worker,
        sink: Sink,
        listener: Listener,
        within: Deadline,
        known: RowPoints,
        begun: Collection[int] = (),
    ) -> None:
        self._task = task
        self._key = task.key
        self._shape = task.key.shape
        self._limits = task.limits
        self._rungs = sorted({*task.rungs, *begun})
        self._plan = plan
        self._worker = worker
        self._sink = sink
        self._listener = listener
        self._within = within
        self._known = known
        self.visited = sorted(begun)
        self.points: dict[int, MeasuredPoint] = {}
        self.finished = False
        self.confirmed = False
        self._gaps: list[Gap] = []

    def run(self, *, confirm: bool, card: Card = "") -> None:
        """Search the row. confirm: measure wins a second time; card: to announce, unless the row was begun before."""
        if not self.visited:
            self._listener.announce_row(self._key, len(self._rungs) + BISECTION_POINTS, card)
        self.finished = self._search()
        if confirm:
            self.confirm()
        self._find_gaps()

    def resume(self, worker: Worker, within: Deadline) -> None:
        """Go on with another worker, or another deadline."""
        self._worker, self._within = worker, within

    def answer_coarsely(self, rows: int, card: Card = "") -> None:
        """Measure the few token counts of a first answer. rows: share the time; card: to announce."""
        counts = list_first_rungs(self._task.rungs, self._limits)
        self._listener.announce_row(self._key, len(counts), card)
        for index, tokens in enumerate(counts):
            if not self._known.find(tokens) and self._within.left <= 0:
                raise OutOfTimeError(
                    f"the time budget ended after {index} of the {len(counts)} token counts of its first answer; "
                    "raise --time-budget, or go on later with --resume"
                )
            self._visit(tokens, self._within.left * COARSE_SHARE / rows / (len(counts) - index))
        self._find_gaps()

    def refine(self, rows: int) -> bool:
        """Measure where most may be lost. Return False where nothing is worth it. rows: share the time."""
        if not self.can_gain:
            return False
        gap = max(self._gaps, key=lambda gap: gap.gain)
        self._visit(gap.choose_middle(self._task.rungs), self._within.left / rows / BISECTION_POINTS)
        self._find_gaps()
        return True

    @property
    def can_gain(self) -> bool:
        """Whether another point between two of the row's may save enough."""
        return any(gap.gain >= LEAST_GAIN for gap in self._gaps)

    @property
    def expected_gain(self) -> float:
        """The part of the expected loss that other points may save."""
        return sum(gap.gain for gap in self._gaps)

    def probe(self, points: int) -> None:
        """Measure a few token counts at which there is a choice, also where another card has them."""
        contested = [tokens for tokens in self._rungs if len(list_legal_kernels(tokens, self._limits)) > 1]
        chosen = contested[:: max(1, len(contested) // points)][:points]
        counts = self._known.list_missing(get_card(self._worker.facts), chosen)
        for index, tokens in enumerate(counts):
            self._listener.announce_point(self._key, tokens, "comparing cards at")
            seconds = self._within.left / (len(counts) - index)
            self._keep(tokens, self._request(tokens, self._task.settings, seconds))

    def replicate(self, counts: Sequence[int]) -> None:
        """Measure these token counts on the worker's card too, as many as there is time for."""
        self._listener.announce_replica(self._key, len(counts), get_card(self._worker.facts))
        for index, tokens in enumerate(counts):
            if self._within.left <= 0:
                self._listener.warn(
                    f"{self._key}: the time budget ended before {len(counts) - index} of its token counts were measured"
                    " on a second card; raise --time-budget, or go on later with --resume"
                )
                return
            point = self._measure(tokens, self._within.left / (len(counts) - index))
            self._listener.report_point(self._key, tokens, point)

    def build_row(self) -> Row:
        """Return the row that follows from the points, those of earlier sweeps included."""
        by_card = self._find_kept()
        visited = self._find_visited()
        self.points = {**self._combine(by_card), **visited, **self._find_settled_before(by_card, visited)}
        key = self._key
        return build_row(self._shape, self._limits, self.points, condition=key.condition, operation=key.operation)

    def find_doubts(self) -> str:
        """Return the reasons to doubt the row as a sentence, '' without any."""
        doubts = "; ".join(self._list_doubts())
        return f"{self._key}: {doubts}" if doubts else ""

    def _list_doubts(self) -> Iterator[str]:
        points = self.points.values()
        dropped = sum(point.dropped for point in points)
        rounds = dropped + sum(point.rounds for point in points)
        if dropped > MANY_DROPPED * rounds:
            yield (
                f"{dropped} of {rounds} rounds were dropped, in which the sentinel's time moved: "
                "the device's clock changes, or something else runs on it"
            )
        unsettled = sum(not point.settled for point in points)
        if unsettled:
            yield (
                f"{unsettled} of {len(points)} points ended at a limit before their ratio was settled; "
                "they count as ties unless one kernel was likely faster"
            )

    def _find_visited(self) -> dict[int, MeasuredPoint]:
        return {tokens: point for tokens in self.visited if (point := self._known.find(tokens)) is not None}

    def _find_gaps(self) -> None:
        """Judge anew what the row's choices lose between the points that it has."""
        points = self._find_visited()
        row = build_row(self._shape, self._limits, points, condition=self._key.condition)
        self._gaps = list(list_gaps(points, lambda tokens: row.choose_kernel(tokens, tuple(self._limits))))

    def _find_kept(self) -> dict[int, CardPoints]:
        """Return earlier points that this search does not replace: those outside of its range, all where it was cut."""
        kept = self._sink.find_kept(self._shape, self._limits)
        return {t: by_card for t, by_card in kept.items() if not (self.finished and t in self._plan.tokens)}

    def _combine(self, by_card: Mapping[int, CardPoints]) -> dict[int, MeasuredPoint]:
        return combine_points(by_card, self._known.left_out)

    def _find_settled_before(
        self, kept: Mapping[int, CardPoints], points: Mapping[int, MeasuredPoint]
    ) -> dict[int, MeasuredPoint]:
        """Return what a search that was cut leaves in place of its own `points`, which ended at a limit.

        These are points that an earlier sweep settled, with those that other cards settled in this one.
        """
        found = {}
        for tokens in kept.keys() & {tokens for tokens, point in points.items() if not point.settled}:
            own = {card: point for card, point in self._known.by_tokens.get(tokens, {}).items() if point.settled}
            before = {card: point for card, point in kept[tokens].items() if point.settled and card not in own}
            both = {card: point for card, point in (own | before).items() if card not in self._known.left_out}
            if before.keys() & both.keys():
                found[tokens] = combine_cards(list(both.values()))
        return found

    def _search(self) -> bool:
        """Search to the end; return False where the deadline came before it."""
        search = search_token_counts(self._rungs, max_points=self._plan.max_points, edge=self._task.edge)
        tokens: int | None = next(search)
        while tokens is not None:
            if self._known.find(tokens) is None and self._within.left <= 0:
                return False
            tokens = _next(search, self._visit(tokens, self._within.left / self._count_points_left()))
        return True

    def _visit(self, tokens: int, seconds: float) -> MeasuredPoint:
        """Make a token count one that the row rests on, and return its point, measured in about so many seconds."""
        point = self.points[tokens] = self._known.find(tokens) or self._measure(tokens, seconds)
        if tokens not in self.visited:  # a row under a time budget is searched from its beginning more than once
            self.visited.append(tokens)
            self._listener.report_point(self._key, tokens, point)
        return point

    def confirm(self) -> None:
        """Measure again, later and with other inputs, the first win of every stretch of a policy that switches.

        Noise that comes in bursts can make a winner up, but hardly the same one twice. A win that does not come again
        is a tie, which may give the policy other stretches, and so may what other sweeps measure meanwhile.
        """
        self.confirmed = True
        again: list[int] = []
        for _ in range(MAX_CONFIRMATIONS):
            kept = self._find_kept()
            self.points = {**self._combine(kept), **self.points, **self._find_settled_before(kept, self.points)}
            witnesses = [tokens for tokens in self._witnesses() if tokens not in again]
            doubtful = [tokens for tokens in witnesses if not self.points[tokens].confirmed]
            if not doubtful or self._within.left <= 0:
                return
            tokens = doubtful[0]
            again.append(tokens)
            self.points[tokens] = self._measure_again(tokens)
            self.visited += [] if tokens in self.visited else [tokens]

    def _witnesses(self) -> list[int]:
        return find_witnesses({tokens: point.verdict for tokens, point in self.points.items()}, self._limits)

    def _measure(self, tokens: int, seconds: float) -> MeasuredPoint:
        """Measure and keep a point, in about so many seconds. Return what the cards agree on."""
        point = self._keep(tokens, self._request(tokens, self._task.settings, seconds))
        return self._known.find(tokens) or point

    def _measure_again(self, tokens: int) -> MeasuredPoint:
        settings = replace(self._task.settings, seed=self._task.settings.seed + CONFIRMING_SEEDS)
        measurement = self._request(tokens, settings, self._within.left / self._count_points_left())
        point = self._keep(tokens, measurement.confirm(self.points[tokens].verdict))
        return self._known.find(tokens) or point

    def _keep(self, tokens: int, measurement: Measurement) -> MeasuredPoint:
        facts = self._worker.facts
        self._sink.keep_point(self._shape, tokens, measurement, facts)
        point = build_point(measurement)
        self._known.add(tokens, get_card(facts), point)
        return point

    def _request(self, tokens: int, settings: Settings, seconds: float) -> Measurement:
        self._listener.announce_point(self._key, tokens, "timing")
        limit_s = max(seconds, LEAST_POINT_SECONDS)
        rule = replace(self._plan.rule, max_seconds=min(self._plan.rule.max_seconds, limit_s))
        kernels = list_legal_kernels(tokens, self._limits)
        return self._worker.measure(MeasureRequest(self._shape, tokens, settings, kernels, rule)).measurement

    def _count_points_left(self) -> int:
        """Estimate how many points of the search are still to be measured."""
        return max(len(self._rungs) - len(self.points), 0) + BISECTION_POINTS


def _next(search: Search, point: MeasuredPoint) -> int | None:
    """Return the next token count of a search, or None at its end."""
    try:
        return search.send(Judged(point.verdict, point.ratio))
    except StopIteration:
        return None
