"""A sweep by several workers: shapes go to whoever is free, and nothing is written twice or too late."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerRefusedError
from moesort_tune.sweep.worker.messages import CheckRequest, MeasureRequest
from moesort_tune.tables.schema import Row
from tests.sweep.fakes import FakeWorker, ListListener, ListSink, time_two_kernels

SHAPES = [Shape(experts, 2) for experts in (8, 16, 32, 64, 128, 256)]

PATIENCE_S = 60.0
"""Longer than any wait of these tests that ends."""


def make_crossing_worker(**options: Any) -> FakeWorker:
    """Return a worker whose oneshot takes 2 us + 0.1 us a token, multiphase 6 us."""
    return time_two_kernels(lambda _, tokens: 2 + 0.1 * tokens, lambda *_: 6.0, **options)


def sweep_by(
    *workers: FakeWorker, sink: ListSink | None = None, listener: ListListener | None = None, **changes: Any
) -> SweepResult:
    """Return the result of a sweep of every shape from 1 to 64 tokens."""
    plan = SweepPlan(SHAPES, TokenRange(1, 64), (Settings(),), StoppingRule(max_rounds=40), **changes)
    sinks: dict[str, Any] = {"sinks": [sink or ListSink()], "listener": listener or ListListener()}
    return Sweep(plan, workers=workers, clock=lambda: 0.0, **sinks).run()


def act_on(shape: Shape, act: Callable[[], None]) -> Callable[[CheckRequest | MeasureRequest], None]:
    """Return a function that acts when this shape is measured."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest) and request.shape == shape:
            act()

    return before


def test_rows_of_several_workers_are_those_of_one() -> None:
    """Whoever measured a row, rows stand in the order of the shapes, and each was measured once, by one worker."""
    workers = [make_crossing_worker() for _ in range(3)]
    alone = make_crossing_worker()
    assert sweep_by(*workers).rows == sweep_by(alone).rows
    assert sorted(point for worker in workers for point in worker.timed) == sorted(alone.timed)
    shapes = [{shape for shape, _ in worker.timed} for worker in workers]
    assert sum(map(len, shapes)) == len(SHAPES)


def test_worker_that_is_free_takes_the_next_shape() -> None:
    """A slow card keeps its row, the longest, which is dealt first, and the other one does the rest."""
    rest_is_done = threading.Event()
    first = SHAPES[-1]
    slow = make_crossing_worker(before=act_on(first, lambda: wait_for(rest_is_done)))
    quick = make_crossing_worker(before=act_on(first, lambda: wait_for(rest_is_done)))

    class Sink(ListSink):
        def keep_row(self, row: Row, *arguments: Any, **options: Any) -> Row:
            kept = super().keep_row(row, *arguments, **options)
            if len(self.rows) == len(SHAPES) - 1:
                rest_is_done.set()
            return kept

    sink = Sink()
    result = sweep_by(slow, quick, sink=sink)
    assert Shape(*sink.rows[-1].shape) == first
    assert [Shape(*row.shape) for row in result.rows] == SHAPES
    assert sorted(len({shape for shape, _ in worker.timed}) for worker in (slow, quick)) == [1, len(SHAPES) - 1]


def wait_for(event: threading.Event) -> None:
    """Wait, but not forever."""
    assert event.wait(PATIENCE_S)


def test_sink_and_listener_are_called_by_one_thread_at_a_time() -> None:
    """Neither files nor the terminal are made for several writers."""
    inside = threading.Lock()
    clashes: list[str] = []

    class Sink(ListSink):
        def keep_point(self, *arguments: Any) -> None:
            enter("keep_point")
            super().keep_point(*arguments)
            inside.release()

    class Listener(ListListener):
        def report_point(self, *arguments: Any) -> None:
            del arguments
            enter("report_point")
            inside.release()

    def enter(method: str) -> None:
        if not inside.acquire(blocking=False):
            clashes.append(method)
            inside.acquire()

    sweep_by(*(make_crossing_worker() for _ in range(4)), sink=Sink(), listener=Listener())
    assert clashes == []


def test_row_that_is_lost_everywhere_costs_itself_only() -> None:
    """Twice on one worker, once on another, then it is named; the others are measured."""

    def lose() -> None:
        raise WorkerLostError("the kernels did not end within 30 s")

    listener = ListListener()
    result = sweep_by(*(make_crossing_worker(before=act_on(SHAPES[2], lose)) for _ in range(2)), listener=listener)
    assert result.failed == {RowKey(SHAPES[2]): "the kernels did not end within 30 s"}
    assert len(result.rows) == len(SHAPES) - 1
    lost = f"{SHAPES[2]} was lost on fake: the kernels did not end within 30 s"
    assert listener.warnings == [*[lost] * 3, f"{SHAPES[2]} gets no row: the kernels did not end within 30 s"]
    assert result.incidents == [lost] * 3


def test_refusal_of_one_worker_ends_the_sweep_of_all() -> None:
    """A wrong kernel is wrong on every card: the error is raised at once, and nothing is written afterwards."""
    began, go_on, went_on = threading.Event(), threading.Event(), threading.Event()

    def refuse() -> None:
        wait_for(began)  # the other worker is in the middle of its shape
        raise WorkerRefusedError("oneshot is wrong for 8 experts")

    def be_late() -> None:
        began.set()
        wait_for(go_on)

    def before(request: CheckRequest | MeasureRequest) -> None:
        act_on(SHAPES[0], refuse)(request)
        act_on(SHAPES[1], be_late)(request)

    class Late(FakeWorker):
        def measure(self, request: MeasureRequest) -> Any:
            try:
                return super().measure(request)
            finally:
                if request.shape == SHAPES[1]:
                    went_on.set()

    sink = ListSink()
    workers = [Late(make_crossing_worker().formulas, before=before) for _ in range(2)]
    with pytest.raises(WorkerRefusedError, match=r"^fake: oneshot is wrong"):
        sweep_by(*workers, sink=sink)
    kept = (list(sink.rows), dict(sink.points))
    go_on.set()
    wait_for(went_on)
    for thread in threading.enumerate():
        if thread.daemon and "play" in thread.name:
            thread.join(PATIENCE_S)
    assert (sink.rows, sink.points) == kept


def test_budget_is_shared_by_the_workers() -> None:
    """Two workers have twice the time for each row; one has what the rows ahead leave."""
    limits: list[float] = []

    def before(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest):
            limits.append(request.rule.max_seconds)

    sweep_by(make_crossing_worker(before=before), time_budget_s=24.0)
    alone = limits[0]
    limits.clear()
    sweep_by(make_crossing_worker(before=before), make_crossing_worker(before=before), time_budget_s=24.0)
    assert limits[0] == pytest.approx(2 * alone)
