"""What a process's surroundings decide: variables, shipped tables, the attached GPU, the file of misses."""

import concurrent.futures
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moesort_tune import runtime, shipped
from moesort_tune.device.attached import find_attached_gpu
from moesort_tune.device.kfd import list_gpus
from moesort_tune.domain.device import AttachedGpu
from moesort_tune.domain.shape import Shape
from moesort_tune.runtime import Dispatcher, Reason
from moesort_tune.runtime.search import compute_digest
from moesort_tune.sweep.grid import read_misses
from moesort_tune.tables import store
from moesort_tune.tables.schema import Table
from tests.device import kfd_trees as trees
from tests.tables.examples import device, entry, row, table

MI300X = AttachedGpu("gfx942", 304, alike=True)


@pytest.fixture
def shipped_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty folder of shipped tables, no GPU, no variables, and nothing made before."""
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(shipped, "get_tables_folder", lambda: folder)
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: None)
    monkeypatch.setattr(runtime.dispatcher, "_warned", {})
    runtime.reset()
    yield folder
    runtime.reset()


def save_table(path: Path, one: Table | None = None) -> Path:
    """Return this table in this file."""
    store.save(path, one or table())
    return path


def test_shipped_table_of_the_attached_gpu_serves_by_itself(
    shipped_tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any setting: the GPU is found in sysfs, its table in the package."""
    small = entry(device=device(compute_units=80))
    save_table(shipped_tables / "gfx942.yaml", table(small, entry()))
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: AttachedGpu("gfx942", 80, alike=True))
    dispatcher = runtime.get()
    assert (dispatcher.entry, dispatcher.compute_units) == (small, 80)
    assert runtime.get() is dispatcher


def test_variable_names_the_table_before_the_shipped_one(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a folder; the architecture by argument, variable or GPU."""
    save_table(shipped_tables / "gfx942.yaml")
    mine = save_table(tmp_path / "mine" / "gfx942.yaml", table(entry([row(8, 2)])))
    for named in (mine, mine.parent):
        monkeypatch.setenv("MOESORT_TUNE_TABLE", str(named))
        runtime.reset()
        assert runtime.get(arch="gfx942").table == mine
        monkeypatch.setenv("MOESORT_TUNE_ARCH", "gfx942:sramecc+")
        assert runtime.get().table == mine
        monkeypatch.delenv("MOESORT_TUNE_ARCH")


def test_named_table_of_another_architecture_is_not_used(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped one serves, and explain says why the named one does not."""
    other = save_table(tmp_path / "other.yaml", table(entry([row(8, 2)]), arch="gfx950"))
    ours = save_table(shipped_tables / "gfx942.yaml")
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(other))
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: MI300X)
    dispatcher = runtime.get()
    assert dispatcher.table == ours
    assert "it is of gfx950, not of gfx942" in dispatcher.not_used[0]


def test_named_file_serves_where_no_amd_gpu_is_known(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another vendor's GPU, or where sysfs is hidden, the file's own architecture is meant."""
    assert shipped_tables.is_dir()
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(save_table(tmp_path / "any.yaml")))
    assert runtime.get().entry == entry()
    assert runtime.get().arch == "gfx942"


def test_broken_named_table_does_not_stop_a_serving_process(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported with place and reason, and the next table or the kernels' rule decides."""
    assert shipped_tables.is_dir()
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: 1\narch: gfx942\ntables: 5\n")
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(broken))
    dispatcher = runtime.get(arch="gfx942", compute_units=304)
    assert dispatcher.explain(1, 128, 4).reason is Reason.OWN_RULE
    assert f"{broken}: tables: expected a list with at least one item, got 5; this table is not used" in caplog.text
    with pytest.raises(Exception, match="tables: expected a list"):
        Dispatcher.load(arch="gfx942", compute_units=304)


def test_first_dispatcher_is_made_once_by_many_threads(shipped_tables: Path) -> None:
    """All threads of a process share one dispatcher and its counts."""
    save_table(shipped_tables / "gfx942.yaml")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: runtime.get(arch="gfx942", compute_units=304), range(32)))
    assert len({id(dispatcher) for dispatcher in made}) == 1


def test_child_forked_while_another_thread_makes_a_dispatcher_is_served() -> None:
    """The thread that holds the lock does not exist in the child, so nobody would ever let go of it."""
    program = """
import os, signal
from moesort_tune import runtime
with runtime.dispatcher._creating:
    child = os.fork()
    if not child:
        signal.alarm(20)
        runtime.get(arch="gfx942", compute_units=304).policy(1, 128, 4)
        os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0\n"


def test_log_says_which_entry_decides(shipped_tables: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cure for tables that were never read and nobody noticed."""
    path = save_table(shipped_tables / "gfx942.yaml")
    with caplog.at_level(logging.INFO, logger="moesort_tune"):
        runtime.get(arch="gfx942", compute_units=304)
    assert caplog.messages == [
        f"sorting kernels are chosen by {path} (sha256 {compute_digest(path.read_bytes())}), entry of"
        " 304 compute units, builtin, 5c1e0f, graph"
    ]


