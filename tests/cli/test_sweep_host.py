"""`moesort-tune sweep` on the host runtime, against crossings that are known."""

import csv
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.cli import sweep as cli_sweep
from moesort_tune.cli.main import run
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import WAVE as WAVE_CANDIDATE
from moesort_tune.runtime import Dispatcher
from moesort_tune.sorting.launches import KERNELS as BUILTIN_KERNELS
from moesort_tune.sweep import job as jobs
from moesort_tune.sweep.older_samples import OLDER_COLUMNS
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.samples import COLUMNS, get_samples_path, read_samples
from moesort_tune.sweep.worker import devices
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.messages import NoLaunchGaps, WorkerSpec
from moesort_tune.tables import store
from moesort_tune.tables.schema import LaunchGaps
from tests.cli.swept import SMALL, HostMachine, build_clock
from tests.sweep.fakes import FACTS
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONE, ONESHOT
from tests.sweep.serving import ANSWERED_POINTS, serve

WAVE = WAVE_CANDIDATE.name


def test_table_has_exactly_the_known_switch_and_tie(host: HostMachine) -> None:
    """From formula to file: the tie where both are within 2 %, the switch behind it, AITER's rule judged by it."""
    assert host.sweep("--experts", "8,128", "--topk", "2,4") == 0
    for row in host.rows().values():
        assert row.policy[:2] == ((1, ONESHOT), (42, MULTIPHASE))
        assert row.tie == ((39, 41, KERNELS),)
        assert row.evidence.noise == 0.0
        assert row.evidence.tokens == (1, 128)
    # AITER's rule takes oneshot to 56 tokens with 128 experts, and to the last of these with 8
    assert host.rows()[128, 4].evidence.rule_loss == pytest.approx(860 / 700, abs=0.001)
    assert host.rows()[8, 2].evidence.rule_loss == pytest.approx(1580 / 700, abs=0.001)


def test_table_has_every_kernel_where_it_is_the_fastest(host: HostMachine) -> None:
    """Wave and oneshot both take 500 us at 20 tokens, within 2 % from 19 to 22: two switches, each behind its tie."""
    host.set(CLOCK=build_clock("300+10*tokens", wave="200+15*tokens"))
    assert host.sweep("--experts", "128", "--topk", "4") == 0
    row = host.rows()[128, 4]
    assert row.policy[:3] == ((1, WAVE), (23, ONESHOT), (42, MULTIPHASE))
    assert row.tie == ((19, 22, (WAVE, ONESHOT)), (39, 41, KERNELS))
    assert row.limits[WAVE] == 64


@pytest.mark.parametrize("timing", ["graph", "eager"])
def test_samples_are_the_times_of_the_clock(host: HostMachine, timing: str) -> None:
    """Replays and launches one by one both recover a known time, gaps and repetitions taken out."""
    host.set(CLOCK=build_clock("3+0.5*tokens", multiphase="7", wave="2+0.25*tokens"))
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:16", "--timing", timing) == 0
    for sample in read_samples(get_samples_path(host.table)):
        known = {WAVE: 2 + 0.25 * sample.tokens, ONESHOT: 3 + 0.5 * sample.tokens, MULTIPHASE: 7.0}
        assert sample.median_us == pytest.approx(known[sample.kernel], rel=1e-3)


def test_table_records_the_launch_gap_of_the_clock(host: HostMachine) -> None:
    """Every launch takes 500 us, in every mode: what a table of this device says without a probe of its own."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:2") == 0
    (entry,) = store.load(host.table).tables
    assert entry.launch_gap_us == LaunchGaps(graph=500.0, replay=500.0, eager=500.0)


def test_sweep_goes_on_without_a_launch_gap(
    host: HostMachine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects rows from what nothing decides by, and the reader from a cause that is not the real one."""
    reason = "eager: the host is too busy to time eager launches"
    monkeypatch.setattr(ProcessWorker, "measure_launch_gaps", lambda _: NoLaunchGaps(reason))
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:2") == 0
    assert f"the table does not get what each further launch costs ({reason})" in capsys.readouterr().err
    assert store.load(host.table).tables[0].launch_gap_us is None


