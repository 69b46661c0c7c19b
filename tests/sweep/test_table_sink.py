"""What a sweep leaves behind: measurements add up, nothing is lost, and nothing is called what it is not."""

import dataclasses
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from moesort_tune import __version__
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.records import Conditions, MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.samples import read_samples
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.table_sink import TableSink
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.schema import Entry, Row
from tests.sweep.fakes import FACTS, FakeWorker, ListListener, TickingClock, time_two_kernels
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONE, ONESHOT

SHAPE = Shape(128, 4)
FIRST_DAY, SECOND_DAY = datetime.date(2026, 11, 22), datetime.date(2026, 11, 23)
POINT = MeasuredPoint({ONESHOT: 1.0, MULTIPHASE: 2.0}, ONE, 0.0)
NEW_DRIVER = dataclasses.replace(FACTS, driver="7.3.0")


@dataclass
class Machine:
    """Sweeps kernels that are equal at 40 tokens into one table."""

    table: Path
    worker: FakeWorker = field(
        default_factory=lambda: time_two_kernels(lambda _, tokens: 2 + 0.1 * tokens, lambda *_: 6.0)
    )
    listener: ListListener = field(default_factory=ListListener)
    result: SweepResult = field(default_factory=SweepResult)
    rule: StoppingRule = field(default_factory=StoppingRule)

    def open_sink(self, *, facts: DeviceFacts = FACTS, day: datetime.date = FIRST_DAY, **options: Any) -> TableSink:
        """Return the sink of a sweep; settings by their names, resume and replace as they are."""
        flags = {name: options.pop(name) for name in ("resume", "replace") if name in options}
        return TableSink(self.table, Conditions(facts, Settings(**options), 0.02), today=day, **flags)

    def sweep(self, first: int, last: int, *, clock: Any = lambda: 0.0, budget: float | None = None, **of: Any) -> Row:
        """Run a sweep of first..last and return its row in the table."""
        self.sweep_into(self.open_sink(**of), first, last, clock=clock, budget=budget)
        return self.read_entry().complete(self.read_entry().rows[0])

    def sweep_into(
        self, sink: TableSink, first: int, last: int, *, clock: Any = lambda: 0.0, budget: float | None = None
    ) -> None:
        """Run a sweep of first..last."""
        self.worker.timed.clear()
        self.worker.facts = sink.conditions.facts
        self.listener.warnings.clear()
        plan = SweepPlan([SHAPE], TokenRange(first, last), (sink.conditions.settings,), self.rule, budget)
        self.result = Sweep(plan, workers=[self.worker], sinks=[sink], listener=self.listener, clock=clock).run()

    def read_entry(self) -> Entry:
        """Return the table's only entry."""
        (entry,) = store.load(self.table).tables
        return entry

    def list_reasons(self, first: int, last: int, **of: Any) -> list[str]:
        """Return why a sweep would be refused before it begins."""
        return self.open_sink(**of).list_reasons_to_stay([SHAPE], TokenRange(first, last), self.worker.limits)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return an empty result."""
    return Machine(tmp_path / "host.yaml")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("tokens", [(64, 64), (8, 24), (30, 50), (1, 1)])
def test_narrower_sweep_keeps_the_rest_of_its_row(machine: Machine, tokens: tuple[int, int], seed: int) -> None:
    """What was measured under the same conditions stays part of the row, whatever the seed."""
    whole = machine.sweep(1, 64)
    assert machine.list_reasons(*tokens, seed=seed) == []
    row = machine.sweep(*tokens, seed=seed)
    assert machine.worker.timed
    assert (row.policy, row.tie, row.evidence.tokens) == (whole.policy, whole.tie, (1, 64))
    assert (row.evidence.points or 0) >= (whole.evidence.points or 0)


def test_replaced_row_rests_on_its_own_sweep_alone(machine: Machine) -> None:
    """--replace starts anew, also where the samples of the same conditions are there; with --resume what it takes."""
    machine.sweep(1, 64)
    row = machine.sweep(64, 64, replace=True)
    assert (row.evidence.points, row.evidence.tokens) == (1, (64, 64))
    row = machine.sweep(1, 8, replace=True, resume=True)
    assert machine.worker.timed == []
    assert row.evidence.tokens == (1, 8)


def test_wider_and_further_sweeps_add_up(machine: Machine) -> None:
    """A row grows in either direction, and knows what nobody measured in between."""
    machine.sweep(32, 64)
    assert machine.sweep(64, 128).evidence.tokens == (32, 128)
    row = machine.sweep(1, 4)
    assert row.evidence.tokens == (1, 128)
    assert (row.choose_kernel(1, KERNELS), row.choose_kernel(100, KERNELS)) == (ONESHOT, MULTIPHASE)
    assert row.list_tied(5)
    assert row.list_tied(31)
    assert machine.sweep(4, 32).tie == ((39, 41, KERNELS),)


def test_sweep_stands_alone_within_its_range(machine: Machine) -> None:
    """A device that changed is measured anew: its old points are no part of a row that was searched to its end."""
    machine.sweep(1, 128)
    machine.worker.formulas[ONESHOT] = lambda _, tokens: 2 + 0.4 * tokens
    row = machine.sweep(1, 128)
    assert (row.policy[1], row.tie) == ((11, MULTIPHASE), ((10, 10, KERNELS),))


def test_switch_between_two_sweeps_is_confirmed(machine: Machine) -> None:
    """Neither sweep alone had a switch; the row has one, so the first win of each side is measured a second time."""
    machine.sweep(1, 32)
    machine.sweep(64, 128)
    assert [tokens for _, tokens in machine.worker.timed if machine.worker.timed.count((SHAPE, tokens)) == 2] == [
        64,
        64,
    ]
    assert (SHAPE, 1) in machine.worker.timed


@pytest.mark.parametrize(
    ("setting", "reported"),
    [
        ({"unit_size": 64}, "measured with unit_size=32, and the new one with unit_size=64"),
        ({"model_dim": 2048}, "measured with model_dim=4096, and the new one with model_dim=2048"),
        ({"dtype": "float32"}, "measured with dtype=bfloat16, and the new one with dtype=float32"),
        ({"routing": "zipf:1.2"}, "measured with routing=uniform, and the new one with routing=zipf:1.2"),
        ({"cold": True, "timing": "eager"}, "measured with cold=False, and the new one with cold=True"),
    ],
)
def test_other_settings_never_replace_a_row_unasked(machine: Machine, setting: dict[str, Any], reported: str) -> None:
    """No entry is known by these settings, so their rows would take each other's place: only --replace does that."""
    before = machine.sweep(1, 64, timing=setting.get("timing", "graph"))
    (reason,) = machine.list_reasons(1, 64, **setting)
    assert reported in reason
    assert "--replace" in reason
    assert "--out" in reason
    assert machine.list_reasons(1, 64, replace=True, **setting) == []
    assert machine.sweep(1, 64, **setting) == before  # another sweep may have come first
    assert reported in machine.result.failed[RowKey(SHAPE)]
    machine.sweep(1, 64, replace=True, **setting)
    assert machine.read_entry().sweep != before.sweep


