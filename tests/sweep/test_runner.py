"""The sweep, on a worker whose kernels follow formulas."""

import dataclasses

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sweep.records import MeasuredPoint, point_of
from moesort_tune.sweep.row_search import BISECTION_POINTS, CONFIRMING_SEEDS, SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.client import WorkerLostError, WorkerRefusedError
from moesort_tune.sweep.worker.messages import CheckRequest, Measured, MeasureRequest
from moesort_tune.tables.schema import Row
from tests.sweep.fakes import FakeWorker, ListListener, ListSink, TickingClock

SHAPES = [Shape(8, 2), Shape(128, 4)]


def crossing_worker(**options: object) -> FakeWorker:
    """oneshot costs 2 us + 0.1 us a token, multiphase 6 us: equal at 40 tokens, within 2 % from 39 to 41."""
    return FakeWorker(lambda _, tokens: 2 + 0.1 * tokens, lambda _, __: 6.0, **options)  # type: ignore[arg-type]


def plan(**changes: object) -> SweepPlan:
    """Both shapes, 1 to 512 tokens."""
    values: dict[str, object] = {
        "shapes": SHAPES,
        "tokens": TokenRange(1, 512),
        "settings": Settings(),
        "rule": StoppingRule(max_rounds=40),
        **changes,
    }
    return SweepPlan(**values)  # type: ignore[arg-type]


def swept(worker: FakeWorker, sink: ListSink | None = None, **changes: object) -> tuple[SweepResult, ListListener]:
    """One sweep's result and warnings."""
    listener = ListListener()
    result = Sweep(plan(**changes), worker=worker, sink=sink or ListSink(), listener=listener).run()
    return result, listener


def test_sweep_finds_the_known_crossing_and_its_tie() -> None:
    """The row is what the formulas say: a tie of 39 to 41 tokens, and the switch behind it."""
    result, _ = swept(crossing_worker())
    for row in result.rows:
        assert row.policy == ((1, ONESHOT), (42, MULTIPHASE), *row.policy[2:])
        assert row.tie == ((39, 41),)
        assert row.evidence.tokens == (1, 512)


def test_sweep_gives_the_same_rows_for_another_seed() -> None:
    """Noise of 1 % moves no switch outside the ties of both sweeps."""
    rows = [swept(crossing_worker(noise=0.01), settings=Settings(seed=seed))[0].rows for seed in (0, 1)]
    for one, other in zip(*rows, strict=True):
        for tokens in range(1, 513):
            if not one.in_tie(tokens) and not other.in_tie(tokens):
                assert one.kernel_at(tokens) == other.kernel_at(tokens)


def test_sweep_records_what_aiters_rule_would_lose() -> None:
    """With 128 experts AITER's rule takes oneshot to 56 tokens, where it needs 7.6 us instead of 6 us."""
    result, _ = swept(crossing_worker(), shapes=[Shape(128, 4)])
    assert result.rows[0].evidence.rule_loss == pytest.approx(7.6 / 6.0, abs=0.001)


def test_sweep_never_times_oneshot_past_its_limit() -> None:
    """Past the limit multiphase is timed alone, and the row's choice follows."""
    sink = ListSink()
    result, _ = swept(crossing_worker(limit=20), sink)
    assert all(ONESHOT not in m.times_us for (_, tokens), m in sink.points.items() if tokens > 20)
    assert result.rows[0].policy == ((1, ONESHOT), (21, MULTIPHASE))


def test_sweep_checks_every_shape_before_it_times_any() -> None:
    """A wrong kernel is found before a row is written."""
    order: list[str] = []
    worker = crossing_worker(before=lambda request: order.append(type(request).__name__))
    swept(worker)
    assert order.index("MeasureRequest") > len(order) - order[::-1].index("CheckRequest") - 1
    assert {shape for shape, _ in worker.checked} == set(SHAPES)


