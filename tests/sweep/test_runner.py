"""The sweep, on a worker whose kernels follow formulas."""

import dataclasses
from typing import Any

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.records import MeasuredPoint, build_point
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import CONFIRMING_SEEDS, SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerRefusedError
from moesort_tune.sweep.worker.messages import CheckRequest, Measured, MeasureRequest
from moesort_tune.tables.schema import Row
from tests.sweep.fakes import FakeWorker, ListListener, ListSink, TickingClock, time_two_kernels
from tests.sweep.kernels import KERNELS, MANY, MULTIPHASE, ONE, ONESHOT

SHAPES = [Shape(8, 2), Shape(128, 4)]


def make_crossing_worker(**options: Any) -> FakeWorker:
    """Return a worker of oneshot in 2 us + 0.1 us a token, multiphase in 6 us: equal at 40, within 2 % at 39 to 41."""
    return time_two_kernels(lambda _, tokens: 2 + 0.1 * tokens, lambda _, __: 6.0, **options)


def make_plan(**changes: object) -> SweepPlan:
    """Return the plan of both shapes, 1 to 512 tokens."""
    values: dict[str, object] = {
        "shapes": SHAPES,
        "tokens": TokenRange(1, 512),
        "settings": (Settings(),),
        "rule": StoppingRule(max_rounds=40),
        **changes,
    }
    return SweepPlan(**values)  # type: ignore[arg-type]


def run_sweep(worker: FakeWorker, sink: ListSink | None = None, **changes: object) -> tuple[SweepResult, ListListener]:
    """Run one sweep; return its result and warnings."""
    listener = ListListener()
    result = Sweep(make_plan(**changes), workers=[worker], sinks=[sink or ListSink()], listener=listener).run()
    return result, listener


def test_sweep_finds_the_known_crossing_and_its_tie() -> None:
    """The row is what the formulas say: a tie of 39 to 41 tokens, and the switch behind it."""
    result, _ = run_sweep(make_crossing_worker())
    for row in result.rows:
        assert row.policy == ((1, ONESHOT), (42, MULTIPHASE), *row.policy[2:])
        assert row.tie == ((39, 41, KERNELS),)
        assert row.evidence.tokens == (1, 512)


def test_sweep_gives_the_same_rows_for_another_seed() -> None:
    """Noise of 1 % moves no switch outside the ties of both sweeps."""
    rows = [run_sweep(make_crossing_worker(noise=0.01), settings=(Settings(seed=seed),))[0].rows for seed in (0, 1)]
    for one, other in zip(*rows, strict=True):
        for tokens in range(1, 513):
            if not one.list_tied(tokens) and not other.list_tied(tokens):
                assert one.choose_kernel(tokens, KERNELS) == other.choose_kernel(tokens, KERNELS)


def test_sweep_records_what_aiters_rule_would_lose() -> None:
    """With 128 experts AITER's rule takes oneshot to 56 tokens, where it needs 7.6 us instead of 6 us."""
    result, _ = run_sweep(make_crossing_worker(), shapes=[Shape(128, 4)])
    assert result.rows[0].evidence.rule_loss == pytest.approx(7.6 / 6.0, abs=0.001)


def test_sweep_never_times_oneshot_past_its_limit() -> None:
    """Past the limit multiphase is timed alone, and the row's choice follows."""
    sink = ListSink()
    result, _ = run_sweep(make_crossing_worker(last_legal={ONESHOT: 20}), sink)
    assert all(ONESHOT not in m.times_us for (_, tokens), m in sink.points.items() if tokens > 20)
    assert result.rows[0].policy == ((1, ONESHOT), (21, MULTIPHASE))


def test_sweep_checks_every_shape_before_it_times_any() -> None:
    """A wrong kernel is found before a row is written."""
    order: list[str] = []
    worker = make_crossing_worker(before=lambda request: order.append(type(request).__name__))
    run_sweep(worker)
    assert order.index("MeasureRequest") > len(order) - order[::-1].index("CheckRequest") - 1
    assert {shape for shape, _ in worker.checked} == set(SHAPES)