def test_cold_cache_never_replaces_a_warm_one_unasked(machine: Machine) -> None:
    """Both are timed eagerly, so both are of one entry."""
    machine.sweep(1, 8, timing="eager")
    (reason,) = machine.list_reasons(1, 8, timing="eager", cold=True)
    assert "measured with cold=False, and the new one with cold=True" in reason


@pytest.mark.parametrize("of", [{}, {"facts": NEW_DRIVER}, {"facts": dataclasses.replace(FACTS, name="another")}])
def test_poorer_row_is_refused_where_nothing_adds_up(machine: Machine, of: dict[str, Any]) -> None:
    """Without its samples, or with those of other software or another device, a wide row gives way to no narrow one."""
    before = machine.sweep(1, 64)
    if not of:
        machine.open_sink().samples.unlink()
    (reason,) = machine.list_reasons(64, 64, **of)
    assert f"rests on {before.evidence.points} token counts from 1 to 64" in reason
    assert "would reach from 64 to 64" in reason
    assert "use --tokens 1:64, or --replace, or name another file with --out" in reason
    assert machine.sweep(64, 64, **of) == before
    assert machine.result.failed
    assert machine.list_reasons(1, 64, **of) == []
    assert machine.sweep(64, 64, replace=True, **of).evidence.points == 1


@pytest.mark.parametrize("samples", [True, False])
def test_search_that_was_cut_short_costs_no_row(machine: Machine, samples: bool) -> None:
    """A budget that ends after the first answer leaves the row as it was: by its samples, or by being refused."""
    before = machine.sweep(33, 64)
    if not samples:
        machine.open_sink().samples.unlink()
    row = machine.sweep(33, 64, clock=TickingClock(), budget=1.0)
    assert samples is any("rows were searched to their end" in warning for warning in machine.listener.warnings)
    assert (row.policy, row.tie, row.evidence.points) == (before.policy, before.tie, before.evidence.points)
    assert bool(machine.result.failed) is not samples