@pytest.mark.parametrize(
    ("nodes", "environment", "attached"),
    [
        ([trees.CPU, trees.CPU, trees.MI300X], {}, ("gfx942", 304, True)),
        ([trees.CPU] + [trees.MI300X_CPX] * 8, {}, ("gfx942", 38, True)),
        ([trees.PHOENIX_APU, trees.MI210], {}, ("gfx90a", 104, True)),
        ([trees.CPU, trees.MI308X, trees.MI300X], {}, ("gfx942", 80, False)),
        ([trees.CPU, trees.MI355X], {"HSA_OVERRIDE_GFX_VERSION": "9.4.2"}, ("gfx942", 256, True)),
        ([trees.CPU, trees.MI210], {"HSA_OVERRIDE_GFX_VERSION_1": "9.5.0"}, ("gfx950", 104, True)),
        ([trees.CPU, trees.MI210], {"HSA_OVERRIDE_GFX_VERSION": "nonsense"}, ("gfx90a", 104, True)),
        ([trees.PHOENIX_APU], {}, None),
        ([trees.CPU], {}, None),
        ([None], {}, None),
    ],
)
def test_attached_gpu_is_told_from_sysfs(
    tmp_path: Path,
    nodes: list[dict[str, int] | None],
    environment: dict[str, str],
    attached: tuple[str, int, bool] | None,
) -> None:
    """Partitions, an integrated GPU beside the real one, several kinds, an overridden name, nothing readable."""
    found = find_attached_gpu(list_gpus(trees.write(tmp_path, *nodes)), environment)
    assert (found and (found.arch, found.compute_units, found.alike)) == attached


@pytest.mark.parametrize(
    ("nodes", "alike", "device_id"),
    [
        ([trees.MI300X, trees.MI300X], True, "0x74a1"),
        ([trees.MI300X, trees.MI325X], True, ""),
        ([trees.MI325X, trees.MI308X], False, "0x74a5"),
        ([trees.PHOENIX_APU, trees.MI300X_CPX, trees.MI300X_CPX], True, "0x74a1"),
    ],
)
def test_attached_product_is_known_where_its_kind_is_of_one(
    tmp_path: Path, nodes: list[dict[str, int]], alike: bool, device_id: str
) -> None:
    """Which of two products of one kind will run is not known without HIP, and needs no question either."""
    found = find_attached_gpu(list_gpus(trees.write(tmp_path, *nodes)), {})
    assert found is not None
    assert (found.alike, found.device_id) == (alike, device_id)


def test_several_kinds_of_gpus_are_reported(
    shipped_tables: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which of them will run is not known without HIP, so the caller is asked to say."""
    save_table(shipped_tables / "gfx942.yaml")
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: AttachedGpu("gfx942", 304, alike=False))
    assert runtime.get().entry == entry()
    assert "the attached GPUs are of several kinds" in caplog.text


def test_misses_are_written_once_and_read_as_a_grid(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapes without a row, each once, even over several processes; `sweep --from-misses` reads the file."""
    save_table(shipped_tables / "gfx942.yaml", table(entry([row(128, 4)])))
    path = tmp_path / "misses.csv"
    monkeypatch.setenv("MOESORT_TUNE_MISSES", str(path))
    for _ in range(2):
        runtime.reset()
        dispatcher = runtime.get(arch="gfx942", compute_units=304)
        for tokens in (7, 8, 7):
            for num_experts in (64, 128, 256):
                dispatcher.policy(tokens, num_experts, 4)
        dispatcher.wait_for_misses()
    lines = path.read_text().splitlines()
    assert lines[0] == "num_experts,topk,arch,compute_units,kernels,tokens"
    assert sorted(lines[1:]) == ["256,4,gfx942,304,builtin,7", "64,4,gfx942,304,builtin,7"]
    assert set(read_misses(path)) == {Shape(64, 4), Shape(256, 4)}


def test_misses_that_cannot_be_written_fail_nobody(
    shipped_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The decision is the same, and the log says what is wrong."""
    assert shipped_tables.is_dir()
    monkeypatch.setenv("MOESORT_TUNE_MISSES", str(tmp_path / "none" / "misses.csv"))
    dispatcher = runtime.get(arch="gfx942", compute_units=304)
    assert dispatcher.policy(1, 128, 4) == 3
    dispatcher.wait_for_misses()
    assert "missed shapes cannot be written to" in caplog.text
    assert "No such file or directory" in caplog.text