def test_wrong_kernel_ends_the_sweep_without_a_row() -> None:
    """Not even the shapes that were right get a row: the kernels are not what they claim to be."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.shape == SHAPES[1]:
            raise WorkerRefusedError("oneshot is wrong for 128 experts")

    sink = ListSink()
    with pytest.raises(WorkerRefusedError, match="oneshot is wrong"):
        run_sweep(make_crossing_worker(before=before), sink)
    assert sink.rows == []


@pytest.mark.parametrize("kind", [CheckRequest, MeasureRequest])
def test_lost_worker_costs_its_shape_only(kind: type) -> None:
    """A kernel that never ends is named; the other rows are measured."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.shape == SHAPES[0] and isinstance(request, kind) and request.tokens == 64:
            raise WorkerLostError("the kernels did not end within 30 s")

    result, listener = run_sweep(make_crossing_worker(before=before))
    assert [(row.num_experts, row.topk) for row in result.rows] == [(128, 4)]
    assert result.failed == {RowKey(Shape(8, 2)): "the kernels did not end within 30 s"}
    assert listener.warnings == ["8/2 gets no row: the kernels did not end within 30 s"]


def test_sweep_does_not_measure_again_what_is_known() -> None:
    """Resuming takes every known point and measures the rest, with the same result."""
    first = ListSink()
    whole, _ = run_sweep(make_crossing_worker(), first)
    half = dict(list(first.points.items())[:20])
    second = ListSink(earlier={key: build_point(measurement) for key, measurement in half.items()})
    worker = make_crossing_worker()
    resumed, _ = run_sweep(worker, second)
    assert resumed.rows == whole.rows
    assert not set(worker.timed) & set(half)


@dataclasses.dataclass
class LyingWorker(FakeWorker):
    """Find oneshot faster at 96 tokens in the first measurement."""

    def measure(self, request: MeasureRequest) -> Measured:
        """Return the true times but for the first measurement."""
        lies = request.tokens == 96 and request.settings.seed < CONFIRMING_SEEDS
        worker = dataclasses.replace(self, formulas={**self.formulas, ONESHOT: lambda _, __: 5.0}) if lies else self
        return FakeWorker.measure(worker, request)


def test_win_that_does_not_come_again_is_a_tie() -> None:
    """A burst of noise that made a winner up costs a second measurement, and no switch is left of it."""
    sink = ListSink()
    lying = LyingWorker(make_crossing_worker().formulas)
    result, _ = run_sweep(lying, sink, shapes=[Shape(128, 4)])
    assert result.rows[0].policy == ((1, ONESHOT), (42, MULTIPHASE))
    assert result.rows[0].list_tied(96)
    assert sink.points[Shape(128, 4), 96].reason.startswith("both times tie")


def test_every_stretch_of_a_policy_is_confirmed_once() -> None:
    """A sweep with one switch measures two points a second time, with other inputs; one without a switch none."""
    worker = make_crossing_worker()
    run_sweep(worker, shapes=[Shape(128, 4)])
    assert sorted(tokens for _, tokens in worker.timed if worker.timed.count((Shape(128, 4), tokens)) == 2) == [
        *(1, 1),
        *(42, 42),
    ]
    worker = make_crossing_worker()
    run_sweep(worker, shapes=[Shape(128, 4)], tokens=TokenRange(1, 32))
    assert len(worker.timed) == len(set(worker.timed))


def run_sweep_in_time(time_budget_s: float) -> tuple[SweepResult, ListListener, FakeWorker]:
    """Run a sweep of few rungs, from 33 tokens on, under a budget, by a clock that ticks."""
    worker, listener = make_crossing_worker(), ListListener()
    budgeted = make_plan(tokens=TokenRange(33, 512), time_budget_s=time_budget_s)
    sweep = Sweep(budgeted, workers=[worker], sinks=[ListSink()], listener=listener, clock=TickingClock())
    return sweep.run(), listener, worker