def test_switch_moves_when_the_formula_moves(host: HostMachine) -> None:
    """The table follows the clock: twice the cost of a token, half the tokens to the switch."""
    host.set(CLOCK=build_clock("300+20*tokens"))
    assert host.sweep("--experts", "128", "--topk", "4") == 0
    assert host.rows()[128, 4].policy[:2] == ((1, ONESHOT), (21, MULTIPHASE))
    assert host.rows()[128, 4].tie == ((20, 20, KERNELS),)


def test_switch_depends_on_the_shape(host: HostMachine) -> None:
    """Each row is searched for itself: 0.5 us a token with 8 experts never cross, 8 us with 128 do at 50 tokens."""
    host.set(CLOCK=build_clock("300+tokens*experts/16"))
    assert host.sweep("--experts", "8,128", "--topk", "2,4") == 0
    rows = host.rows()
    assert rows[8, 2].choose_kernel(128, KERNELS) == ONESHOT
    assert rows[128, 4].choose_kernel(48, KERNELS) == ONESHOT
    assert rows[128, 4].choose_kernel(52, KERNELS) == MULTIPHASE


def test_choice_that_changes_three_times_is_found(host: HostMachine) -> None:
    """oneshot too slow at first, better from 4 to 38 tokens, worse from 42, better again from 90."""
    host.set(CLOCK=build_clock("min(max(1000-100*tokens,300+10*tokens),100+54000/tokens)"))
    assert host.sweep("--experts", "128", "--topk", "4") == 0
    row = host.rows()[128, 4]
    expected = ((1, MULTIPHASE), (4, ONESHOT), (42, MULTIPHASE), (93, ONESHOT))
    assert row.policy[:4] == expected
    assert row.tie == ((3, 3, KERNELS), (39, 41, KERNELS), (88, 92, KERNELS))


def test_second_seed_gives_the_same_table_outside_the_ties(host: HostMachine) -> None:
    """Other inputs, another order, other noise: the choices stand wherever both sweeps are sure."""
    tables = []
    for seed in ("1", "2"):
        host.set(CLOCK_NOISE="0.01", CLOCK_SEED=seed)
        assert host.sweep("--experts", "128", "--topk", "4", "--seed", seed) == 0
        tables.append(host.rows()[128, 4])
    one, other = tables
    sure = [tokens for tokens in range(1, 129) if not one.list_tied(tokens) and not other.list_tied(tokens)]
    assert len(sure) > 100
    assert [one.choose_kernel(tokens, KERNELS) for tokens in sure] == [
        other.choose_kernel(tokens, KERNELS) for tokens in sure
    ]


def test_resumed_sweep_measures_nothing_twice(host: HostMachine) -> None:
    """The samples of a sweep that was cut short are taken over, and the table is that of a whole sweep."""
    grid = ("--experts", "128", "--topk", "4")
    assert host.sweep(*grid) == 0
    whole, samples = host.rows(), get_samples_path(host.table)
    measured = read_samples(samples)
    lines = samples.read_text().splitlines(keepends=True)
    whole_points = 1 + 5 * len(BUILTIN_KERNELS) + 2 * len(KERNELS)  # those of 65 and 128 tokens, past wave's limit
    samples.write_text("".join(lines[:whole_points]) + lines[whole_points][:30])
    assert host.sweep(*grid, "--resume") == 0
    assert host.rows() == whole
    assert len(read_samples(samples)) == len(measured)


def test_resume_takes_no_samples_of_other_settings(host: HostMachine) -> None:
    """A point with another tile size is another point."""
    grid = ("--experts", "128", "--topk", "4", "--tokens", "1:4")
    assert host.sweep(*grid) == 0
    assert host.sweep(*grid, "--resume", "--unit-size", "64", "--replace") == 0
    assert len(read_samples(get_samples_path(host.table))) == 2 * len(BUILTIN_KERNELS) * 4


