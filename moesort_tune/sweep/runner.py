"""Run a sweep: check every shape, search each row's token counts, pass samples and rows on at once.

Devices are behind `Worker`s, files behind a `Sink`, the terminal behind a `Listener`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.dealing import Dealer
from moesort_tune.sweep.row_search import Deadline, Listener, OutOfTimeError, RowSearch, Sink, SweepPlan
from moesort_tune.sweep.rows import list_rungs
from moesort_tune.sweep.worker.errors import WorkerLostError
from moesort_tune.sweep.worker.messages import CheckRequest, Worker
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.schema import Row


@dataclass
class SweepResult:
    """Rows that were written, and the shapes without a row with the reason."""

    rows: list[Row] = field(default_factory=list)
    failed: dict[Shape, str] = field(default_factory=dict)
    unfinished: dict[Shape, str] = field(default_factory=dict)


class Sweep:
    """One sweep.

    workers: each takes the next shape as soon as it is free. `sink` and `listener` are called by one of them at a time.
    """

    def __init__(
        self,
        plan: SweepPlan,
        *,
        workers: Sequence[Worker],
        sink: Sink,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._dealer = Dealer(workers)
        self._sink = self._dealer.guard(sink)
        self._listener = self._dealer.guard(listener)
        self._clock = clock
        self._result = SweepResult()
        self._end = clock() + (math.inf if plan.time_budget_s is None else plan.time_budget_s)

    def run(self) -> SweepResult:
        """Check all shapes first, so that a wrong kernel is found before anything is written, then measure.

        Raise WorkerRefusedError (a wrong kernel, a failed call) and whatever the sink raises.
        """
        shapes = self._plan.shapes
        self._listener.announce_shapes(shapes)
        self._dealer.deal(shapes, self._check_shape)
        self._dealer.deal(shapes, self._measure_shape)
        self._result.rows.sort(key=lambda row: shapes.index(Shape(*row.shape)))
        return self._result

    def _check_shape(self, shape: Shape, worker: Worker, _left: int) -> None:
        with self._catch_row_failure(shape):
            self._check(shape, worker)

    def _measure_shape(self, shape: Shape, worker: Worker, left: int) -> None:
        if shape not in self._result.failed:
            with self._catch_row_failure(shape):
                self._measure_row(shape, worker, self._compute_deadline(left))

    @contextmanager
    def _catch_row_failure(self, shape: Shape) -> Iterator[None]:
        """Let a shape whose kernels crash, never end or find no time, or whose row stays, cost its row only."""
        try:
            yield
        except (WorkerLostError, RowKeptError) as error:
            self._result.failed[shape] = str(error)
            self._listener.warn(f"{shape} gets no row: {error}")
        except OutOfTimeError as error:
            self._result.unfinished[shape] = str(error)
            self._listener.warn(f"{shape} gets no row: {error}")

    def _check(self, shape: Shape, worker: Worker) -> None:
        limits, facts = worker.limits(shape), worker.facts
        for tokens in list_rungs(shape, self._plan.tokens, limits, provider=facts.provider, device=facts.limits):
            self._listener.announce_point(shape, tokens, "checking")
            worker.check(CheckRequest(shape, tokens, self._plan.settings, list_legal_kernels(tokens, limits)))

    def _measure_row(self, shape: Shape, worker: Worker, deadline: float) -> None:
        search = RowSearch(
            shape,
            plan=self._plan,
            worker=worker,
            sink=self._sink,
            listener=self._listener,
            within=Deadline(deadline, self._clock),
        )
        row = self._sink.keep_row(search.row(), search.points, finished=search.finished)
        self._result.rows.append(row)
        self._listener.report_row(row)
        for warning in search.warnings():
            self._listener.warn(warning)

    def _compute_deadline(self, rows_left: int) -> float:
        """Return when the next row has to end: the rows share what is left evenly."""
        now = self._clock()
        return now + (self._end - now) / math.ceil(rows_left / self._dealer.hands)