def test_budget_that_ends_within_a_first_answer_gives_no_row() -> None:
    """What could not be measured is said, with what to do about it."""
    result, listener, _ = run_sweep_in_time(0.3)
    assert result.rows == []
    assert list(result.unfinished) == [RowKey(shape) for shape in SHAPES]
    assert "raise --time-budget, or go on later with --resume" in listener.warnings[0]


def test_budget_that_ends_after_the_first_answers_leaves_the_unknown_as_a_tie() -> None:
    """A row made of few points claims no switch that was not bracketed, and says what that may cost."""
    result, listener, _ = run_sweep_in_time(2.5)
    row = result.rows[0]
    assert row.tie
    assert row.tie[0][0] <= 39
    assert row.tie[0][1] >= 41
    worst = max(row.evidence.expected_loss or 0.0 for row in result.rows)
    assert worst > 0
    assert "before 2 of 2 rows were searched to their end" in listener.warnings[-1]
    assert f"expected to lose up to {worst:.1%} (" in listener.warnings[-1]


def test_rows_without_an_answer_count_among_those_that_were_cut() -> None:
    """Protects the figure by which a person judges a budget: a row that is missing was not searched either."""
    shapes = [*SHAPES, Shape(16, 4), Shape(64, 6)]
    listener, clock = ListListener(), TickingClock()
    plan = make_plan(shapes=shapes, tokens=TokenRange(33, 512), time_budget_s=2.5)
    result = Sweep(plan, workers=[make_crossing_worker()], sinks=[ListSink()], listener=listener, clock=clock).run()
    assert result.rows
    assert len(result.rows) + len(result.unfinished) == len(shapes) > len(result.rows)
    assert "before 4 of 4 rows were searched to their end" in listener.warnings[-1]


def test_every_row_has_a_first_answer_before_any_is_refined() -> None:
    """However short the time, no row waits for the details of another."""
    _, _, worker = run_sweep_in_time(20.0)
    counts = [33, 64, 256, 512]
    assert worker.timed[:8] == [(shape, tokens) for shape in SHAPES for tokens in counts]
    assert {shape for shape, _ in worker.timed[8:]} == set(SHAPES)


def test_resumed_sweep_goes_on_where_the_budget_ended() -> None:
    """What was measured in a first budget counts, whatever asked for it, and a second one makes the rows surer.

    Both count a point once, however often its row goes on.
    """

    def run(sink: ListSink) -> tuple[SweepResult, FakeWorker]:
        worker, listener = make_crossing_worker(), ListListener()
        plan = make_plan(tokens=TokenRange(33, 512), time_budget_s=2.5)
        sweep = Sweep(plan, workers=[worker], sinks=[sink], listener=listener, clock=TickingClock())
        result = sweep.run()
        assert sorted((key.shape, tokens) for key, tokens in listener.reported) == sorted(set(worker.timed))
        return result, worker

    sink = ListSink()
    first, worker = run(sink)
    known = {key: build_point(measurement) for key, measurement in sink.points.items()}
    second, going_on = run(ListSink(earlier=known))
    assert not set(going_on.timed) & set(worker.timed)
    for before, after in zip(first.rows, second.rows, strict=True):
        assert (after.evidence.points or 0) > (before.evidence.points or 0)
        assert (after.evidence.expected_loss or 0.0) < (before.evidence.expected_loss or 0.0)


def test_next_point_is_one_of_the_row_that_may_lose_most() -> None:
    """A row without a question waits while the one whose winner changes is refined."""
    worker = time_two_kernels(lambda shape, tokens: 2 + 0.1 * tokens if shape == SHAPES[1] else 1.0, lambda *_: 6.0)
    Sweep(
        make_plan(tokens=TokenRange(33, 512), time_budget_s=20.0),
        workers=[worker],
        sinks=[ListSink()],
        listener=ListListener(),
        clock=TickingClock(),
    ).run()
    assert worker.timed[8:11] == [(SHAPES[1], 48), (SHAPES[1], 40), (SHAPES[1], 44)]


