"""Sweep, show, verify and compare moe_align_block_size on the host runtime, against a crossing that is known."""

import functools
import json
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.domain.vocabulary import ALIGN, ALIGN_CONDITION, SORTING
from moesort_tune.runtime import Dispatcher
from moesort_tune.sorting.revision import compute_align_revision, compute_kernels_revision
from moesort_tune.sweep.samples import get_samples_path, read_samples
from moesort_tune.sweep.worker import devices
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.tables import store
from tests.cli.swept import HostMachine, build_clock
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONESHOT
from tests.sweep.serving import serve_wrong_align

GRID = ("--experts", "8", "--topk", "2")


@pytest.fixture
def swept(host: HostMachine) -> HostMachine:
    """Return a table of moe_align_block_size whose only row crosses at 40 tokens."""
    assert host.sweep("--operation", "align", *GRID) == 0
    return host


@pytest.fixture
def both(swept: HostMachine) -> HostMachine:
    """Return a table of both operations, in which moe_sorting crosses at 20 tokens."""
    swept.set(CLOCK=build_clock("300+20*tokens"))
    assert swept.sweep(*GRID) == 0
    return swept


def test_table_has_the_known_switch_of_the_align_form(swept: HostMachine) -> None:
    """The kernels of the align form really ran and were right, and the entry says what they compute."""
    (entry,) = store.load(swept.table).tables
    assert (entry.operation, entry.condition) == (ALIGN, ALIGN_CONDITION)
    assert (entry.kernels.provider, entry.kernels.revision) == ("align", compute_align_revision("host"))
    (row,) = entry.rows
    assert row.policy[:2] == ((1, ONESHOT), (42, MULTIPHASE))
    assert row.tie == ((39, 41, KERNELS),)
    assert row.evidence.rule_loss is None, "AITER's rule is none for this operation"
    assert {(one.provider, one.moe_buf) for one in read_samples(get_samples_path(swept.table))} == {("align", False)}


def test_sweep_resumes_and_measures_nothing_again(swept: HostMachine) -> None:
    """Samples of the operation are found again by what they say of themselves."""
    samples = read_samples(get_samples_path(swept.table))
    table = store.load(swept.table)
    assert swept.sweep("--operation", "align", "--resume", *GRID) == 0
    assert read_samples(get_samples_path(swept.table)) == samples
    assert store.load(swept.table) == table


def test_each_operation_decides_by_its_own_entry(both: HostMachine) -> None:
    """Two entries of one file and one shape: neither decides for the other, in whichever order they stand."""
    entries = {entry.operation: entry for entry in store.load(both.table).tables}
    assert list(entries) == [ALIGN, SORTING]
    assert entries[SORTING].kernels.revision == compute_kernels_revision("host")
    for kernels, operation, last in (("align", ALIGN, 41), ("builtin", SORTING, 20)):
        dispatcher = Dispatcher.load(both.table, kernels=kernels)
        assert dispatcher.entry == entries[operation]
        assert [dispatcher.policy(tokens, 8, 2) for tokens in (last, last + 1)] == [1, 2]


def test_wrong_kernel_ends_the_sweep(
    host: HostMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No time of a kernel counts whose outputs are wrong anywhere, here only behind the last row."""
    monkeypatch.setattr(devices, "ProcessWorker", functools.partial(ProcessWorker, serve=serve_wrong_align))
    assert host.sweep("--operation", "align", *GRID) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "is wrong for 8 experts, topk 2" in error
    assert "is 7 instead of -1" in error
    assert not host.table.exists()


def test_show_names_the_operation(both: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes the rows of one operation for those of the other."""
    capsys.readouterr()
    assert run(["show", str(both.table)]) == 0
    out = capsys.readouterr().out
    assert f"align kernels for {ALIGN}, revision" in out
    assert "builtin kernels, revision" in out
    assert run(["show", str(both.table), "--lookup", "32,8,2", "--kernels", "align"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"oneshot (policy 1) for 32 tokens, 8 experts, topk 2, {ALIGN}: exact row (row 8/2)")
    assert "moe_buf" not in out
    assert "it is of other kernels: builtin, not align" in err
    assert run(["show", str(both.table), "--lookup", "32,8,2", "--kernels", "align", "--json"]) == 0
    decided = json.loads(capsys.readouterr().out)
    assert (decided["operation"], decided["entry"]["operation"], decided["moe_buf"]) == (ALIGN, ALIGN, False)


def test_verify_reports_each_operation_for_itself(both: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not verified is named, with the command that verifies it."""
    command = ["verify", str(both.table), "--points", "2"]
    both.set(CLOCK=build_clock("300+10*tokens"))
    capsys.readouterr()
    assert run([*command, "--kernels", "align", "--settings", "eager,unit-size=16", "--fail-above", "1.001"]) == 0
    out, err = capsys.readouterr()
    assert f"compute units, {ALIGN}\n" in out
    for setting in ("as swept", "no table", "eager", "unit_size=16"):
        assert f"\n{setting} (" in out
    assert "AITER" not in out
    assert "it is of moe_sorting; verify it with --kernels builtin" in err
    assert run([*command, "--settings", "none"]) == 0
    out, err = capsys.readouterr()
    assert ALIGN not in out
    assert f"graph, {ALIGN} is left out: it is of {ALIGN}; verify it with --kernels align" in " ".join(err.split())


def test_all_settings_of_verify_are_those_of_the_operation(
    swept: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """No time goes into a moe_buf or a mask that the kernels do not have."""
    capsys.readouterr()
    assert run(["verify", str(swept.table), "--kernels", "align", "--points", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["operation"] == ALIGN
    assert [report["setting"] for report in result["reports"]] == [
        *("as swept", "no table", "eager", "cold", "zipf:1.2", "dirichlet:0.3"),
        *("unit_size=16", "unit_size=64", "unit_size=128"),
    ]


def test_tables_of_both_operations_are_put_together_and_compared(
    both: HostMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of one shape and different operations never meet: not in merge, not in diff, not in compare."""
    table = store.load(both.table)
    files = {}
    for entry in table.tables:
        files[entry.operation] = tmp_path / f"{entry.operation}.yaml"
        store.add_entry(files[entry.operation], "host", entry, replace=False, finished=True)
    merged = tmp_path / "merged.yaml"
    capsys.readouterr()
    assert run(["merge", str(files[ALIGN]), str(files[SORTING]), "--out", str(merged)]) == 0
    assert store.load(merged) == table
    assert run(["diff", str(files[ALIGN]), str(files[SORTING])]) == 0
    out = capsys.readouterr().out
    assert f"graph, {ALIGN}: removed" in out
    assert "graph: added" in out
    assert run(["compare", str(both.table), str(both.table), "--all", "--markdown"]) == 0
    out = capsys.readouterr().out.replace("\\_", "_")
    assert f"align oneshot ({ALIGN})" in out
    assert f"8/2 {ALIGN}" in out
