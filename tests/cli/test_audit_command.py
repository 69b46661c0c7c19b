"""`moesort-tune audit`: what a person and a script read of it."""

import json
from pathlib import Path

import pytest

from moesort_tune.audit.record import Calls, Process, Record, encode, name_file
from moesort_tune.audit.reporter import VARIABLE
from moesort_tune.cli.main import run

EXACT = Calls(num_experts=128, topk=4, reason="exact row", calls=70, captured=68, tokens=(1, 512), why="not shown")
WRONG = Calls(
    num_experts=257,
    topk=9,
    masked=True,
    reason="left to the kernels' own rule",
    calls=30,
    tokens=(8, 8),
    why="entry of 256 compute units is not used: its kernels have changed",
)
LINE = (
    "INFO moe_sorting in process 41 on worker (00112233), 10 calls (9 under capture): 9 exact row; 1 left alone: CK.\n"
)


def write(folder: Path, pid: int, *calls: Calls, command: str = "python -m vllm") -> None:
    """Write the record of a process."""
    process = Process(pid=pid, host="worker", started="2026-11-26T10:00:00+00:00", token=f"{pid:08x}", command=command)
    software = {"moesort_tune": "0.1.0", "aiter": "0.1.20-abc"}
    record = Record(
        process=process,
        written="2026-11-26T10:05:00+00:00",
        state="a state",
        table="/tables/gfx950.yaml",
        kernels="aiter",
        software=software,
        calls=list(calls),
    )
    (folder / name_file(process)).write_bytes(encode(record))


def test_report_says_who_did_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects whoever looks for the shape that no row decides: what was asked, and what the table has."""
    write(tmp_path, 41, EXACT, WRONG)
    write(tmp_path, 42)
    assert run(["audit", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "process 41 on worker, started 2026-11-26T10:00:00+00:00, table /tables/gfx950.yaml, moesort_tune 0.1.0, "
        "aiter 0.1.20-abc: python -m vllm",
        "  a state, as of 2026-11-26T10:05:00+00:00",
        "  128/4          70 calls (68 under capture), 1-512 tokens: exact row",
        "  257/9, masked  30 calls, 8-8 tokens: wrong key (left to the kernels' own rule): entry of 256 compute units "
        "is not used: its kernels have changed",
        "  decided by the table: 70 of 100 sorts (70.0%)",
        "process 42 on worker, started 2026-11-26T10:00:00+00:00, table /tables/gfx950.yaml, moesort_tune 0.1.0, "
        "aiter 0.1.20-abc: python -m vllm",
        "  a state, as of 2026-11-26T10:05:00+00:00",
        "2 processes, of which 1 sorted: the table decides 70 of 100 sorts (70.0%)",
        "process 41 on worker: the table decides 70 of its 100 sorts (70.0%), less than 0.9",
    ]


def test_share_can_be_lowered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects deployments that know of shapes without a row."""
    write(tmp_path, 41, EXACT, WRONG)
    assert run(["audit", str(tmp_path), "--at-least", "0.7"]) == 0
    assert capsys.readouterr().err == ""


def test_folder_of_the_environment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects people who audit in the shell that started the server."""
    write(tmp_path, 41, EXACT)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert run(["audit", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["faults"]) == (True, [])
    (process,) = report["processes"]
    assert (process["sorts"], process["decided"], process["share"]) == (70, 70, 1.0)
    assert process["uses"]["exact row"] == 70
    assert process["record"]["calls"][0]["captured"] == 68


def test_log_is_read_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects servers on which nobody has set the variable: the log has the sums."""
    log = tmp_path / "server.log"
    log.write_text(f"noise\nWARN the table does not decide a sort (counted as 'left alone: CK'): unset it\n{LINE}")
    assert run(["audit", "--log", str(log), "--at-least", "0.9"]) == 0
    printed = capsys.readouterr()
    assert "process 41 on worker\n" in printed.out
    assert "  unknown or other shapes  9 calls: exact row" in printed.out
    assert "logged: the table does not decide a sort" in printed.err


def test_guesses_are_told_from_exact_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the sum from looking better than it is: a guess from other rows is a decision, and says so."""
    write(tmp_path, 41, EXACT, Calls(num_experts=64, topk=6, reason="nearest experts", calls=30))
    assert run(["audit", str(tmp_path)]) == 0
    assert "the table decides 100 of 100 sorts (100.0%, 30 of them by a guess)" in capsys.readouterr().out


def test_control_characters_of_a_record_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the terminal of whoever audits a server that others can name processes and tables on."""
    write(tmp_path, 41, EXACT, command="evil \x1b]0;title\x07")
    assert run(["audit", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "evil \\x1b]0;title\\x07" in printed


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, f"name either a folder (or set {VARIABLE}) or --log FILE"),
        (["{folder}", "--log", "x"], 2, "name either a folder"),
        (["{folder}"], 1, "no process has reported"),
        (["{folder}/missing"], 1, "cannot read the folder"),
        (["--log", "{folder}/missing.log"], 1, "cannot read"),
        (["--log", "/dev/null"], 1, "the log has no counts"),
        (["{folder}", "--at-least", "2"], 2, "not in the range"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    """Protects against an audit of nothing that looks like a success."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert run(["audit", *(argument.format(folder=tmp_path) for argument in arguments)]) == status
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