def test_cut_sweep_does_not_replace_settled_points_by_unsettled_ones(machine: Machine) -> None:
    """Protects a finished row from a sweep of little time, also where a later one elsewhere reads all samples again."""
    whole = machine.sweep(33, 64)
    machine.rule = StoppingRule(max_rounds=3)  # fewer than a verdict needs
    row = machine.sweep(33, 64, clock=TickingClock(), budget=1.0, seed=1)
    assert any("rows were searched to their end" in warning for warning in machine.listener.warnings)
    assert not any("ended at a limit" in warning for warning in machine.listener.warnings)
    measured = {tokens for _, tokens in machine.worker.timed}
    unsettled = {one.tokens for one in read_samples(machine.open_sink().samples) if not one.settled}
    assert measured & unsettled
    assert (row.policy, row.tie, row.evidence.noise) == (whole.policy, whole.tie, whole.evidence.noise)
    machine.rule = StoppingRule()
    later = machine.sweep(65, 65)
    assert (later.policy, later.tie) == (whole.policy, whole.tie)


def test_resumed_sweep_relabels_nothing(machine: Machine) -> None:
    """A row of old samples keeps their day; one that was added to says since when."""
    machine.sweep(1, 64, day=FIRST_DAY)
    row = machine.sweep(1, 64, day=SECOND_DAY, resume=True)
    assert machine.worker.timed == []
    assert (machine.read_entry().sweep or row.sweep) == row.sweep
    assert (row.sweep and row.sweep.date, row.evidence.since) == (FIRST_DAY, None)
    row = machine.sweep(1, 128, day=SECOND_DAY, resume=True)
    assert (row.sweep and row.sweep.date, row.evidence.since) == (SECOND_DAY, FIRST_DAY)
    assert {sample.date for sample in read_samples(machine.open_sink().samples) if sample.tokens <= 64} == {
        "2026-11-22"
    }


@pytest.mark.parametrize("changed", ["hip", "driver", "compiler", "name", "revision"])
def test_resume_takes_nothing_of_another_kind(machine: Machine, changed: str) -> None:
    """Other software, code or another device is measured from the start, and what the row says of it is true."""
    machine.sweep(1, 8, day=FIRST_DAY)
    lines, first = read_samples(machine.open_sink().samples), [*machine.worker.timed]
    facts = dataclasses.replace(FACTS, **{changed: "other"})  # type: ignore[arg-type]
    machine.table.unlink()
    row = machine.sweep(1, 8, facts=facts, day=SECOND_DAY, resume=True)
    assert machine.worker.timed == first
    assert row.sweep
    assert row.device
    assert (row.sweep.date, row.device.name, row.evidence.since) == (SECOND_DAY, facts.name, None)
    software = {"hip": facts.hip, "driver": facts.driver, "compiler": facts.compiler, "moesort_tune": __version__}
    assert row.software == software
    assert read_samples(machine.open_sink().samples)[: len(lines)] == lines
    reported = list(machine.open_sink(facts=facts, resume=True).list_doubts())
    assert any("not taken by --resume" in sentence for sentence in reported) is (changed != "revision")


def test_resumed_sweep_warns_as_the_first(machine: Machine) -> None:
    """Noise does not become silence by being read from a file."""
    machine.worker.noise = 0.01
    machine.worker.formulas[ONESHOT] = lambda *_: 6.0 / 1.02
    machine.sweep(1, 36)
    warnings = [*machine.listener.warnings]
    assert any("ended at a limit" in warning for warning in warnings)
    machine.sweep(1, 36, resume=True)
    assert machine.worker.timed == []
    assert machine.listener.warnings == warnings


def test_rows_of_another_device_keep_its_name_and_are_reported(machine: Machine) -> None:
    """MI300X and MI325X have as many compute units: rows of both share an entry, and each says which."""
    other = dataclasses.replace(FACTS, name="AMD Instinct MI325X", driver="7.3.0")
    machine.sweep(1, 8)
    sink = machine.open_sink(facts=other)
    versions = "compiler none, driver {}, hip 7.2.0, moesort_tune " + __version__
    assert [sentence.split(" has rows measured with ")[1] for sentence in sink.list_doubts()] == [
        "device fake, and this sweep has AMD Instinct MI325X; each row keeps its own",
        f"software {versions.format('7.2.0')}, and this sweep has {versions.format('7.3.0')}; each row keeps its own",
    ]
    row = machine.read_entry().rows[0]
    sink.keep_row(msgspec.structs.replace(row, num_experts=64), {1: POINT}, finished=True)
    entry = machine.read_entry()
    assert entry.device.name == other.name
    assert [entry.complete(row).device.name for row in entry.rows] == [other.name, "fake"]  # type: ignore[union-attr]
    assert [(entry.complete(row).software or {})["driver"] for row in entry.rows] == ["7.3.0", "7.2.0"]


