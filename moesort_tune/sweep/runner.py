"""The sweep: checks every shape, searches each row's token counts, hands on samples and rows as soon as they are there.

The device is behind a `Worker`, files behind a `Sink`, the terminal behind a `Listener`.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.row_search import Deadline, Listener, OutOfTimeError, RowSearch, Sink, SweepPlan
from moesort_tune.sweep.rows import legal_kernels, rungs_of
from moesort_tune.sweep.worker.client import WorkerLostError
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
        """A shape whose kernels crash, never end or find no time, or whose row stays, costs its row only."""
        try:
            yield
        except (WorkerLostError, RowKeptError) as error:
            self._result.failed[shape] = str(error)
            self._listener.warning(f"{shape} gets no row: {error}")
        except OutOfTimeError as error:
            self._result.unfinished[shape] = str(error)
            self._listener.warning(f"{shape} gets no row: {error}")

    def _check(self, shape: Shape) -> None:
        limit = self._worker.oneshot_max_tokens(shape)
        for tokens in rungs_of(shape, self._plan.tokens, limit, self._worker.facts.builtin_on):
            self._listener.at(shape, tokens, "checking")
            self._worker.check(CheckRequest(shape, tokens, self._plan.settings, legal_kernels(tokens, limit)))

    def _measure_row(self, shape: Shape, deadline: float) -> None:
        search = RowSearch(
            shape,
            plan=self._plan,
            worker=self._worker,
            sink=self._sink,
            listener=self._listener,
            within=Deadline(deadline, self._clock),
        )
        row = self._sink.row(search.row(), search.points, finished=search.finished)
        self._result.rows.append(row)
        self._listener.row_done(row)
        for warning in search.warnings():
            self._listener.warning(warning)

    def _deadline(self, rows_left: int) -> float:
        """When the next row has to end: the rows share what is left evenly."""
        now = self._clock()
        return now + (self._end - now) / rows_left