def test_wrong_kernel_ends_the_sweep_without_a_row() -> None:
    """Not even the shapes that were right get a row: the kernels are not what they claim to be."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.shape == SHAPES[1]:
            raise WorkerRefusedError("oneshot is wrong for 128 experts")

    sink = ListSink()
    with pytest.raises(WorkerRefusedError, match="oneshot is wrong"):
        swept(crossing_worker(before=before), sink)
    assert sink.rows == []


@pytest.mark.parametrize("kind", [CheckRequest, MeasureRequest])
def test_lost_worker_costs_its_shape_only(kind: type) -> None:
    """A kernel that never ends is named; the other rows are measured."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.shape == SHAPES[0] and isinstance(request, kind) and request.tokens == 64:
            raise WorkerLostError("the kernels did not end within 30 s")

    result, listener = swept(crossing_worker(before=before))
    assert [(row.num_experts, row.topk) for row in result.rows] == [(128, 4)]
    assert result.failed == {Shape(8, 2): "the kernels did not end within 30 s"}
    assert listener.warnings == ["8/2 gets no row: the kernels did not end within 30 s"]


def test_sweep_does_not_measure_again_what_is_known() -> None:
    """Resuming takes every known point and measures the rest, with the same result."""
    first = ListSink()
    whole, _ = swept(crossing_worker(), first)
    half = dict(list(first.points.items())[:20])
    second = ListSink(earlier={key: point_of(measurement) for key, measurement in half.items()})
    worker = crossing_worker()
    resumed, _ = swept(worker, second)
    assert resumed.rows == whole.rows
    assert not set(worker.timed) & set(half)


@dataclasses.dataclass
class LyingWorker(FakeWorker):
    """Finds oneshot faster at 96 tokens, the first time it is asked."""

    def measure(self, request: MeasureRequest) -> Measured:
        """The truth but for the first time."""
        lies = request.tokens == 96 and request.settings.seed < CONFIRMING_SEEDS
        worker = dataclasses.replace(self, oneshot_us=lambda _, __: 5.0) if lies else self
        return FakeWorker.measure(worker, request)


def test_win_that_does_not_come_again_is_a_tie() -> None:
    """A burst of noise that made a winner up costs a second measurement, and no switch is left of it."""
    sink = ListSink()
    lying = LyingWorker(lambda _, tokens: 2 + 0.1 * tokens, lambda _, __: 6.0)
    result, _ = swept(lying, sink, shapes=[Shape(128, 4)])
    assert result.rows[0].policy == ((1, ONESHOT), (42, MULTIPHASE))
    assert result.rows[0].in_tie(96)
    assert sink.points[Shape(128, 4), 96].reason.startswith("both times tie")


def test_every_stretch_of_a_policy_is_confirmed_once() -> None:
    """A sweep with one switch measures two points a second time, with other inputs; one without a switch none."""
    worker = crossing_worker()
    swept(worker, shapes=[Shape(128, 4)])
    assert sorted(tokens for _, tokens in worker.timed if worker.timed.count((Shape(128, 4), tokens)) == 2) == [
        *(1, 1),
        *(42, 42),
    ]
    worker = crossing_worker()
    swept(worker, shapes=[Shape(128, 4)], tokens=TokenRange(1, 32))
    assert len(worker.timed) == len(set(worker.timed))


def swept_in_time(time_budget_s: float) -> tuple[SweepResult, ListListener, FakeWorker]:
    """A sweep under a budget, by a clock that ticks."""
    worker, listener = crossing_worker(), ListListener()
    budgeted = plan(time_budget_s=time_budget_s)
    sweep = Sweep(budgeted, worker=worker, sink=ListSink(), listener=listener, clock=TickingClock())
    return sweep.run(), listener, worker


def test_budget_that_ends_within_a_ladder_gives_no_row() -> None:
    """What could not be measured is said, with what to do about it."""
    result, listener, _ = swept_in_time(2.0)
    assert result.rows == []
    assert list(result.unfinished) == SHAPES
    assert "raise --time-budget, or go on later with --resume" in listener.warnings[0]


def test_budget_that_ends_after_the_ladder_leaves_the_unknown_as_a_tie() -> None:
    """A row made of its ladder alone claims no switch that was not bracketed."""
    result, listener, _ = swept_in_time(10.0)
    row = result.rows[0]
    assert row.tie
    assert row.tie[0][0] <= 39
    assert row.tie[0][1] >= 41
    assert "before every switch was bracketed" in listener.warnings[0]


def test_rows_share_the_budget_evenly() -> None:
    """The first row cannot eat the time of the others."""
    _, _, worker = swept_in_time(10.0)
    shares = [sum(shape == one for shape, _ in worker.timed) for one in SHAPES]
    assert abs(shares[0] - shares[1]) <= 2