@pytest.mark.parametrize(
    ("facts", "reported"),
    [
        ({"wavefront_size": 16}, "waves of 32 or 64 lanes, not of 16"),
    ],
)
def test_device_that_no_table_can_name_is_refused_first(machine: Machine, facts: dict[str, Any], reported: str) -> None:
    """What the schema has no word for is not filed under another one."""
    with pytest.raises(TableError, match=reported):
        machine.open_sink(facts=dataclasses.replace(FACTS, **facts))


def test_table_changed_meanwhile_is_looked_at_again(machine: Machine) -> None:
    """Another sweep may have written since this one began: its row is kept all the same."""
    sink = machine.open_sink(unit_size=64)
    machine.sweep(1, 64)
    with pytest.raises(RowKeptError, match="unit_size=32"):
        sink.keep_row(machine.read_entry().rows[0], {1: POINT}, finished=True)


@pytest.mark.parametrize("other", [{"moe_buf": False}, {"ep": 4}])
def test_condition_leaves_the_rows_and_samples_of_another_alone(machine: Machine, other: dict[str, Any]) -> None:
    """Calls without a moe_buf, or with a mask, are measured and kept on their own, whatever is there already."""
    machine.sweep(1, 64)
    (before,) = store.load(machine.table).tables
    assert machine.list_reasons(8, 16, **other) == []
    sink = machine.open_sink(**other, resume=True)
    assert sink.find_known(SHAPE, machine.worker.limits(SHAPE)) == {}
    assert [*sink.list_doubts()] == []
    machine.sweep_into(sink, 8, 16)
    kept, new = store.load(machine.table).tables
    assert (kept, new.condition, new.rows[0].evidence.tokens) == (before, sink.conditions.settings.condition, (8, 16))


@pytest.mark.parametrize("other", [{"moe_buf": False}, {"ep": 4}])
def test_later_sweep_extends_the_row_of_its_condition(machine: Machine, other: dict[str, Any]) -> None:
    """A row grows by a sweep of another range; the rows of other conditions stay as they are."""
    machine.sweep(1, 64)
    (usual,) = store.load(machine.table).tables
    for first, last in ((1, 16), (16, 64)):
        assert machine.list_reasons(first, last, **other) == []
        machine.sweep_into(machine.open_sink(**other), first, last)
    kept, extended = store.load(machine.table).tables
    assert kept == usual
    assert (extended.rows[0].evidence.tokens, extended.rows[0].policy) == ((1, 64), usual.rows[0].policy)
    assert machine.list_reasons(16, 128, **other) == []


def test_columns_of_an_absent_moe_buf_refuse_no_row(machine: Machine) -> None:
    """Without a moe_buf model_dim and dtype mean nothing: such points are alike."""
    machine.sweep(1, 16, moe_buf=False)
    row = machine.sweep(16, 64, moe_buf=False, model_dim=7168, dtype="float16")
    assert row.evidence.tokens == (1, 64)


def test_product_leaves_the_rows_and_samples_of_another_alone(machine: Machine) -> None:
    """MI300X and MI325X share architecture and compute units, and a virtual machine may name both alike."""
    first, other = (dataclasses.replace(FACTS, device_id=device_id) for device_id in ("0x74a1", "0x74a5"))
    machine.sweep(1, 64, facts=first)
    (before,) = store.load(machine.table).tables
    assert machine.list_reasons(8, 16, facts=other) == []
    assert machine.open_sink(facts=other, resume=True).find_known(SHAPE, machine.worker.limits(SHAPE)) == {}
    sink = machine.open_sink(facts=other, resume=True)
    assert any("are not taken by --resume" in doubt for doubt in sink.list_doubts())
    machine.sweep_into(sink, 8, 16)
    kept, new = store.load(machine.table).tables
    assert (kept, new.device.id, new.rows[0].evidence.tokens) == (before, "0x74a5", (8, 16))
