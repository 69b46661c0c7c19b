"""One row of a sweep: searches its token counts, confirms its switches, within its share of the time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.records import MeasuredPoint, point_of
from moesort_tune.sweep.rows import legal_kernels, row_of, rungs_of
from moesort_tune.sweep.search import DEFAULT_MAX_POINTS, Judged, Search, TokenRange, search_token_counts
from moesort_tune.sweep.switch_points import witnesses
from moesort_tune.sweep.worker.messages import DeviceFacts, MeasureRequest, Worker
from moesort_tune.tables.schema import Row

BISECTION_POINTS: Final = 18
"""Points that a row needs beyond its ladder, roughly: two edges of a tie halved from 64 to 1, what lies near them, and
the confirmations."""

MAX_CONFIRMATIONS: Final = 12
"""Points of one row that are measured a second time at most."""

CONFIRMING_SEEDS: Final = 1 << 40
"""Added to the seed of a second measurement: other inputs, another order."""

LEAST_POINT_SECONDS: Final = 0.05
"""A point gets at least so much time, however short the budget."""

MANY_DROPPED: Final = 0.1
"""Share of dropped rounds that a person should hear of."""


@dataclass(frozen=True)
class SweepPlan:
    """What to sweep. time_budget_s: for all of it, or None; the rows share what is left of it evenly."""

    shapes: list[Shape]
    tokens: TokenRange
    settings: Settings
    rule: StoppingRule
    time_budget_s: float | None = None
    max_points: int = DEFAULT_MAX_POINTS


class Sink(Protocol):
    """Where results go, and what is known from earlier runs."""

    def known(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points that need not be measured again."""

    def kept(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points of earlier sweeps under the same conditions, which a row rests on too."""

    def measured(self, shape: Shape, tokens: int, measurement: Measurement) -> None:
        """Keeps a point; it must be safe when this returns."""

    def row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Keeps a row, as which it is returned; it must be safe then.

        finished: the search ended by itself. Raises RowKeptError where the one that is there stays.
        """


class Listener(Protocol):
    """What a person sees."""

    def opened(self, facts: DeviceFacts) -> None:
        """The device that will be measured."""

    def planned(self, shapes: Sequence[Shape]) -> None:
        """The rows ahead."""

    def row_started(self, shape: Shape, points: int) -> None:
        """About so many points are ahead."""

    def at(self, shape: Shape, tokens: int, doing: str) -> None:
        """'checking' or 'timing' begins."""

    def point_done(self, shape: Shape, tokens: int, point: MeasuredPoint) -> None:
        """A point was measured or known."""

    def row_done(self, row: Row) -> None:
        """A row is in the table."""

    def warning(self, text: str) -> None:
        """Something to know: observation, likely cause, what to try."""


class OutOfTimeError(MoesortTuneError):
    """The row's share of the time budget ended before its ladder."""


@dataclass(frozen=True)
class Deadline:
    """When a row has to end, by a clock in seconds."""

    end: float
    clock: Callable[[], float]

    @property
    def left(self) -> float:
        """Seconds that are left, negative when it has passed."""
        return self.end - self.clock()


class RowSearch:
    """Measures one row. Raises OutOfTimeError, WorkerLostError, WorkerRefusedError.

    points: what the row rests on, by token count. finished: the search ended by itself, not at its deadline.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        plan: SweepPlan,
        worker: Worker,
        sink: Sink,
        listener: Listener,
        within: Deadline,
    ) -> None:
        self._shape = shape
        self._plan = plan
        self._worker = worker
        self._sink = sink
        self._listener = listener
        self._within = within
        self._limit = worker.oneshot_max_tokens(shape)
        self._rungs = rungs_of(shape, plan.tokens, self._limit, worker.facts.builtin_on)
        self._known = sink.known(shape, self._limit)
        self.points: dict[int, MeasuredPoint] = {}
        self.finished = False

    def row(self) -> Row:
        """The row that the measured points come to."""
        self._listener.row_started(self._shape, len(self._rungs) + BISECTION_POINTS)
        self.finished = self._search()
        self._confirm()
        return row_of(self._shape, self._limit, self.points)

    def warnings(self) -> Iterator[str]:
        """What a person should know before trusting the row."""
        points = self.points.values()
        dropped = sum(point.dropped for point in points)
        rounds = dropped + sum(point.rounds for point in points)
        if dropped > MANY_DROPPED * rounds:
            yield (
                f"{self._shape}: {dropped} of {rounds} rounds were dropped, in which the sentinel's time moved: "
                "the device's clock changes, or something else runs on it"
            )
        unsettled = sum(not point.settled for point in points)
        if unsettled:
            yield (
                f"{self._shape}: {unsettled} of {len(points)} points ended at a limit before their ratio was settled; "
                "they are told as ties unless one kernel was likely faster"
            )

    def _kept(self) -> dict[int, MeasuredPoint]:
        """Earlier points that this search says nothing of: those outside of its range, and all where it was cut."""
        kept = self._sink.kept(self._shape, self._limit)
        return {t: point for t, point in kept.items() if not (self.finished and t in self._plan.tokens)}

    def _search(self) -> bool:
        """The whole search, or what the deadline leaves of it once the ladder is done; then False."""
        search = search_token_counts(self._rungs, max_points=self._plan.max_points)
        tokens: int | None = next(search)
        while tokens is not None:
            if tokens not in self._known and self._within.left <= 0:
                self._tell_out_of_time()
                return False
            self.points[tokens] = self._known.get(tokens) or self._measured(tokens)
            self._listener.point_done(self._shape, tokens, self.points[tokens])
            tokens = _next(search, self.points[tokens])
        return True

    def _confirm(self) -> None:
        """Measures again, later and with other inputs, the first win of every stretch of a policy that switches.

        Noise that comes in bursts can make a winner up, but hardly the same one twice. A win that does not come again
        is a tie, which may give the policy other stretches, and so may what other sweeps measure meanwhile.
        """
        for _ in range(MAX_CONFIRMATIONS):
            self.points = {**self._kept(), **self.points}
            doubtful = [tokens for tokens in self._witnesses() if not self.points[tokens].confirmed]
            if not doubtful or self._within.left <= 0:
                return
            self.points[doubtful[0]] = self._measured_again(doubtful[0])

    def _witnesses(self) -> list[int]:
        verdicts = {tokens: point.verdict for tokens, point in self.points.items() if tokens <= self._limit}
        return witnesses(verdicts)

    def _measured(self, tokens: int) -> MeasuredPoint:
        measurement = self._measurement(tokens, self._plan.settings)
        self._sink.measured(self._shape, tokens, measurement)
        return point_of(measurement)

    def _measured_again(self, tokens: int) -> MeasuredPoint:
        settings = replace(self._plan.settings, seed=self._plan.settings.seed + CONFIRMING_SEEDS)
        measurement = self._measurement(tokens, settings)
        measurement = measurement.confirming(self.points[tokens].verdict)
        self._sink.measured(self._shape, tokens, measurement)
        return point_of(measurement)

    def _measurement(self, tokens: int, settings: Settings) -> Measurement:
        self._listener.at(self._shape, tokens, "timing")
        share_s = max(self._within.left / self._points_left(), LEAST_POINT_SECONDS)
        rule = replace(self._plan.rule, max_seconds=min(self._plan.rule.max_seconds, share_s))
        kernels = legal_kernels(tokens, self._limit)
        return self._worker.measure(MeasureRequest(self._shape, tokens, settings, kernels, rule)).measurement

    def _points_left(self) -> int:
        """Points that are probably still to be measured."""
        return max(len(self._rungs) - len(self.points), 0) + BISECTION_POINTS

    def _tell_out_of_time(self) -> None:
        if len(self.points) < len(self._rungs):
            raise OutOfTimeError(
                f"its share of the time budget ended after {len(self.points)} of {len(self._rungs)} ladder points; "
                "raise --time-budget, or go on later with --resume"
            )
        self._listener.warning(
            f"{self._shape}: the time budget ended before every switch was bracketed; "
            "what lies between is told as a tie"
        )


def _next(search: Search, point: MeasuredPoint) -> int | None:
    """The next token count of a search, or None at its end."""
    try:
        return search.send(Judged(point.verdict, point.ratio))
    except StopIteration:
        return None
