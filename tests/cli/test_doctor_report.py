"""`moesort-tune doctor`: what it prints on machines of several kinds."""

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from moesort_tune.cli import doctor as cli_doctor
from moesort_tune.cli.doctor import doctor
from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor import probing
from moesort_tune.doctor.bundle import BundleError
from moesort_tune.doctor.diagnosis import Failure, MeasuredDevice, RuntimeState, State, TableState
from moesort_tune.doctor.found_tables import find_tables
from moesort_tune.doctor.gap_probe import ModeGap, ProbedGap
from moesort_tune.sorting.revision import compute_align_revision, compute_kernels_revision
from tests.doctor import states
from tests.tables import examples


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs doctor on a recorded state."""

    def on(state: State, *options: str) -> Result:
        monkeypatch.setattr(probing, "probe", lambda **_: state)
        result = CliRunner().invoke(doctor, options)
        assert result.exit_code == 0, result.output
        return result

    return on


def test_report_without_a_gpu_reads_as_help(run: Any) -> None:
    """Protects newcomers: what to do next, and nothing that sounds broken."""
    text = run(states.BARE).stdout
    assert "To fix" not in text
    assert "GPU: none is attached (there is no /dev/kfd)" in text
    assert "nothing is wrong" in text
    assert text.endswith("`moesort-tune sweep` would measure on moesort-tune host (host, host runtime).\n")
    for word in ("error", "failed", "Traceback"):
        assert word not in text


def test_report_of_a_fitting_container_names_what_would_be_used(run: Any) -> None:
    """Protects the page that the owner of an MI300X sends back."""
    text = run(states.CONTAINER).stdout
    assert "AMD Instinct MI300X: gfx942:sramecc+:xnack-, 304 compute units, waves of 64, 64 KiB of LDS" in text
    assert "7.2.2.562.43 (fits ROCm 7.2)" in text
    assert "/opt/rocm/lib/libamdhip64.so (the one to use)" in text
    assert "2.9.0a0+git1234 (ROCm (HIP 7.2.26015))" in text


def test_report_names_products_of_devices_and_tables(run: Any) -> None:
    """Protects whoever compares machines: several products share an architecture and a number of compute units."""
    virtual = replace(states.MI300X_DEVICE, name="AMD Radeon Graphics", device_id="0x74b5")
    measured = (MeasuredDevice("AMD Instinct MI300X", 304, "0x74a1"), MeasuredDevice("AMD Instinct MI325X", 304))
    table = TableState("t.yaml", "./tables", "gfx942", (304,), devices=measured)
    state = replace(states.with_amd(replace(states.AMD, devices=(virtual,))), tables=(table,))
    text = run(state).stdout
    assert "AMD Radeon Graphics: MI300X (0x74b5, virtual function), gfx942:sramecc+:xnack-, 304 compute units" in text
    assert "t.yaml: gfx942, 304 compute units, measured on MI300X (0x74a1), AMD Instinct MI325X" in text
    (device, _) = json.loads(run(state, "--json").stdout)["devices"]
    assert device["device_id"] == "0x74b5"


@pytest.mark.parametrize(
    ("evidence", "is_named", "words"),
    [
        (
            "modelled",
            False,
            "modelled for MI300X (0x74a1), so used only where MOESORT_TUNE_TABLE or a call names the file",
        ),
        ("modelled", True, "modelled for MI300X (0x74a1)"),
        ("published", True, "published on MI300X (0x74a1)"),
    ],
)
def test_report_says_what_is_behind_a_table(run: Any, evidence: Any, is_named: bool, words: str) -> None:
    """Protects the reader from taking a model for a measurement."""
    devices = (MeasuredDevice("AMD Instinct MI300X", 304, "0x74a1", evidence),)
    table = TableState("t.yaml", "./tables", "gfx942", (304,), devices=devices, is_named=is_named)
    text = run(replace(states.CONTAINER, tables=(table,))).stdout
    assert f"t.yaml: gfx942, 304 compute units, {words}\n" in text


MODES = (
    ModeGap("graph", 2.01, {1: 2.0, 2: 4.0, 4: 8.03}),
    ModeGap("replay", 2.3, {1: 9.4, 2: 11.7, 4: 16.3}),
    ModeGap("eager", 4.9, {1: 5.1, 2: 10.0, 4: 19.8}),
)


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (ProbedGap("amd", 0, "AMD Instinct MI300X", MODES), "2.30 us for each further launch (1: 9.40 us, 2: 11.70 us"),
        (ProbedGap("amd", 0, "AMD Instinct MI300X", failure="the process died"), "not measured  the process died"),
        (
            ProbedGap("amd", 0, "AMD Instinct MI300X", MODES[:2], failures={"eager": "the host is too busy"}),
            "launched one by one   not measured: the host is too busy",
        ),
    ],
)
def test_report_has_the_launch_gap_that_was_asked_for(
    run: Any, monkeypatch: pytest.MonkeyPatch, gap: ProbedGap, words: str
) -> None:
    """Protects the figure that owners of AMD GPUs can send in seconds, or the reason why there is none."""
    monkeypatch.setattr(cli_doctor, "probe_launch_gap", lambda _, ordinal: replace(gap, ordinal=ordinal))
    text = run(states.CONTAINER, "--probe", "--device", "3").stdout
    assert "Launch gap of amd 3, AMD Instinct MI300X" in text
    assert words in text
    reported = json.loads(run(states.CONTAINER, "--probe", "--json").stdout)["launch_gap"]
    assert [mode["gap_us"] for mode in reported["modes"]] == [mode.gap_us for mode in gap.modes]
    assert reported["failure"] == gap.failure
    assert "launch_gap" not in json.loads(run(states.CONTAINER, "--json").stdout)


@pytest.mark.parametrize(
    ("origin", "required", "note"),
    [
        ("MOESORT_TUNE_TABLE", "AB" * 32, "(the digest of t.yaml)"),
        ("MOESORT_TUNE_TABLE", "cd" * 32, "(no table that is named has this digest)"),
        ("./tables", "ab" * 32, "(no table that is named has this digest)"),
    ],
)
def test_report_says_whether_the_required_table_is_there(run: Any, origin: str, required: str, note: str) -> None:
    """Protects fleets that must decide alike: the digest of each table, and what a process would raise."""
    table = TableState("t.yaml", origin, "gfx942", (304,), digest="ab" * 32)
    machine = replace(states.BARE.machine, environment={"MOESORT_TUNE_REQUIRE": required})
    text = run(replace(states.BARE, machine=machine, tables=(table,))).stdout
    assert f"sha256 {'ab' * 32}" in text
    assert f"MOESORT_TUNE_REQUIRE  {required} {note}" in text
    assert ("so every process fails" in text) is note.startswith("(no")


def test_report_names_gpus_that_no_runtime_opens(run: Any) -> None:
    """Protects the person whose driver works and whose runtime does not: which GPU it is about."""
    machine = replace(states.CONTAINER.machine, kfd_gpus=(replace(states.MI300X, device_id="0x74a1"),))
    text = run(states.with_amd(RuntimeState("amd", failure=Failure("no ROCm")), machine)).stdout
    assert "kfd 2   MI300X (0x74a1), gfx942, 304 compute units, which no runtime opens" in text


def test_report_of_a_misfit_prints_the_pip_command(run: Any) -> None:
    """Protects the one command that puts it right."""
    rocm = (Candidate("/opt/rocm/lib/libamdhip64.so", "/opt/rocm", "6.4.1"),)
    text = run(replace(states.CONTAINER, rocm=rocm)).stdout
    assert "To fix" in text
    assert "pip install 'hip-python~=6.4.0'" in text


def test_report_is_made_when_a_driver_crashes(run: Any) -> None:
    """Protects the exit status: doctor succeeds whenever it could report."""
    dead = RuntimeState("amd", failure=Failure("the process that lists its devices ended with SIGSEGV"))
    text = run(states.with_amd(dead)).stdout
    assert "amd runtime: the process that lists its devices ended with SIGSEGV" in text
    assert REMEDIES["runtime died"] in text


def test_brackets_in_paths_are_printed(run: Any) -> None:
    """Protects table errors and folders, whose brackets are no markup."""
    table = TableState("[x].yaml", "./tables", refused="[x].yaml: tables[0].rows[3].topk: expected int >= 1, got [red]")
    assert table.refused in run(replace(states.BARE, tables=(table,))).stdout


def test_json_has_what_scripts_read(run: Any) -> None:
    """Protects the names that scripts and bug reports rely on."""
    report = json.loads(run(states.CONTAINER, "--json").stdout)
    keys = {"revisions", "runtimes", "devices", "compilers", "hip_python", "torch", "aiter", "tables", "problems"}
    assert keys <= report.keys()
    assert report["revisions"] == states.REVISIONS
    assert report["align_revisions"] == states.ALIGN_REVISIONS
    assert [(device["runtime"], device["arch"]) for device in report["devices"]] == [
        ("amd", "gfx942"),
        ("host", "host"),
    ]
    assert report["hip_python"] == {
        "version": "7.2.2.562.43",
        "rocm": "7.2",
        "fit": "same",
        "pip": "pip install 'hip-python~=7.2.0'",
    }
    assert report["problems"] == [
        {
            "subject": "table",
            "what": "there is none for gfx942 yet",
            "remedy": REMEDIES["no table"],
            "serious": False,
        }
    ]


def test_doctor_reports_on_this_machine(tmp_path: Path) -> None:
    """Protects the whole way, child processes included: the host runtime answers on every machine."""
    command = [sys.executable, "-c", "from moesort_tune.cli.doctor import doctor; doctor()", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    report = json.loads(answer.stdout)
    assert report["revisions"]["gfx950"] == compute_kernels_revision("gfx950")
    assert report["align_revisions"]["gfx950"] == compute_align_revision("gfx950")
    archs = [device["arch"] for device in report["devices"] if device["runtime"] == "host"]
    assert archs == ["host"], report["problems"]
    assert report["hip_python"]["version"]


def test_tables_are_found_in_their_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects what a process started here would read; a folder that is named twice is read once."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "gfx942.yaml").write_text(examples.EXAMPLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / "tables"))
    (table,) = [table for table in find_tables() if table.origin != "shipped"]
    assert (table.origin, table.arch, table.refused) == ("MOESORT_TUNE_TABLE", "gfx942", "")
    assert table.digest == hashlib.sha256(examples.EXAMPLE.encode()).hexdigest()


def test_place_that_may_not_be_looked_at_is_found_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the report: a table in another user's folder is refused like any other unreadable one."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / "locked"))

    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    found = {table.path: table for table in find_tables()}
    assert str(tmp_path / "locked") in found[str(tmp_path / "locked")].refused


@pytest.mark.parametrize(("name", "content"), [("broken.yaml", "schema: 2\n"), ("absent.yaml", None)])
def test_table_that_cannot_be_used_is_found_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None
) -> None:
    """Protects against a named table that is silently not used."""
    if content is not None:
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / name))
    table = find_tables()[0]
    assert str(tmp_path / name) in table.refused


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that runs `doctor --bundle` with an answer, on a recorded state with one table of its own."""
    (tmp_path / "t.yaml").write_text(examples.EXAMPLE)
    state = replace(states.CONTAINER, tables=(TableState(str(tmp_path / "t.yaml"), "./tables", "gfx942"),))
    monkeypatch.setattr(probing, "probe", lambda **_: state)
    gap = ProbedGap("amd", 0, "AMD Instinct MI300X", MODES)
    monkeypatch.setattr(cli_doctor, "probe_launch_gap", lambda *_: gap)
    monkeypatch.chdir(tmp_path)

    def on(*options: str, answer: str = "") -> Result:
        return CliRunner().invoke(doctor, ["--bundle", *options], input=answer)

    return on