def test_rows_of_earlier_sweeps_are_kept(host: HostMachine) -> None:
    """A sweep adds to the table and replaces what it measured again."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:8") == 0
    assert host.sweep("--experts", "128", "--topk", "4", "--tokens", "1:8") == 0
    host.set(CLOCK=build_clock("900"))
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:8") == 0
    rows = host.rows()
    assert rows[8, 2].choose_kernel(1, KERNELS) == MULTIPHASE
    assert rows[128, 4].choose_kernel(1, KERNELS) == ONESHOT


def test_narrower_sweep_adds_to_its_row(host: HostMachine) -> None:
    """A look at one token count does not cost the row the others."""
    grid = ("--experts", "128", "--topk", "4")
    assert host.sweep(*grid) == 0
    whole = host.rows()[128, 4]
    assert host.sweep(*grid, "--tokens", "64") == 0
    assert host.rows()[128, 4] == whole
    get_samples_path(host.table).unlink()
    assert host.sweep(*grid, "--tokens", "64") == 1
    assert host.rows()[128, 4] == whole
    assert host.sweep(*grid, "--tokens", "64", "--replace") == 0
    assert host.rows()[128, 4].evidence.points == 1


def test_other_settings_are_refused_before_anything_is_timed(
    host: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Setting, both values and the ways out are named; shapes that have no row do not matter."""
    assert host.sweep("--experts", "8,128", "--topk", "2,4", "--tokens", "1:4") == 0
    table, samples = host.table.read_text(), get_samples_path(host.table).read_text()
    capsys.readouterr()
    assert host.sweep("--experts", "64,8,128", "--topk", "2,2,4", "--tokens", "1:4", "--unit-size", "64") == 1
    error = capsys.readouterr().err
    assert "nothing was measured" in error
    assert "the row of 8/2 was measured with unit_size=32, and the new one with unit_size=64" in error
    assert "--replace to put the new one in its place, or name another file with --out (and 1 more rows)" in error
    assert "checking" not in error
    assert (host.table.read_text(), get_samples_path(host.table).read_text()) == (table, samples)
    assert host.sweep("--experts", "64", "--topk", "2", "--tokens", "1:4", "--unit-size", "64") == 0