def test_unsettled_points_are_reported() -> None:
    """A person hears of a noisy device before trusting the row."""
    _, listener = run_sweep(make_crossing_worker(noise=0.2), rule=StoppingRule(max_rounds=9))
    assert any("ended at a limit before their ratio was settled" in text for text in listener.warnings)


@pytest.mark.parametrize(("dropped", "reported"), [(0, False), (2, False), (3, True)])
def test_many_dropped_rounds_are_reported(dropped: int, reported: bool) -> None:
    """More than a tenth of a row's rounds at another clock is worth a warning, with both numbers; less is not."""
    point = MeasuredPoint({ONESHOT: 2.0, MULTIPHASE: 6.0}, ONE, 0.0, rounds=8, dropped=0)
    earlier = {(Shape(8, 2), tokens): point for tokens in (1, 2, 3)}
    earlier[Shape(8, 2), 2] = dataclasses.replace(point, dropped=dropped)
    _, listener = run_sweep(
        make_crossing_worker(), ListSink(earlier=earlier), shapes=[Shape(8, 2)], tokens=TokenRange(1, 3)
    )
    sentence = f"8/2: {dropped} of {24 + dropped} rounds were dropped, in which the sentinel's time moved"
    assert [text.startswith(sentence) for text in listener.warnings] == ([True] if reported else [])


def test_deadline_ends_the_confirmations() -> None:
    """Time that is up buys no second measurements: the row is made of what is there."""
    whole = ListSink()
    run_sweep(make_crossing_worker(), whole, shapes=[Shape(128, 4)])
    for left_s in (0.0, 1.0):
        worker = make_crossing_worker()

        def clock(worker: FakeWorker = worker, left_s: float = left_s) -> float:
            return 10.0 - left_s if len(worker.timed) >= len(whole.points) else 0.0

        budgeted = make_plan(shapes=[Shape(128, 4)], time_budget_s=10.0)
        (row,) = Sweep(budgeted, workers=[worker], sinks=[ListSink()], listener=ListListener(), clock=clock).run().rows
        assert row.policy[:2] == ((1, ONESHOT), (42, MULTIPHASE))
        assert len(worker.timed) == len(whole.points) + (2 if left_s else 0)


def test_points_of_other_sweeps_are_part_of_the_row() -> None:
    """What lies outside of the range is added, what lies inside was searched anew; what nobody looked at is a tie."""
    one = MeasuredPoint({ONESHOT: 2.0, MULTIPHASE: 6.0}, ONE, 0.0)
    others = {(Shape(8, 2), tokens): one for tokens in (1, 2, 40)}
    worker = time_two_kernels(lambda _, __: 2.0, lambda _, __: 6.0)
    result, _ = run_sweep(worker, ListSink(others=others), shapes=[Shape(8, 2)], tokens=TokenRange(33, 48))
    (row,) = result.rows
    assert [tokens for _, tokens in worker.timed] == [33, 48]
    assert (row.evidence.points, row.evidence.tokens) == (2 + 2, (1, 48))
    assert row.tie == ((3, 32, KERNELS),)


def test_points_that_another_sweep_measures_meanwhile_are_part_of_the_row() -> None:
    """A row that left them out would be poorer than the other sweep's, which then keeps its place."""
    sink = ListSink()

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.settings.seed >= CONFIRMING_SEEDS:  # the last measurements of a row
            sink.others[Shape(8, 2), 1000] = MeasuredPoint({ONESHOT: 102.0, MULTIPHASE: 6.0}, MANY, 0.0, confirmed=True)

    (row,) = run_sweep(make_crossing_worker(before=before), sink, shapes=[Shape(8, 2)])[0].rows
    assert row.evidence.tokens == (1, 1000)


def test_row_is_a_valid_table_row() -> None:
    """What the sweep makes is what the table's schema takes."""
    result, _ = run_sweep(make_crossing_worker())
    assert all(isinstance(row, Row) for row in result.rows)
    assert all(row.evidence.points and row.evidence.noise is not None for row in result.rows)
