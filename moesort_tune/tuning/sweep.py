"""The sweep: checks every shape, searches each row's token counts, hands on samples and rows as soon as they are there.

The device is behind a `Worker`, files behind a `Sink`, the terminal behind a `Listener`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from moesort_tune.errors import MoesortTuneError
from moesort_tune.tables.schema import Row
from moesort_tune.tuning.messages import CheckRequest, DeviceFacts, MeasureRequest, Worker
from moesort_tune.tuning.records import MeasuredPoint, point_of
from moesort_tune.tuning.rows import legal_kernels, row_of, rungs_of
from moesort_tune.tuning.search import DEFAULT_MAX_POINTS, Search, TokenRange, search_token_counts
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.stopping import StoppingRule
from moesort_tune.tuning.timing import Measurement
from moesort_tune.tuning.verdict import Verdict
from moesort_tune.tuning.worker import WorkerLostError

BISECTION_POINTS = 14
"""Points that a row needs beyond its ladder, roughly: two edges of a tie, halved from 64 to 1."""

LEAST_POINT_SECONDS = 0.05
"""A point gets at least so much time, however short the budget."""

MANY_DROPPED = 0.1
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
    """Where results go, and what is known from an earlier run."""

    def known(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points that need not be measured again."""

    def measured(self, shape: Shape, tokens: int, measurement: Measurement) -> None:
        """Keeps a point; it must be safe when this returns."""

    def row(self, row: Row) -> None:
        """Keeps a row; it must be safe when this returns."""


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


@dataclass
class SweepResult:
    """Rows that were written, and the shapes without a row with the reason."""

    rows: list[Row] = field(default_factory=list)
    failed: dict[Shape, str] = field(default_factory=dict)
    unfinished: dict[Shape, str] = field(default_factory=dict)


class Sweep:
    """One sweep. Raises WorkerRefusedError (a wrong kernel, a failed call) and whatever the sink raises."""

    def __init__(
        self,
        plan: SweepPlan,
        *,
        worker: Worker,
        sink: Sink,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._sink = sink
        self._listener = listener
        self._clock = clock
        self._result = SweepResult()
        self._end = clock() + (math.inf if plan.time_budget_s is None else plan.time_budget_s)

    def run(self) -> SweepResult:
        """Checks all shapes first, so that a wrong kernel is found before anything is written, then measures."""
        shapes = self._plan.shapes
        self._listener.planned(shapes)
        for shape in shapes:
            with self._row_at_stake(shape):
                self._check(shape)
        for index, shape in enumerate(shapes):
            if shape not in self._result.failed:
                with self._row_at_stake(shape):
                    self._measure_row(shape, self._deadline(len(shapes) - index))
        return self._result

    @contextmanager
    def _row_at_stake(self, shape: Shape) -> Iterator[None]:
        """A shape whose kernels crash, never end or find no time costs its row only."""
        try:
            yield
        except WorkerLostError as error:
            self._result.failed[shape] = str(error)
            self._listener.warning(f"{shape} gets no row: {error}")
        except OutOfTimeError as error:
            self._result.unfinished[shape] = str(error)
            self._listener.warning(f"{shape} gets no row: {error}")

    def _check(self, shape: Shape) -> None:
        limit = self._worker.oneshot_max_tokens(shape)
        for tokens in rungs_of(shape, self._plan.tokens, limit):
            self._listener.at(shape, tokens, "checking")
            self._worker.check(CheckRequest(shape, tokens, self._plan.settings, legal_kernels(tokens, limit)))

    def _measure_row(self, shape: Shape, deadline: float) -> None:
        limit = self._worker.oneshot_max_tokens(shape)
        rungs = rungs_of(shape, self._plan.tokens, limit)
        self._listener.row_started(shape, len(rungs) + BISECTION_POINTS)
        points = self._searched(shape, limit, rungs, deadline)
        row = row_of(shape, limit, points)
        self._sink.row(row)
        self._result.rows.append(row)
        self._listener.row_done(row)
        self._warn_of(shape, points)

    def _searched(self, shape: Shape, limit: int, rungs: list[int], deadline: float) -> dict[int, MeasuredPoint]:
        """Points of the whole search, or of what the deadline leaves of it once the ladder is done."""
        known = self._sink.known(shape, limit)
        points: dict[int, MeasuredPoint] = {}
        search = search_token_counts(rungs, max_points=self._plan.max_points)
        tokens: int | None = next(search)
        while tokens is not None:
            if tokens not in known and self._clock() >= deadline:
                self._out_of_time(shape, points, rungs)
                break
            left = max(len(rungs) - len(points), 0) + BISECTION_POINTS
            points[tokens] = known.get(tokens) or self._measured(
                shape, tokens, limit, (deadline - self._clock()) / left
            )
            self._listener.point_done(shape, tokens, points[tokens])
            tokens = _next(search, points[tokens].verdict)
        return points

    def _out_of_time(self, shape: Shape, points: dict[int, MeasuredPoint], rungs: list[int]) -> None:
        if len(points) < len(rungs):
            raise OutOfTimeError(
                f"its share of the time budget ended after {len(points)} of {len(rungs)} ladder points; "
                "raise --time-budget, or go on later with --resume"
            )
        self._listener.warning(
            f"{shape}: the time budget ended before every switch was bracketed; what lies between is told as a tie"
        )

    def _measured(self, shape: Shape, tokens: int, limit: int, share_s: float) -> MeasuredPoint:
        self._listener.at(shape, tokens, "timing")
        plan = self._plan
        seconds = min(plan.rule.max_seconds, max(share_s, LEAST_POINT_SECONDS))
        rule = replace(plan.rule, max_seconds=seconds)
        request = MeasureRequest(shape, tokens, plan.settings, legal_kernels(tokens, limit), rule)
        measurement = self._worker.measure(request).measurement
        self._sink.measured(shape, tokens, measurement)
        return point_of(measurement)

    def _deadline(self, rows_left: int) -> float:
        """When the next row has to end: the rows share what is left evenly."""
        now = self._clock()
        return now + (self._end - now) / rows_left

    def _warn_of(self, shape: Shape, points: dict[int, MeasuredPoint]) -> None:
        rounds, dropped = (sum(getattr(p, name) for p in points.values()) for name in ("rounds", "dropped"))
        if dropped > MANY_DROPPED * (rounds + dropped):
            self._listener.warning(
                f"{shape}: {dropped} of {rounds + dropped} rounds were dropped because the sentinel's time moved: the "
                "device's clock changes, or something else runs on it"
            )
        unsettled = sum(not point.settled for point in points.values())
        if unsettled:
            self._listener.warning(
                f"{shape}: {unsettled} of {len(points)} points ended at a limit before their ratio was settled; "
                "they are told as ties unless one kernel was likely faster"
            )


def _next(search: Search, verdict: Verdict) -> int | None:
    """The next token count of a search, or None at its end."""
    try:
        return search.send(verdict)
    except StopIteration:
        return None