def test_dry_run_tells_what_becomes_of_the_rows(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """What a sweep would replace, add to or refuse is known before it is run."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:16") == 0

    def list_fates(*options: str) -> list[str | None]:
        capsys.readouterr()
        assert host.sweep("--experts", "8,128", "--topk", "2,4", "--dry-run", "--json", *options) == 0
        return [row["in_table"] for row in json.loads(capsys.readouterr().out)["rows"]]

    row = "the row of 1 to 16 tokens of "
    assert all(one is None for one in (list_fates()[1], list_fates("--timing", "eager")[0], list_fates("--ep", "2")[0]))
    for options, fate in (
        (("--tokens", "1:32"), " is measured again"),
        (("--tokens", "8"), " keeps its other token counts"),
        (("--unit-size", "64", "--replace"), " is replaced"),
    ):
        sentence = list_fates(*options)[0] or ""
        assert sentence.startswith(row)
        assert sentence.endswith(fate)
    assert (list_fates("--unit-size", "64")[0] or "").startswith(
        "refused: the row of 8/2 was measured with unit_size=32"
    )
    get_samples_path(host.table).unlink()
    assert (list_fates("--tokens", "8")[0] or "").startswith("refused: the row of 8/2 rests on")


def test_conditions_get_entries_of_one_table(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """One run of the kernels under each condition, whose rows a dispatcher finds; results and lines name them."""
    options = ("--experts", "8,256", "--topk", "2,8", "--tokens", "1:16", "--condition", "with-moe-buf,without-moe-buf")
    assert host.sweep(*options, "--condition", "masked", "--ep", "8", "--json") == 0
    printed = capsys.readouterr()
    assert "checking and timing 2 shapes under 3 conditions for 600 s: a first answer for every row" in printed.err
    assert "[3/6] experts/topk 8/2 without moe_buf: about" in printed.err
    rows = json.loads(printed.out)[0]["rows"]
    conditions = [(True, False), (False, False), (True, True)]
    assert [(row["num_experts"], row["moe_buf"], row["masked"]) for row in rows] == [
        (experts, *condition) for experts in (8, 256) for condition in conditions
    ]
    entries = store.load(host.table).tables
    assert sorted(entry.condition for entry in entries) == sorted(conditions)
    assert [entry.sweep.ep for entry in entries if entry.sweep] == [8 if entry.key.masked else 1 for entry in entries]
    dispatcher = Dispatcher.load(host.table, arch="host")
    for num_experts in (256, 257):
        assert dispatcher.explain(8, num_experts, 8, masked=True).reason.value == "exact row"


@pytest.mark.parametrize("columns", [COLUMNS, *OLDER_COLUMNS], ids=["edited", "oldest", "old"])
def test_dry_run_and_sweep_agree_on_samples_that_do_not_count(
    host: HostMachine, capsys: pytest.CaptureFixture[str], columns: tuple[str, ...]
) -> None:
    """Neither lines of an older format, which know no software, nor edited ones are part of a new row."""
    options = ("--experts", "8", "--topk", "2", "--tokens")
    assert host.sweep(*options, "1:16") == 0
    samples = get_samples_path(host.table)
    lines = list(csv.DictReader(samples.read_text().splitlines()))
    of_no_software = {"verdict": "oneshot", "software": ""}
    edited = {"ratio": "77", "ratio_low": "77", "ratio_high": "77"} if columns == COLUMNS else of_no_software
    with samples.open("w") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(line | edited for line in lines)
    capsys.readouterr()
    assert host.sweep(*options, "8", "--dry-run") == 0
    assert "refused: the row of 8/2 rests on" in capsys.readouterr().out
    assert host.sweep(*options, "8") == 1
    assert "the row of 8/2 rests on" in capsys.readouterr().err


def test_json_result_holds_the_rows(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read the rows and where they were written; nothing else is on stdout."""
    assert host.sweep("--experts", "8", "--topk", "2", "--tokens", "1:4", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["table"] == str(host.table)
    assert result["rows"][0]["policy"] == [[1, "oneshot"], [host.rows()[8, 2].limits[ONESHOT] + 1, "multiphase"]]
    assert result["failed"] == {}


def test_other_device_than_promised_is_reported(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """--arch is a promise: the sweep stops, says what is attached, and writes nothing."""
    assert run(["sweep", "--arch", "gfx950", "--out", str(host.table)]) == 1
    assert "gfx950 was asked for, but what is attached is host" in capsys.readouterr().err
    assert not host.table.exists()


def test_folder_that_cannot_be_written_stops_before_measuring(
    host: HostMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person learns of a bad --out at once, not after the sweep."""
    in_the_way = host.folder / "file"
    in_the_way.write_text("")
    assert run(["sweep", *SMALL, "--out", str(in_the_way / "host.yaml")]) == 1
    error = capsys.readouterr().err
    assert "cannot write into" in error
    assert "checking" not in error


def test_table_of_another_architecture_is_not_touched(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that holds something else is refused before anything is measured."""
    host.table.write_text("schema: 99\narch: gfx942\ntables: []\n")
    assert host.sweep("--experts", "8", "--topk", "2") == 1
    assert "checking" not in capsys.readouterr().err
    assert host.table.read_text().startswith("schema: 99")


@pytest.mark.parametrize("call", ["hipModuleLaunchKernel", "hipGraphLaunch", "hipEventElapsedTime", "hipMalloc"])
def test_failed_call_is_named_and_leaves_no_table(
    host: HostMachine, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    """A launch that is refused is an error and never a win."""
    host.set(FAIL=f"{call}:5:719")
    assert host.sweep("--experts", "8", "--topk", "2") == 1
    assert f"{call} failed with" in capsys.readouterr().err
    assert not host.table.exists()


def test_times_of_zero_are_an_error(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel that seems to take no time has not been timed."""
    host.set(CLOCK=build_clock("0"))
    assert host.sweep("--experts", "8", "--topk", "2") == 1
    assert "oneshot took 0 us, which cannot be" in capsys.readouterr().err
    assert not host.table.exists()


def test_kernel_that_never_ends_costs_its_row(
    host: HostMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shape is named, the other rows are measured and written, and the status says that something is missing."""

    def open_misbehaving(**_: object) -> ProcessWorker:
        return ProcessWorker(WorkerSpec(None, None, 0, "builtin"), limit_s=60.0, serve=serve)

    monkeypatch.setattr(jobs, "open_worker", open_misbehaving)
    assert host.sweep("--experts", "8,128", "--topk", "2,4") == 1
    error = capsys.readouterr().err
    assert "no row was written for 8/2: the process that runs the kernels died with SIGSEGV" in error
    assert list(host.rows()) == [(128, 4)]


def test_budget_for_nothing_is_reported(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep without a single row is a failure, with what to do about it."""
    assert host.sweep("--experts", "8", "--topk", "2", "--time-budget", "0.001") == 1
    assert "the time budget was too short for a single row" in capsys.readouterr().err


UNENDING_SWEEP = """
import functools, sys
from moesort_tune.cli.main import run
from moesort_tune.runtime import Dispatcher
from moesort_tune.sweep.worker import devices
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONESHOT
from tests.sweep.serving import serve_two_points
devices.ProcessWorker = functools.partial(devices.ProcessWorker, serve=serve_two_points)
sys.exit(run(sys.argv[1:]))
"""
"""`moesort-tune` whose sweep waits for its third point until it is interrupted, so that no signal comes too late."""


def test_interrupted_sweep_keeps_its_samples(host: HostMachine) -> None:
    """Ctrl-C: status 130, the samples measured so far and their file's name, whole rows only, and no process left."""
    host.set(CLOCK="", SEED="")
    host.monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-c", UNENDING_SWEEP, "sweep", *SMALL, "--experts", "8", "--topk", "2"]
    samples, expected = get_samples_path(host.table), len(BUILTIN_KERNELS) * ANSWERED_POINTS
    with subprocess.Popen(
        [*command, "--point-limit", "86400", "--out", str(host.table)], stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and len(read_samples(samples)) < expected:
            time.sleep(0.01)
        children = list_children(process.pid)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate()
        assert process.returncode == 130
    said = f"interrupted; {samples} holds what was measured; the same command with --resume goes on from there"
    assert printed.splitlines()[-1] == said
    assert len(read_samples(samples)) == expected
    assert not host.table.exists()
    assert children
    assert not [pid for pid in children if is_alive(pid)]


@pytest.mark.parametrize("resumed", [False, True])
def test_interruption_before_the_first_point_names_no_file(
    host: HostMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], resumed: bool
) -> None:
    """Protects against the promise of samples that are not there, or that another sweep has measured."""

    def interrupt(_job: jobs.SweepJob, listener: Any) -> None:
        key = RowKey(Shape(8, 2))
        listener.announce_device(FACTS)
        day = datetime.date(2026, 11, 22)
        listener.announce_rows([key])
        listener.announce_row(key, 1)
        if resumed:
            listener.report_point(key, 1, MeasuredPoint({ONESHOT: 2.0}, ONE, 0.0, day=day))
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_sweep, "run_job", interrupt)
    assert run(["sweep", *SMALL, "--out", str(host.table)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


def list_children(pid: int) -> list[int]:
    """Return the processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; wait for a killed one to end, on a busy machine as well."""
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("arch", "attached", "runtime"),
    [
        ("host", "amd", "host"),
        ("gfx942", "amd", "amd"),
        ("gfx942", "cuda", None),
        ("gfx942", "host", None),
        ("sm_90", "amd", "cuda"),
        ("sm_90", "cuda", "cuda"),
        ("sm_90", "host", None),
    ],
)
def test_runtime_is_the_promised_one_where_it_may_be_there(
    monkeypatch: pytest.MonkeyPatch, arch: str, attached: str, runtime: str | None
) -> None:
    """Where the promised GPU cannot be, what is attached is opened instead and says its name."""
    monkeypatch.delenv("MOESORT_TUNE_RUNTIME", raising=False)
    assert devices.choose_runtime(arch, attached) == runtime  # type: ignore[arg-type]
