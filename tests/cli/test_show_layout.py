"""`show` for a reader: at any width, of some rows, in an order, and with what has to be known beside them."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.shipped import get_tables_folder
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence
from tests.tables.examples import entry, row, sweep, table

PIECE = re.compile(r"\d+(-\d+|\+)? (wave|oneshot|multiphase)\b|(\w+=)+\w+|\d+-\d+|[a-z]+ \d+")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with no width but the terminal's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


def run_in_terminal(columns: int, *arguments: str) -> list[str]:
    """Return the lines that `moesort-tune` prints on a pseudo-terminal of so many columns, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "moesort_tune", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    printed = read_all(ours)
    assert process.wait() == 0, printed
    assert "\x1b[" in printed
    return re.sub(r"\x1b\[[0-9;]*m", "", printed).replace("\r", "").splitlines()


def read_all(terminal: int) -> str:
    """Return everything that is printed until the other end is closed, which Linux reports as an error."""
    data = b""
    with os.fdopen(terminal, "rb", buffering=0) as file:
        try:
            while part := file.read(65536):
                data += part
        except OSError:
            pass
    return data.decode()


@pytest.mark.parametrize("columns", [80, 100, 160, 240])
def test_show_fits_the_terminal_and_breaks_nothing(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """At each width the same choices, ties, limits and figures are there, none broken, and no line is too long."""
    path = str(get_tables_folder() / "sm_90.yaml")
    assert run(["show", path]) == 0
    in_a_pipe = capsys.readouterr().out
    lines = run_in_terminal(columns, "show", path)
    assert max(map(len, lines)) <= columns

    def list_pieces(text: str) -> list[str]:
        return sorted({piece[0] for piece in PIECE.finditer(text)})

    assert list_pieces("\n".join(lines)) == list_pieces(in_a_pipe)
    assert sum(line.count("%") for line in lines) == in_a_pipe.count("%")


def test_show_in_a_pipe_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects grep: 32/4 has seven choices and seven ranges of ties, and a row in each of seven entries."""
    assert run(["show", str(get_tables_folder() / "sm_90.yaml")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if re.match(r" *32/4 ", line)]
    assert len(rows) == 7
    assert "1-32 wave | 33-383 oneshot | 384-1507 multiphase | 1508-4096 oneshot | 4097-10783 multiphase |" in rows[0]
    assert "wave=oneshot 17-32; oneshot=multiphase 213-256, 316-383, 385-416, 1271-1507," in rows[0]


def test_show_says_where_measurements_begin_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from claims: the last choice is open, the range beside it is not, and limits beyond it stand apart."""
    one = row(evidence=Evidence(points=9, tokens=(8, 64)), limits={"wave": 50, "oneshot": 2600})
    store.save(Path("gfx942.yaml"), table(entry([one])))
    assert run(["show", "gfx942.yaml"]) == 0
    heading, _, line = capsys.readouterr().out.splitlines()[-3:]
    assert "8-24 oneshot | 25+ multiphase" in line
    assert "9 in 8-64" in line
    assert re.search(r"wave 50 +oneshot 2600 ", line)
    assert line[heading.index("not measured") :].startswith("oneshot 2600  ")


def test_show_marks_noise_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Above 5 %; a row at 5 % is as good as any."""
    rows = [row(number, evidence=Evidence(noise=noise)) for number, noise in ((8, 0.05), (16, 0.051))]
    store.save(Path("gfx942.yaml"), table(entry(rows)))
    assert run(["show", "gfx942.yaml"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ *16/4 .* ! 5\.1%", shown, re.MULTILINE)
    assert re.search(r"^ *8/4 .*  5\.0%", shown, re.MULTILINE)
    assert shown.count("!") == 2
    assert "! noise above 5%: most likely the device had other work to do; sweep these shapes again" in shown
    store.save(Path("gfx942.yaml"), table(entry(rows[:1])))
    assert run(["show", "gfx942.yaml"]) == 0
    assert "!" not in capsys.readouterr().out


ROWS = [
    row(8, 4, 90, evidence=Evidence(noise=0.01, rule_loss=1.1)),
    row(16, 2, 30, evidence=Evidence(noise=0.03, rule_loss=1.3)),
    row(128, 4, 60, evidence=Evidence(noise=0.02, rule_loss=1.2)),
]


@pytest.mark.parametrize(
    ("order", "shapes"),
    [
        (None, ["8/4", "16/2", "128/4"]),
        ("experts", ["8/4", "16/2", "128/4"]),
        ("topk", ["16/2", "8/4", "128/4"]),
        ("switch", ["16/2", "128/4", "8/4"]),
        ("loss", ["16/2", "128/4", "8/4"]),
        ("noise", ["16/2", "128/4", "8/4"]),
    ],
)
def test_show_sorts_rows(capsys: pytest.CaptureFixture[str], order: str | None, shapes: list[str]) -> None:
    """What a reader looks for comes first: the earliest switch, the highest loss, the most noise."""
    store.save(Path("gfx942.yaml"), table(entry(ROWS)))
    assert run(["show", "gfx942.yaml", *(["--sort", order] if order else [])]) == 0
    assert re.findall(r"^ *(\d+/\d+) ", capsys.readouterr().out, re.MULTILINE) == shapes


def test_show_selects_the_rows_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Entries without one are left out; a model without any row is an error that says what there is."""
    without = entry(ROWS[:2], sweep=sweep(moe_buf=False))
    store.save(Path("gfx942.yaml"), table(entry(ROWS), without))
    assert run(["show", "gfx942.yaml", "--model", "gpt-oss-120b"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^ *(\d+/\d+) ", shown, re.MULTILINE) == ["128/4"]
    assert "1 entry" in shown
    assert "without moe_buf" not in shown
    assert run(["show", "gfx942.yaml", "--model", "mixtral-8x7b"]) == 1
    assert "the table has no row for 8/2, only for 8/4, 16/2, 128/4" in capsys.readouterr().err


def test_show_tells_what_the_choices_may_lose(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a sweep recorded it; the column is left out where no row has it."""
    rows = [row(8, evidence=Evidence(rule_loss=1.1, expected_loss=0.0042)), row(16, evidence=Evidence(rule_loss=1.2))]
    store.save(Path("gfx942.yaml"), table(entry(rows)))
    assert run(["show", "gfx942.yaml"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ *8/4 .* 0\.42% +\+10% *$", shown, re.MULTILINE)
    assert re.search(r" lose +at worst *$", shown, re.MULTILINE)
    store.save(Path("gfx942.yaml"), table(entry(rows[1:])))
    assert run(["show", "gfx942.yaml"]) == 0
    assert "lose" not in capsys.readouterr().out


def test_show_leaves_out_what_no_row_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the width of a terminal, and modelled rows from an empty column of noise."""
    store.save(Path("gfx942.yaml"), table(entry([row(evidence=Evidence(tokens=(1, 64)), limits={"wave": 8})])))
    assert run(["show", "gfx942.yaml"]) == 0
    heading = capsys.readouterr().out.splitlines()[-3]
    assert [word for word in ("points", "noise", "lose", "at worst") if word in heading] == ["points"]