def test_point_under_a_budget_gets_less_time() -> None:
    """The stopping rule's limit follows the budget."""
    limits: list[float] = []

    def before(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest):
            limits.append(request.rule.max_seconds)

    swept(crossing_worker(before=before), time_budget_s=20.0)
    assert limits[0] == pytest.approx(20.0 / len(SHAPES) / (18 + BISECTION_POINTS), rel=0.1)


def test_unsettled_points_are_told() -> None:
    """A person hears of a noisy device before trusting the row."""
    _, listener = swept(crossing_worker(noise=0.3), rule=StoppingRule(max_rounds=9))
    assert any("ended at a limit before their ratio was settled" in text for text in listener.warnings)


@pytest.mark.parametrize(("dropped", "told"), [(0, False), (2, False), (3, True)])
def test_many_dropped_rounds_are_told(dropped: int, told: bool) -> None:
    """More than a tenth of a row's rounds at another clock is worth a warning, with both numbers; less is not."""
    point = MeasuredPoint({ONESHOT: 2.0, MULTIPHASE: 6.0}, Verdict.ONESHOT, 0.0, rounds=8, dropped=0)
    earlier = {(Shape(8, 2), tokens): point for tokens in (1, 2, 3)}
    earlier[Shape(8, 2), 2] = dataclasses.replace(point, dropped=dropped)
    _, listener = swept(crossing_worker(), ListSink(earlier=earlier), shapes=[Shape(8, 2)], tokens=TokenRange(1, 3))
    sentence = f"8/2: {dropped} of {24 + dropped} rounds were dropped, in which the sentinel's time moved"
    assert [text.startswith(sentence) for text in listener.warnings] == ([True] if told else [])


def test_deadline_ends_the_confirmations() -> None:
    """Time that is up buys no second measurements: the row is made of what is there."""
    whole = ListSink()
    swept(crossing_worker(), whole, shapes=[Shape(128, 4)])
    for left_s in (0.0, 1.0):
        worker = crossing_worker()

        def clock(worker: FakeWorker = worker, left_s: float = left_s) -> float:
            return 10.0 - left_s if len(worker.timed) >= len(whole.points) else 0.0

        budgeted = plan(shapes=[Shape(128, 4)], time_budget_s=10.0)
        (row,) = Sweep(budgeted, worker=worker, sink=ListSink(), listener=ListListener(), clock=clock).run().rows
        assert row.policy[:2] == ((1, ONESHOT), (42, MULTIPHASE))
        assert len(worker.timed) == len(whole.points) + (2 if left_s else 0)


def test_points_of_other_sweeps_are_part_of_the_row() -> None:
    """What lies outside of the range is added, what lies inside was searched anew; what nobody looked at is a tie."""
    one = MeasuredPoint({ONESHOT: 2.0, MULTIPHASE: 6.0}, Verdict.ONESHOT, 0.0)
    others = {(Shape(8, 2), tokens): one for tokens in (1, 2, 20)}
    result, _ = swept(crossing_worker(), ListSink(others=others), shapes=[Shape(8, 2)], tokens=TokenRange(16, 32))
    (row,) = result.rows
    assert (row.evidence.points, row.evidence.tokens) == (2 + 3, (1, 32))
    assert row.tie == ((3, 15),)


def test_points_that_another_sweep_measures_meanwhile_are_part_of_the_row() -> None:
    """A row that left them out would be poorer than the other sweep's, which then keeps its place."""
    sink = ListSink()

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.settings.seed >= CONFIRMING_SEEDS:  # the last measurements of a row
            sink.others[Shape(8, 2), 1000] = MeasuredPoint(
                {ONESHOT: 102.0, MULTIPHASE: 6.0}, Verdict.MULTIPHASE, 0.0, confirmed=True
            )

    (row,) = swept(crossing_worker(before=before), sink, shapes=[Shape(8, 2)])[0].rows
    assert row.evidence.tokens == (1, 1000)


def test_row_is_a_valid_table_row() -> None:
    """What the sweep makes is what the table's schema takes."""
    result, _ = swept(crossing_worker())
    assert all(isinstance(row, Row) for row in result.rows)
    assert all(row.evidence.points and row.evidence.noise is not None for row in result.rows)