def test_bundle_is_shown_before_it_is_written(bundle: Any, tmp_path: Path) -> None:
    """Protects who sends it: every line is printed first, and without a yes nothing is written."""
    refused = bundle("b.zip", answer="n\n")
    assert refused.exit_code == 0
    assert not (tmp_path / "b.zip").exists()
    for words in ("--- doctor.json", '"gap_us": 2.3', "--- t.yaml", examples.EXAMPLE.strip(), "2 files"):
        assert words in refused.stdout
    assert bundle("b.zip", answer="y\n").exit_code == 0
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        report = json.loads(archive.read("doctor.json"))
        assert archive.read("t.yaml").decode() == examples.EXAMPLE
    assert report["launch_gap"]["device"] == "AMD Instinct MI300X"


def test_bundle_without_anybody_to_ask_needs_a_yes(bundle: Any, tmp_path: Path) -> None:
    """Protects runs in scripts: no answer is no consent, and --yes writes the file of the default name."""
    refused = bundle()
    assert isinstance(refused.exception, BundleError)
    assert "pass --yes" in str(refused.exception)
    assert bundle("--yes").exit_code == 0
    assert zipfile.is_zipfile(tmp_path / cli_doctor.BUNDLE)


def test_bundle_and_json_exclude_each_other(bundle: Any) -> None:
    """Two outputs on stdout would be one that nothing can read."""
    refused = bundle("b.zip", "--json")
    assert refused.exit_code == 2
    assert "leave out --json" in refused.output


