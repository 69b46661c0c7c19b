"""`moesort-tune verify` on the host runtime, against crossings that are known."""

import dataclasses
import json

import pytest

from moesort_tune.cli.main import run
from moesort_tune.sweep.samples import append_samples, get_samples_path, read_samples
from tests.cli.swept import HostMachine, build_clock


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
    assert verify(swept, "--fail-above", "1.001") == 0
    out = capsys.readouterr().out
    assert "as swept (8 points)" in out
    assert "shapes without a row (4 points)" in out
    assert "first encounter" in out


def test_table_of_a_device_that_changed_fails(swept: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the crossing has moved to 10 tokens, the check says how bad the table has become and where."""
    swept.set(CLOCK=build_clock("300+40*tokens"))
    assert verify(swept, "--fail-above", "1.05", "--points", "8") == 1
    error = capsys.readouterr().err
    assert "the table's regret reaches" in error
    assert "above the limit of 1.05" in error


def test_constant_that_does_as_well_is_admitted(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where tokens times experts decide, a single constant is as good as a table, and verify says so."""
    host.set(CLOCK=build_clock("300+tokens*experts/16"))
    assert host.sweep("--experts", "64,128", "--topk", "6,4") == 0
    capsys.readouterr()
    assert verify(host, "--json") == 0
    report = json.loads(capsys.readouterr().out)["reports"][0]
    assert report["constant_does_as_well"]
    assert report["regret"]["table"]["worst"] <= 1.02


def test_table_beats_a_constant_where_no_constant_fits(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Crossing at 40 tokens whatever the experts: the constant errs for one of the rows, the table for none."""
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
    settings = [report["setting"] for report in json.loads(capsys.readouterr().out)["reports"]]
    assert settings == [
        "as swept",
        "shapes without a row",
        "unit_size=16",
        "unit_size=64",
        "unit_size=128",
        "model_dim=2048",
        "model_dim=7168",
        "ep=4",
        "eager",
        "cold",
    ]


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
