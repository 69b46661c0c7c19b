"""`moesort-tune verify` on the host runtime, against crossings that are known."""

import dataclasses
import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from moesort_tune.cli.main import run
from moesort_tune.sweep.samples import append_samples, get_samples_path, read_samples
from moesort_tune.tables import store
from tests.cli.swept import HostMachine, build_clock

OTHER_CROSSING = build_clock("300+4*tokens")
"""Oneshot and multiphase cross at 100 tokens instead of 40, among counts that the sweep left out."""


@pytest.fixture
def swept(host: HostMachine) -> HostMachine:
    """Return a table of two rows that cross at 40 tokens."""
    assert host.sweep("--experts", "8,128", "--topk", "2,4") == 0
    return host


def verify(host: HostMachine, *options: str) -> int:
    """Return the exit status of `moesort-tune verify` under the sweep's own settings."""
    return run(["verify", str(host.table), "--settings", "none", *options])


def test_right_table_passes(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that fits the device costs no more than its ties, also on shapes without a row."""
    capsys.readouterr()
    assert verify(swept, "--fail-above", "1.001") == 0
    out, errors = capsys.readouterr()
    assert "no usable table" not in errors
    assert "as swept (8 points)" in out
    assert "shapes without a row (4 points)" in out
    assert "first encounter" in out


def test_table_of_a_device_that_changed_fails(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the crossing has moved to 100 tokens, the check says how bad the table has become and where."""
    swept.set(CLOCK=OTHER_CROSSING)
    assert verify(swept, "--fail-above", "1.05", "--points", "8") == 1
    error = capsys.readouterr().err
    assert "the table's regret reaches" in error
    assert "above the limit of 1.05" in error


def test_modelled_table_is_verified_like_a_measured_one(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A model is refuted by the same command: here by a device whose kernels cross elsewhere."""
    (entry,) = store.load(swept.table).tables
    modelled = msgspec.structs.replace(entry, evidence="modelled")
    store.save(swept.table, msgspec.structs.replace(store.load(swept.table), tables=(modelled,)))
    capsys.readouterr()
    assert verify(swept, "--fail-above", "1.001") == 0
    assert "shapes without a row" in capsys.readouterr().out
    swept.set(CLOCK=OTHER_CROSSING)
    assert verify(swept, "--fail-above", "1.05", "--points", "8") == 1
    assert "the table's regret reaches" in capsys.readouterr().err


def test_constant_that_does_as_well_is_admitted(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where tokens times experts decide, a single constant is as good as a table, and verify says so.

    Below it wave is taken where it is legal, which is faster than oneshot up to that constant.
    """
    host.set(CLOCK=build_clock("300+tokens*experts/16", wave="250+9*tokens*experts/128"))
    assert host.sweep("--experts", "64,128", "--topk", "6,4") == 0
    capsys.readouterr()
    assert verify(host, "--json") == 0
    report = json.loads(capsys.readouterr().out)["reports"][0]
    assert report["constant_does_as_well"]
    assert report["regret"]["table"]["worst"] <= 1.02


def test_table_beats_a_constant_where_no_constant_fits(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Crossing at 40 tokens whatever the experts: the constant errs for one of the rows, the table for none."""
    host.set(CLOCK=build_clock("300+10*tokens", wave="295+10*tokens"))
    assert host.sweep("--experts", "8,256", "--topk", "2,8") == 0
    capsys.readouterr()
    assert verify(host, "--json", "--points", "8") == 0
    report = json.loads(capsys.readouterr().out)["reports"][0]
    constant = next(regret for name, regret in report["regret"].items() if name.startswith("tokens * experts"))
    assert report["regret"]["table"]["mean"] < constant["mean"]
    assert not report["constant_does_as_well"]


def test_other_settings_are_measured_on_request(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Every setting that the table was not measured with has a report of its own."""
    assert run(["verify", str(swept.table), "--json", "--points", "2"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [report["setting"] for report in result["reports"]] == [
        "as swept",
        "without moe_buf",
        "masked",
        "shapes without a row",
        "no table",
        "eager",
        "cold",
        "zipf:1.2",
        "dirichlet:0.3",
        "unit_size=16",
        "unit_size=64",
        "unit_size=128",
        "model_dim=2048",
        "model_dim=7168",
    ]
    assert [report["setting"] for report in result["reports"] if report["swept"]] == ["as swept"]
    assert result["skew"] == {"routings": ["zipf:1.2", "dirichlet:0.3"], "points": 2, "above_margin": 0, "worst": 1.0}


def test_conditions_that_were_swept_are_verified_as_such(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects conditions as keys: each entry's points are measured under its condition, whatever is asked besides."""
    assert host.sweep("--experts", "8", "--topk", "2") == 0
    assert host.sweep("--experts", "8", "--topk", "2", "--ep", "4") == 0
    assert [entry.condition.masked for entry in store.load(host.table).tables] == [False, True]
    capsys.readouterr()
    assert verify(host, "--json", "--fail-above", "masked=1.001") == 0
    reports = {report["setting"]: report for report in json.loads(capsys.readouterr().out)["reports"]}
    assert list(reports) == ["as swept", "masked", "no table"]
    assert reports["masked"]["swept"]
    assert reports["masked"]["regret"]["table"]["worst_at"]["masked"]
    assert set(reports["no table"]["groups"]) == {"up to 64 experts", "with moe_buf", "with moe_buf, masked"}


def test_launches_one_by_one_are_decided_by_rows_that_were_swept_so(
    swept: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the reports on eager launches: rows of `--timing eager` decide there, as they do in a deployment."""
    swept.set(CLOCK=OTHER_CROSSING)
    options = ("--points", "16", "--json", "--settings")
    assert run(["verify", str(swept.table), *options, "eager"]) == 0
    before = read_worst_regrets(capsys)
    assert swept.sweep("--experts", "8,128", "--topk", "2,4", "--timing", "eager") == 0
    capsys.readouterr()
    assert run(["verify", str(swept.table), *options, "eager,cold"]) == 0
    after = read_worst_regrets(capsys)
    assert min(before["as swept"], before["eager"], after["as swept"]) > 1.1
    assert max(after["eager"], after["cold"]) <= 1.02


def read_worst_regrets(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Return the table's worst regret of each report that was just printed as JSON."""
    reports = json.loads(capsys.readouterr().out)["reports"]
    return {report["setting"]: report["regret"]["table"]["worst"] for report in reports if "table" in report["regret"]}


def test_limit_on_what_is_decided_without_a_table_fails_by_itself(
    swept: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The builtin rule takes oneshot for all 128 tokens, which crosses at 40: the table passes, no table does not."""
    assert verify(swept, "--fail-above", "1.05", "--fail-above", "no-table=1.15") == 1
    error = capsys.readouterr().err
    assert "the rule's regret reaches" in error
    assert "(no table)" in error
    assert "the table's" not in error.partition("Error:")[2]


def test_skew_that_costs_more_than_the_margin_is_said(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the table is wrong under skewed routing, one line says at how many points."""
    assert run(["verify", str(swept.table), "--settings", "zipf:1.2"]) == 0
    assert "the table's regret exceeds the margin of 0.02 at none of" in capsys.readouterr().out
    swept.set(CLOCK=OTHER_CROSSING)
    assert run(["verify", str(swept.table), "--settings", "dirichlet:0.3", "--points", "8"]) == 0
    out = capsys.readouterr().out
    assert "Under skewed routing (dirichlet:0.3) the table's regret exceeds the margin of 0.02 at " in out
    assert "none of" not in out


def write_trace(folder: Path) -> Path:
    """Return a trace of 8 experts and topk 2."""
    path = folder / "routing.npz"
    np.savez_compressed(path, num_experts=8, tokens=[2, 1], topk_ids=[[0, 1], [2, 3], [7, 6]])
    return path


def test_trace_is_swept_and_verified(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace is of one shape, the row says which trace it was, and verify wants that very file again."""
    trace = write_trace(host.folder)
    assert host.sweep("--routing", f"trace:{trace}", "--tokens", "30:50") == 0
    routing = f"trace:{hashlib.sha256(trace.read_bytes()).hexdigest()[:12]}"
    (entry,) = store.load(host.table).tables
    assert entry.sweep is not None
    assert (entry.sweep.routing, [row.shape for row in entry.rows]) == (routing, [(8, 2)])
    capsys.readouterr()
    assert verify(host) == 1
    assert f"the row of 8/2 was measured under {routing}; pass that file" in capsys.readouterr().err
    assert verify(host, "--routing", f"trace:{trace}", "--fail-above", "1.05") == 0
    assert "Under skewed routing (as swept" in capsys.readouterr().out


def test_trace_of_another_shape_is_refused(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A table without a row of the trace's shape cannot be verified under it; one with it has a report more."""
    trace = write_trace(swept.folder)
    assert verify(swept, "--json", "--routing", f"trace:{trace}") == 0
    reports = json.loads(capsys.readouterr().out)["reports"]
    assert reports[-1]["setting"].startswith("trace:")
    assert reports[-1]["points"] == 2
    np.savez(trace, num_experts=16, tokens=[1], topk_ids=[[0, 1]])
    assert verify(swept, "--routing", f"trace:{trace}") == 1
    assert "holds the routing of 16/2, and" in capsys.readouterr().err


def test_verify_measures_no_point_of_the_sweep(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A table is not verified by the points that made it, and samples of other settings are not among them."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "36:46") == 0
    measured = {sample.tokens for sample in read_samples(get_samples_path(host.table))}
    assert 2 < len(measured) < 11
    others = [dataclasses.replace(s, settings="unit_size=64") for s in read_samples(get_samples_path(host.table))]
    for tokens in range(36, 47):
        append_samples(get_samples_path(host.table), [dataclasses.replace(others[0], tokens=tokens)])
    capsys.readouterr()
    assert verify(host, "--json", "--points", "11") == 0
    assert json.loads(capsys.readouterr().out)["reports"][0]["points"] == 11 - len(measured)


def test_verify_tells_what_was_swept(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A table says how much it rests on, for a person and for scripts."""
    assert swept.sweep("--experts", "64", "--topk", "6", "--tokens", "32:64") == 0
    rows = swept.rows()
    assert verify(swept, "--points", "1") == 0
    points = sorted({rows[shape].evidence.points or 0 for shape in ((8, 2), (128, 4))})
    reported = capsys.readouterr().out
    assert f"swept: 1 to 128 tokens ({' to '.join(map(str, points))} measured): 8/2, 128/4\n" in reported
    assert f"swept: 32 to 64 tokens ({rows[64, 6].evidence.points} measured): 64/6\n" in reported
    assert verify(swept, "--points", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["swept"][1] == {
        "num_experts": 64,
        "topk": 6,
        "tokens": [32, 64],
        "points": rows[64, 6].evidence.points,
    }


def test_table_that_leaves_nothing_to_verify_claims_no_more_than_it_swept(
    host: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """One token count was swept, not every legal one."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "64") == 0
    assert verify(host) == 1
    error = capsys.readouterr().err
    assert "leaves no token count to verify: it was swept at 64 tokens (1 measured): 8/2" in error
    assert "every legal token count" not in error


def test_table_without_an_entry_for_these_kernels_is_reported(
    swept: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stale table is refused with the reason instead of being compared with other kernels."""
    text = swept.table.read_text()
    revision = read_samples(get_samples_path(swept.table))[0].revision
    swept.table.write_text(text.replace(revision, "0123456789abcdef"))
    assert verify(swept) == 1
    error = capsys.readouterr().err
    assert "has no entry for this device and these kernels" in error
    assert "revision 0123456789abcdef was measured" in error
