"""Run a sweep: check every shape, search the token counts of each of its rows, pass samples and rows on at once.

Devices are behind `Worker`s, files behind a `Sink`, the terminal behind a `Listener`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.dealing import Dealer
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import Deadline, Listener, OutOfTimeError, RowSearch, RowTask, Sink, SweepPlan
from moesort_tune.sweep.rows import list_coarse_rungs, list_rungs, list_rungs_after
from moesort_tune.sweep.search import ROUGH_EDGE
from moesort_tune.sweep.worker.errors import WorkerLostError
from moesort_tune.sweep.worker.messages import CheckRequest, Worker
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.schema import Row


@dataclass
class SweepResult:
    """Rows that were written, and those that were not with the reason."""

    written: dict[RowKey, Row] = field(default_factory=dict)
    failed: dict[RowKey, str] = field(default_factory=dict)
    unfinished: dict[RowKey, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Return the rows that were written."""
        return list(self.written.values())


class Sweep:
    """One sweep.

    workers: each takes the next shape as soon as it is free, and measures it under every condition. sinks: one for each
    of the plan's settings. Sinks and `listener` are called by one of them at a time.
    """

    def __init__(
        self,
        plan: SweepPlan,
        *,
        workers: Sequence[Worker],
        sinks: Sequence[Sink],
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._dealer = Dealer(workers)
        self._sinks = {settings: self._dealer.guard(sink) for settings, sink in zip(plan.settings, sinks, strict=True)}
        self._listener = self._dealer.guard(listener)
        self._clock = clock
        self._result = SweepResult()
        self._end = clock() + (math.inf if plan.time_budget_s is None else plan.time_budget_s)

    def run(self) -> SweepResult:
        """Check all shapes first, so that a wrong kernel is found before anything is written, then measure.

        Raise WorkerRefusedError (a wrong kernel, a failed call) and whatever the sinks raise.
        """
        keys = self._plan.list_keys()
        self._listener.announce_rows(keys)
        self._dealer.deal(self._plan.shapes, self._check_shape)
        self._dealer.deal(self._plan.shapes, self._measure_shape)
        written = self._result.written
        return replace(self._result, written={key: written[key] for key in keys if key in written})

    def _check_shape(self, shape: Shape, worker: Worker, _left: int) -> None:
        """Check the whole ladder under the first condition; under the others, its coarse rungs."""
        for index, settings in enumerate(self._plan.list_settings(shape)):
            with self._catch_row_failure(RowKey(shape, settings.condition)):
                task = self._plan_row(shape, settings, worker)
                self._check(task if index == 0 else _make_coarse(task), worker)

    def _measure_shape(self, shape: Shape, worker: Worker, left: int) -> None:
        """Measure one condition after another; those after the first begin from what that found."""
        wanted = self._plan.list_settings(shape)
        first: tuple[RowSearch, Row] | None = None
        for index, settings in enumerate(wanted):
            key = RowKey(shape, settings.condition)
            if key in self._result.failed:
                continue
            with self._catch_row_failure(key):
                task = self._plan_row(shape, settings, worker)
                if first is not None:
                    task = _begin_from(*first, task)
                search = self._make_search(task, worker, self._compute_deadline(left, len(wanted) - index))
                row = self._measure_row(search, task)
                first = first or (search, row)

    @contextmanager
    def _catch_row_failure(self, key: RowKey) -> Iterator[None]:
        """Let a row whose kernels crash, never end or find no time, or that would be refused, cost itself only."""
        try:
            yield
        except (WorkerLostError, RowKeptError) as error:
            self._result.failed[key] = str(error)
            self._listener.warn(f"{key} gets no row: {error}")
        except OutOfTimeError as error:
            self._result.unfinished[key] = str(error)
            self._listener.warn(f"{key} gets no row: {error}")

    def _plan_row(self, shape: Shape, settings: Settings, worker: Worker) -> RowTask:
        limits, facts = worker.limits(shape), worker.facts
        rungs = list_rungs(
            shape,
            self._plan.tokens,
            limits,
            provider=facts.provider,
            device=facts.limits,
            condition=settings.condition,
        )
        return RowTask(shape, settings, limits, rungs)

    def _check(self, task: RowTask, worker: Worker) -> None:
        for tokens in task.rungs:
            self._listener.announce_point(task.key, tokens, "checking")
            kernels = list_legal_kernels(tokens, task.limits)
            worker.check(CheckRequest(task.shape, tokens, task.settings, kernels))

    def _make_search(self, task: RowTask, worker: Worker, deadline: float) -> RowSearch:
        return RowSearch(
            task,
            plan=self._plan,
            worker=worker,
            sink=self._sinks[task.settings],
            listener=self._listener,
            within=Deadline(deadline, self._clock),
        )

    def _measure_row(self, search: RowSearch, task: RowTask) -> Row:
        row = self._sinks[task.settings].keep_row(search.row(), search.points, finished=search.finished)
        self._result.written[task.key] = row
        self._listener.report_row(task.key, row)
        for warning in search.warnings():
            self._listener.warn(warning)
        return row

    def _compute_deadline(self, shapes_left: int, conditions_left: int) -> float:
        """Return when the next row has to end: the rows share what is left evenly.

        shapes_left: with the one at hand, of which conditions_left are to be measured.
        """
        now = self._clock()
        rows_left = (math.ceil(shapes_left / self._dealer.hands) - 1) * len(self._plan.settings) + conditions_left
        return now + (self._end - now) / rows_left


def _make_coarse(task: RowTask) -> RowTask:
    return replace(task, rungs=list_coarse_rungs(task.rungs, task.limits))


def _begin_from(first: RowSearch, row: Row, task: RowTask) -> RowTask:
    """Return the task of another condition with what it needs to measure beside the first one's row."""
    rungs = list_rungs_after(row, first.points, task.rungs, task.limits)
    return replace(task, rungs=rungs, edge=ROUGH_EDGE)
