"""What a sweep asks of its worker, and what it tells while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import BISECTION_POINTS, SweepPlan
from moesort_tune.sweep.runner import Sweep
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.messages import CheckRequest, DeviceFacts, MeasureRequest
from moesort_tune.tables.schema import Row
from tests.sweep.fakes import FACTS, FakeWorker, ListListener, ListSink, time_two_kernels
from tests.sweep.kernels import MULTIPHASE, ONESHOT, make_limits

SHAPE = Shape(128, 4)


@dataclass
class NotingListener(ListListener):
    """Keep every event, warnings apart."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def announce_rows(self, keys: Sequence[RowKey], *_: object) -> None:
        """Keep it."""
        self.events.append(("planned", *(key.shape for key in keys)))

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:  # noqa: ARG002 - there is one
        """Keep it."""
        self.events.append(("row_started", key.shape, points))

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Keep it."""
        self.events.append((doing, key.shape, tokens))

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:
        """Keep it."""
        self.events.append(("point_done", key.shape, tokens, point.verdict.winner))

    def report_row(self, key: RowKey, row: Row) -> None:  # noqa: ARG002 - the row has its shape
        """Keep it."""
        self.events.append(("row_done", row.shape))


def make_plan(last: int, **changes: object) -> SweepPlan:
    """Return one shape, from 1 token on."""
    whole = SweepPlan([SHAPE], TokenRange(1, last), (Settings(),), StoppingRule(max_rounds=40))
    return replace(whole, **changes)  # type: ignore[arg-type]


def run_sweep(worker: FakeWorker, asked: SweepPlan, listener: ListListener | None = None) -> Row:
    """Return the one row."""
    (row,) = Sweep(asked, workers=[worker], sinks=[ListSink()], listener=listener or ListListener()).run().rows
    return row


def test_sweep_tells_what_it_does_as_it_does_it() -> None:
    """A person sees the row, about how many points are ahead, each check and time as it begins, and each result."""
    listener = NotingListener()
    run_sweep(time_two_kernels(lambda _, __: 4.0, lambda _, __: 6.0), make_plan(4), listener)
    rungs = (1, 2, 3, 4)
    timed = [[("timing", SHAPE, tokens), ("point_done", SHAPE, tokens, "oneshot")] for tokens in rungs]
    assert listener.events == [
        ("planned", SHAPE),
        *[("checking", SHAPE, tokens) for tokens in rungs if tokens != 3],
        ("row_started", SHAPE, len(rungs) + BISECTION_POINTS),
        *[event for events in timed for event in events],
        ("row_done", (128, 4)),
    ]
    assert listener.warnings == []


def test_sweep_looks_between_rungs_where_the_loser_came_close() -> None:
    """oneshot gets faster at 160 tokens; below, multiphase wins for a while, unseen from both rungs."""

    def oneshot_us(_shape: Shape, tokens: int) -> float:
        return 6.3 if 140 <= tokens < 160 else 5.7

    row = run_sweep(time_two_kernels(oneshot_us, lambda _, __: 6.0), make_plan(192, tokens=TokenRange(128, 192)))
    assert row.policy == ((1, ONESHOT), (140, MULTIPHASE), (160, ONESHOT), (1025, MULTIPHASE))


@pytest.mark.parametrize(("most", "measured"), [(10, 34), (36, 36), (50, 38)])
def test_sweep_measures_no_more_points_than_its_plan_allows(most: int, measured: int) -> None:
    """The ladder from 1 to 48 has 34 rungs, and four points more bracket a crossing between the last two."""
    worker = time_two_kernels(lambda _, tokens: 6.0 if tokens < 37 else 8.0, lambda _, __: 7.0)
    run_sweep(worker, make_plan(48, max_points=most))
    assert len(set(worker.timed)) == measured


def test_points_of_a_row_share_what_is_left_of_the_time() -> None:
    """A first answer gets half of the time, each point after it a part that leaves some for the others."""
    seconds: list[float] = []

    def before(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest):
            seconds.append(request.rule.max_seconds)

    worker = time_two_kernels(lambda _, tokens: 3.0 * tokens, lambda _, __: 7.5, before=before)
    budgeted = make_plan(4, time_budget_s=2.0)
    Sweep(budgeted, workers=[worker], sinks=[ListSink()], listener=ListListener(), clock=lambda: 0.0).run()
    assert seconds[:2] == pytest.approx([2.0 / 2 / 2, 2.0 / 2])  # 1 and 4 tokens
    assert seconds[2:] == pytest.approx([2.0 / BISECTION_POINTS] * 4)  # between them, and two confirmations


@dataclass
class NotingSink(ListSink):
    """Keep the limits of each request."""

    limits: list[int] = field(default_factory=list)

    def find_known(self, shape: Shape, limits: Limits) -> dict[int, dict[Card, MeasuredPoint]]:
        """Nothing is."""
        self.limits.append(limits[ONESHOT])
        return super().find_known(shape, limits)


def test_each_shape_has_its_own_limit() -> None:
    """The limit shrinks with the experts: worker and sink are asked for each shape's own."""

    class Limited(FakeWorker):
        """8000 tokens times experts."""

        def limits(self, shape: Shape) -> Limits:
            """Return them by the shape."""
            return make_limits(8000 // shape.num_experts)

    shapes = [Shape(8, 2), SHAPE]
    worker, sink = Limited({ONESHOT: lambda _, __: 4.0, MULTIPHASE: lambda _, __: 6.0}), NotingSink()
    result = Sweep(make_plan(96, shapes=shapes), workers=[worker], sinks=[sink], listener=ListListener()).run()
    assert [row.limits[ONESHOT] for row in result.rows] == sink.limits == [1000, 62]
    assert {tokens for shape, tokens in sink.points if shape == SHAPE} >= {56, 57, 62, 64, 96}


@pytest.mark.parametrize(("provider", "swept_too"), [("builtin", True), ("aiter", False)])
def test_sweep_measures_both_sides_of_a_builtin_launch_change(provider: str, swept_too: bool) -> None:
    """The builtin kernels' launches change shape at known counts; of other kernels nothing is known."""
    h100: DeviceFacts = replace(
        FACTS, provider=provider, arch="sm_90", compute_units=132, wavefront_size=32, lds_bytes=232448
    )
    worker = time_two_kernels(lambda _, __: 4.0, lambda _, __: 6.0, last_legal={ONESHOT: 4096}, facts=h100)
    run_sweep(worker, make_plan(0, shapes=[Shape(257, 9)], tokens=TokenRange(2300, 2310)))
    assert ({(Shape(257, 9), 2304), (Shape(257, 9), 2305)} <= set(worker.timed)) is swept_too