def test_bundle_never_replaces_a_table_and_says_that_it_replaces_a_bundle(bundle: Any, tmp_path: Path) -> None:
    """Protects results: a yes to the question is one to the file that it names."""
    refused = bundle("t.yaml", answer="y\n")
    assert isinstance(refused.exception, BundleError)
    assert (tmp_path / "t.yaml").read_text() == examples.EXAMPLE
    replacing = "replacing the zip file that is there"
    assert replacing not in bundle("b.zip", answer="y\n").output
    assert replacing in bundle("b.zip", answer="n\n").output


def test_bundle_that_cannot_be_written_is_refused_before_the_probe(
    bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the time of the probe and the reader of pages of text."""
    monkeypatch.setattr(probing, "probe", lambda **_: pytest.fail("it was probed"))
    refused = bundle("nowhere/b.zip")
    assert isinstance(refused.exception, BundleError)
    assert "cannot write nowhere/b.zip" in str(refused.exception)


def test_bundle_says_what_is_left_out_and_packs_samples_without_a_table(bundle: Any, tmp_path: Path) -> None:
    """Protects the report of an interrupted sweep beside a table that cannot be read."""
    (tmp_path / "t.yaml").unlink()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "host.samples.csv").write_text("tokens,host\n1,alices-node\n")
    answer = bundle("b.zip", "--yes")
    assert answer.exit_code == 0, answer.output
    assert "left out: " in answer.stderr
    assert "t.yaml does not exist" in answer.stderr
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.namelist() == ["doctor.json", "host.samples.csv"]
        assert archive.read("host.samples.csv") == b"tokens,host\n1,host-1\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--install-hip-python", "--bundle", "q.zip"], "leave out --bundle"),
        (["--install-hip-python", "--json", "--device", "0"], "leave out --json, --device"),
        (["--device", "5"], "--probe or --bundle"),
        (["--yes"], "add --bundle"),
    ],
)
def test_option_that_nothing_would_come_of_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    """Protects from options that are ignored in silence."""
    monkeypatch.setattr(probing, "probe", lambda **_: pytest.fail("it was probed"))
    refused = CliRunner().invoke(doctor, options)
    assert refused.exit_code == 2
    assert words in " ".join(refused.output.split())
