"""`moesort_tune.save`: what a process learned, as rows that other processes go by."""

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import moesort_tune
from moesort_tune import runtime
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import Verdict
from moesort_tune.operator.first_encounter import FirstEncounters, Learned, ShapeKey
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Row
from tests.operator.operator_tables import make_entry
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

KERNELS = ("wave", "oneshot", "multiphase")
TIMES: dict[KernelName | None, dict[KernelName, float]] = {
    "wave": {"wave": 3.0, "oneshot": 4.0, "multiphase": 6.0},
    "oneshot": {"oneshot": 4.0, "multiphase": 6.0},
    "multiphase": {"oneshot": 6.0, "multiphase": 4.0},
    None: {"oneshot": 4.0, "multiphase": 4.0},
}
"""Times where a kernel wins, of all that were legal there: wave is not where another one wins."""


class Memory(FirstEncounters):
    """Holds what a test says was learned."""

    def __init__(self, learned: dict[ShapeKey, Learned]) -> None:
        super().__init__(lambda _works, _stream: pytest.fail("nothing may be timed"))
        self._learned = learned


@pytest.fixture
def remember(torch_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the process have learned winners by shape."""

    def set_memory(winners: dict[tuple[int, int, int], KernelName | None]) -> None:
        memory = {ShapeKey(*key): _make_learned(winner) for key, winner in winners.items()}
        monkeypatch.setattr(get_sorting_device(torch_device), "encounters", Memory(memory))

    return set_memory


def _make_learned(winner: KernelName | None) -> Learned:
    samples = {kernel: [time] * 7 for kernel, time in TIMES[winner].items()}
    verdict = Verdict((winner,)) if winner else Verdict(("oneshot", "multiphase"))
    return Learned(winner or "oneshot", verdict, samples, unit_size=16, model_dim=0, dtype="bfloat16")


def read_rows(path: Path) -> list[Row]:
    """Return all rows of a table."""
    return [row for entry in store.load(path).tables for row in entry.rows]


def test_learned_rows_are_marked_and_found_exactly(remember: Any, kernels: SortingKernels, tmp_path: Path) -> None:
    """Protects the next process: it finds what this one learned, and whoever looks sees that no sweep made it."""
    remember({(8, 64, 4): "wave", (70, 64, 4): "oneshot", (90, 64, 4): "multiphase", (50, 64, 6): None})
    (path,) = moesort_tune.save(tmp_path)
    assert path == tmp_path / f"{kernels.limits.arch}.yaml"
    assert [row.shape for row in read_rows(path)] == [(64, 4), (64, 6)]
    assert all(row.evidence.kind == "learned" for row in read_rows(path))
    assert read_rows(path)[0].evidence.tokens == (8, 90)
    dispatcher = runtime.Dispatcher.load(path, compute_units=kernels.limits.compute_units, revision=kernels.revision)
    assert [dispatcher.policy(tokens, 64, 4) for tokens in (8, 70, 90)] == [3, 1, 2]
    assert dispatcher.counts() == {"exact row": 3}


def test_unmeasured_token_counts_of_a_learned_row_keep_the_rule(
    remember: Any, kernels: SortingKernels, tmp_path: Path
) -> None:
    """Protects shapes of which one token count was met: below it the rule decides, above it what won there."""
    remember({(10, 64, 4): "multiphase"})
    (path,) = moesort_tune.save(tmp_path)
    dispatcher = runtime.Dispatcher.load(path, compute_units=kernels.limits.compute_units, revision=kernels.revision)
    assert [dispatcher.policy(tokens, 64, 4) for tokens in (9, 10, 11)] == [3, 2, 2]
    assert dispatcher.explain(9, 64, 4).reason is runtime.Reason.BEYOND


@pytest.mark.parametrize("product", [None, "a sibling of this device"])
def test_swept_row_is_kept(remember: Any, kernels: SortingKernels, tmp_path: Path, product: str | None) -> None:
    """Protects a measured table from a few samples taken while serving, also the table of another product."""
    path = tmp_path / "table.yaml"
    swept = make_entry(kernels, examples.row(64, 4, switch=5), product=product)
    store.save(path, examples.table(swept, arch=kernels.limits.arch))
    remember({(10, 64, 4): "oneshot", (10, 32, 4): "oneshot"})
    moesort_tune.save(path)
    assert [(row.shape, row.evidence.kind) for row in sorted(read_rows(path), key=lambda row: row.shape)] == [
        ((32, 4), "learned"),
        ((64, 4), None),
    ]


def test_saving_again_counts_nothing_twice(remember: Any, tmp_path: Path) -> None:
    """Protects a process that saves every hour: what it knew already is no new evidence."""
    path = tmp_path / "table.yaml"
    for tokens in ((10,), (10,), (10, 20)):
        remember({(count, 64, 4): "oneshot" for count in tokens})
        moesort_tune.save(path)
        (row,) = read_rows(path)
        assert row.evidence.points == len(tokens)


def test_processes_add_to_what_others_learned(remember: Any, tmp_path: Path) -> None:
    """Protects the ranks of one deployment, which save into one file: the last one to write knows what all learned."""
    path = tmp_path / "table.yaml"
    remember({(10, 64, 4): "multiphase"})
    moesort_tune.save(path)
    remember({(300, 64, 4): "oneshot"})
    moesort_tune.save(path)
    (row,) = read_rows(path)
    assert [row.choose_kernel(tokens, KERNELS) for tokens in (10, 300)] == ["multiphase", "oneshot"]
    assert (row.evidence.points, row.evidence.tokens) == (2, (10, 300))
    remember({(10, 64, 4): "oneshot"})
    moesort_tune.save(path)
    (row,) = read_rows(path)
    assert [row.choose_kernel(tokens, KERNELS) for tokens in (10, 300)] == ["oneshot", "oneshot"]


@pytest.mark.parametrize(
    "change",
    [{"software": {"hip": "1.0"}}, {"device": {"name": "another"}}, {"sweep": {"unit_size": 128}}],
)
def test_what_others_learned_otherwise_is_not_called_ours(
    remember: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, dict[str, Any]]
) -> None:
    """Protects what a row says of itself: token counts of other software, devices or settings are not mixed into it."""
    path = tmp_path / "table.yaml"
    remember({(10, 64, 4): "multiphase"})
    moesort_tune.save(path)
    (entry,) = store.load(path).tables
    ((name, fields),) = change.items()
    old = getattr(entry, name)
    changed = fields if name == "software" else msgspec.structs.replace(old, **fields)
    before = msgspec.structs.replace(entry, **{name: changed})
    table = store.load(path)
    store.save(path, msgspec.structs.replace(table, tables=(before,)))

    remember({(12, 64, 4): "oneshot"})
    moesort_tune.save(path)
    assert store.load(path).tables == (before,)
    assert "not saved: the row of 64/4" in caplog.text

    remember({(8, 64, 4): "oneshot", (20, 64, 4): "multiphase"})
    moesort_tune.save(path)
    (entry,) = store.load(path).tables
    (row,) = entry.rows
    assert row.evidence.points == (1 if name == "sweep" else 2)
    assert (getattr(entry, name) == changed) is (name == "sweep")


def test_row_of_several_days_says_since_when(remember: Any, tmp_path: Path) -> None:
    """Protects the day that a row names: that of its newest token count, with that of its oldest beside."""
    path = tmp_path / "table.yaml"
    remember({(10, 64, 4): "multiphase"})
    moesort_tune.save(path)
    table = store.load(path)
    (entry,) = table.tables
    first_day = datetime.date(2026, 1, 2)
    assert entry.sweep
    today = entry.sweep.date
    earlier = msgspec.structs.replace(entry, sweep=msgspec.structs.replace(entry.sweep, date=first_day))
    store.save(path, msgspec.structs.replace(table, tables=(earlier,)))
    for tokens in (20, 30):
        remember({(tokens, 64, 4): "multiphase"})
        moesort_tune.save(path)
        (entry,) = store.load(path).tables
        assert entry.sweep
        assert (entry.sweep.date, entry.rows[0].evidence.since) == (today, first_day)


def test_nothing_learned_writes_nothing(remember: Any, tmp_path: Path) -> None:
    """Protects tables from empty entries."""
    remember({})
    assert moesort_tune.save(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_table_of_another_architecture_is_refused(remember: Any, tmp_path: Path) -> None:
    """Protects a file of one architecture from rows of another."""
    path = tmp_path / "gfx942.yaml"
    store.save(path, examples.table())
    remember({(10, 64, 4): "oneshot"})
    with pytest.raises(TableError, match="a table of gfx942 cannot take rows of"):
        moesort_tune.save(path)


@pytest.mark.usefixtures("checked_tensors", "no_table")
def test_measured_calls_can_be_saved(
    torch_device: torch.device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Protects the whole way: a call that measures, the saved row, and a call that goes by it without measuring."""
    of_device = get_sorting_device(torch_device)
    monkeypatch.setattr(of_device, "encounters", FirstEncounters(of_device.encounters.open_timer))
    arguments = make_arguments(cases.make_uniform(12, 2, 16), torch_device)
    moe_sorting(**arguments, on_miss="measure")
    (path,) = moesort_tune.save(tmp_path)
    monkeypatch.setattr(of_device, "encounters", Memory({}))
    moe_sorting(**arguments, on_miss="measure", table=path)
    assert of_device.get_dispatcher(str(path)).counts() == {"exact row": 1}
