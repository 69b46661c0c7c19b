"""A sweep of several conditions: one worker, a row of each, and less to measure after the first."""

from dataclasses import dataclass, field

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.errors import WorkerLostError
from moesort_tune.sweep.worker.messages import CheckRequest, Measured, MeasureRequest
from tests.sweep.fakes import FakeWorker, ListListener, ListSink, TickingClock
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONESHOT

USUAL, BARE, MASKED = Settings(), Settings(moe_buf=False), Settings(ep=4)
ALL = (USUAL, BARE, MASKED)
SHAPE = Shape(128, 4)
TOKENS = TokenRange(1, 4096)

CROSSING = {USUAL.condition: 40, BARE.condition: 40, MASKED.condition: 700}
"""Tokens at which both kernels take as long."""


@dataclass
class ConditionWorker(FakeWorker):
    """Kernels that cross at CROSSING[condition] tokens."""

    requests: list[CheckRequest | MeasureRequest] = field(default_factory=list)

    def check(self, request: CheckRequest) -> None:
        """Note it."""
        self.requests.append(request)
        super().check(request)

    def measure(self, request: MeasureRequest) -> Measured:
        """Take as long as the condition lets."""
        self.requests.append(request)
        crossing = CROSSING[request.settings.condition]
        self.formulas = {ONESHOT: lambda _, tokens: 2 + 4 * tokens / crossing, MULTIPHASE: lambda *_: 6.0}
        return super().measure(request)

    def count(self, kind: type, settings: Settings) -> int:
        """Return the number of requests of a kind under some settings."""
        return sum(isinstance(one, kind) and one.settings.condition == settings.condition for one in self.requests)


def make_worker(**options: object) -> ConditionWorker:
    """Return a worker whose kernels are legal for any number of tokens."""
    return ConditionWorker(
        {ONESHOT: lambda *_: 1.0, MULTIPHASE: lambda *_: 1.0},
        last_legal={},
        **options,  # type: ignore[arg-type]
    )


def run_sweep(
    worker: ConditionWorker, *settings: Settings, shapes: tuple[Shape, ...] = (SHAPE,), **changes: object
) -> tuple[SweepResult, list[ListSink]]:
    """Return the result of a sweep under these settings, and their sinks."""
    plan = SweepPlan(list(shapes), TOKENS, settings, StoppingRule(max_rounds=40), **changes)  # type: ignore[arg-type]
    sinks = [ListSink() for _ in settings]
    clock = TickingClock() if plan.time_budget_s else lambda: 0.0
    sweep = Sweep(plan, workers=[worker], sinks=sinks, listener=ListListener(), clock=clock)
    return sweep.run(), sinks


def test_every_condition_gets_the_row_of_its_own_times() -> None:
    """What the first condition found is where the others begin, and not what they find."""
    result, sinks = run_sweep(make_worker(), *ALL)
    assert list(result.written) == [RowKey(SHAPE, settings.condition) for settings in ALL]
    assert [sink.rows for sink in sinks] == [[row] for row in result.rows]
    for settings, row in zip(ALL, result.rows, strict=True):
        crossing = CROSSING[settings.condition]
        tie = [tokens for tokens in range(1, 4097) if row.list_tied(tokens)]
        assert tie[0] <= crossing <= tie[-1]
        assert tie[-1] <= 1.05 * crossing + 1
        assert row.choose_kernel(tie[0] - 1, KERNELS) == ONESHOT
        assert row.choose_kernel(tie[-1] + 1, KERNELS) == MULTIPHASE


def test_conditions_after_the_first_are_searched_with_fewer_points() -> None:
    """Protects the length of a sweep: nothing is looked for where the first condition was clear by far."""
    worker = make_worker()
    run_sweep(worker, *ALL)
    counts = [worker.count(MeasureRequest, settings) for settings in ALL]
    assert counts[1] < 0.75 * counts[0]
    assert counts[2] < counts[0]


def test_search_of_another_condition_measures_both_sides_of_the_switch_that_was_found() -> None:
    """Where the conditions agree, the first look finds it."""
    worker = make_worker()
    result, _ = run_sweep(worker, USUAL, BARE)
    switch = result.rows[0].policy[1][0]
    bare = [one.tokens for one in worker.requests if isinstance(one, MeasureRequest) and one.settings == BARE]
    ladder = [tokens for tokens, before in zip(bare, [0, *bare], strict=False) if tokens > before]
    assert {switch - 1, switch} <= set(ladder[: ladder.index(TOKENS.last) + 1])
    assert ladder.index(TOKENS.last) > 12


def test_all_conditions_are_checked_before_any_is_timed() -> None:
    """A kernel that is wrong with a mask is found before a row without one is written."""
    worker = make_worker()
    run_sweep(worker, *ALL)
    kinds = [type(request) for request in worker.requests]
    assert CheckRequest not in kinds[kinds.index(MeasureRequest) :]
    checked = [worker.count(CheckRequest, settings) for settings in ALL]
    assert 0 < checked[0] == checked[1] == checked[2]


def test_lost_worker_costs_the_row_of_its_condition_only() -> None:
    """A kernel that never ends with a mask says nothing about calls without one."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.settings.masked and request.tokens == 64:
            raise WorkerLostError("the kernels did not end within 30 s")

    result, _ = run_sweep(make_worker(before=before), *ALL)
    assert list(result.written) == [RowKey(SHAPE), RowKey(SHAPE, BARE.condition)]
    assert [str(key) for key in result.failed] == ["128/4 masked"]


def test_condition_after_one_that_failed_is_searched_whole() -> None:
    """Nothing is known then that could be left out."""

    def before(request: CheckRequest | MeasureRequest) -> None:
        if request.settings == USUAL:
            raise WorkerLostError("the kernels did not end within 30 s")

    worker, whole = make_worker(before=before), make_worker()
    failed, _ = run_sweep(worker, USUAL, BARE)
    alone, _ = run_sweep(whole, BARE)
    assert failed.rows == alone.rows
    assert worker.count(MeasureRequest, BARE) == whole.count(MeasureRequest, BARE)


def test_shape_with_fewer_experts_than_ranks_has_no_masked_row() -> None:
    """A rank without an expert sorts nothing."""
    small = Shape(2, 1)
    result, _ = run_sweep(make_worker(), *ALL, shapes=(small, SHAPE))
    assert [key.condition for key in result.written if key.shape == small] == [Condition(), Condition(moe_buf=False)]
    assert len(result.written) == 5


@pytest.mark.parametrize("conditions", [1, 3])
def test_rows_of_all_conditions_share_the_time(conditions: int) -> None:
    """A budget is for all of a sweep; the last row is not left without."""
    result, _ = run_sweep(make_worker(), *ALL[:conditions], time_budget_s=60.0 * conditions)
    assert len(result.rows) == conditions


def test_keys_name_the_condition_where_it_is_not_the_usual_one() -> None:
    """Progress lines and errors tell the rows of a shape apart."""
    keys = [RowKey(SHAPE, condition) for condition in (*CROSSING, Condition(moe_buf=False, masked=True))]
    assert [str(key) for key in keys] == [
        "128/4",
        "128/4 without moe_buf",
        "128/4 masked",
        "128/4 without moe_buf, masked",
    ]
