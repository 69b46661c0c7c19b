"""Commands whose standard streams are closed, full, left by their readers, or of an encoding that lacks characters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.tables import store
from tests.cli.swept import CROSSING, SMALL
from tests.tables.examples import EXAMPLE

CLOSED = "Error: cannot write to standard output: Bad file descriptor\n"
FULL = "Error: cannot write to standard output: No space left on device\n"
SWEEP = ("sweep", *SMALL, "--experts", "8", "--topk", "2", "--out", "host.yaml")

COMMANDS = {
    "help": ["--help"],
    "show": ["show", "gfx942.yaml"],
    "show as JSON": ["show", "gfx942.yaml", "--json"],
    "diff": ["diff", "gfx942.yaml", "other.yaml"],
    "export": ["export", "gfx942.yaml", "--format", "cpp"],
    "plan": ["sweep", "--dry-run"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two tables, one of a device whose name no ASCII stream can show."""
    (tmp_path / "gfx942.yaml").write_text(EXAMPLE.replace("AMD Instinct", "AMD Größe 中"), encoding="utf-8")
    (tmp_path / "other.yaml").write_text(EXAMPLE.replace("[25, multiphase]", "[30, multiphase]"))
    return tmp_path


def run_redirected(
    folder: Path, arguments: list[str] | tuple[str, ...], redirections: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `moesort-tune` under a shell's redirections and read its outputs as UTF-8."""
    script = f'exec "$0" -m moesort_tune "$@" {redirections}'
    return subprocess.run(
        ["sh", "-c", script, sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"MOESORT_HOST_CHECK": "0", "MOESORT_HOST_CLOCK": CROSSING} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_examples_of_streams_print_what_ascii_lacks(folder: Path) -> None:
    """Protects the tests below from tables that any stream can show."""
    assert "Größe 中" in run_redirected(folder, COMMANDS["show"], "").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_closed_stdout_is_one_sentence_and_status_1(folder: Path, name: str) -> None:
    """A result that was never printed is a failure, as with any Unix tool, and nothing else is printed."""
    done = run_redirected(folder, COMMANDS[name], ">&-")
    assert (done.returncode, done.stderr) == (1, CLOSED)


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_under_stdout_is_one_sentence_and_status_1(folder: Path, name: str) -> None:
    """No second error when the program ends and what is buffered is written once more."""
    done = run_redirected(folder, COMMANDS[name], ">/dev/full")
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize("name", COMMANDS)
def test_closed_stderr_and_stdin_change_no_result(folder: Path, name: str) -> None:
    """Remarks without a reader are lost, and no file or child takes the place of a closed descriptor."""
    plain = run_redirected(folder, COMMANDS[name], "")
    for redirections in ("<&- 2>&-", "2>/dev/full"):
        done = run_redirected(folder, COMMANDS[name], redirections)
        assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout) == (0, plain.stdout)


@pytest.mark.parametrize("redirections", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_status_alone_tells_a_failure_where_nothing_can_be_printed(folder: Path, redirections: str) -> None:
    """Scripts go by the status, which no stream can take away."""
    assert run_redirected(folder, COMMANDS["show"], redirections).returncode == 1
    assert run_redirected(folder, ["show", "--colour"], redirections).returncode == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_reader_that_goes_away_ends_the_command_quietly(folder: Path, name: str) -> None:
    """`moesort-tune show | head -1` prints nothing on stderr, and the status is that of any program in such a pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "moesort_tune", *COMMANDS[name]],
            cwd=folder,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
@pytest.mark.parametrize("name", COMMANDS)
def test_ascii_streams_replace_what_they_lack(folder: Path, name: str, environment: dict[str, str]) -> None:
    """A device's name or a frame of a table never ends a command, half printed or not."""
    done = run_redirected(folder, COMMANDS[name], "", PYTHONCOERCECLOCALE="0", **environment)
    assert done.returncode == 0
    assert (done.stdout + done.stderr).isascii()
    if "JSON" in name:
        assert json.loads(done.stdout)["tables"][0]["device"]["name"] == "AMD Größe 中 MI300X"


@pytest.mark.parametrize("arguments", [["show", "Größe.yaml"], ["sweep", "--model", "Größe"], ["Größe"]])
def test_ascii_stderr_still_has_the_sentence(folder: Path, arguments: list[str]) -> None:
    """The error's quotation is escaped and does not end the program."""
    done = run_redirected(folder, arguments, "", PYTHONIOENCODING="ascii")
    assert done.returncode == (1 if arguments[0] == "show" else 2)
    assert r"Gr\xf6\xdfe" in done.stderr.splitlines()[-1]


def test_file_name_that_is_no_text_is_shown(folder: Path) -> None:
    """A name of bytes that no encoding has, as Linux allows it."""
    name = os.fsdecode(b"b\xff.yaml")
    (folder / name).write_text(EXAMPLE)
    assert run_redirected(folder, ["show", name], "").stdout.startswith("b\\udcff.yaml: gfx942")
    assert json.loads(run_redirected(folder, ["show", name, "--json"], "").stdout)["path"].startswith("b")
    assert "none\\udcff does not exist" in run_redirected(folder, ["show", os.fsdecode(b"none\xff")], "").stderr


@pytest.mark.parametrize(
    ("redirections", "status", "last"),
    [
        (">&-", 1, CLOSED),
        ("<&- >/dev/full 2>&-", 1, ""),
        ("2>/dev/full", 0, ""),
        ("| :; exit ${PIPESTATUS[0]}", 141, "multiphase"),
        ("2>&1 >&- | :; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_sweep_saves_what_it_measured_whatever_takes_its_outputs(
    folder: Path, redirections: str, status: int, last: str
) -> None:
    """Hours of measuring are not lost to a stream, and the status shows whether the result was printed."""
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m moesort_tune "$@" {redirections}', sys.executable, *SWEEP],
        cwd=folder,
        env=os.environ | {"MOESORT_HOST_CHECK": "0", "MOESORT_HOST_CLOCK": CROSSING},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert last in done.stderr
    assert "fault" not in done.stderr
    assert "Traceback" not in done.stderr
    (entry,) = store.load(folder / "host.yaml").tables
    assert [row.shape for row in entry.rows] == [(8, 2)]
    assert (folder / "host.samples.csv").read_text().count("\n") > 2


def test_broken_pipe_to_a_worker_is_not_taken_for_a_closed_stdout(folder: Path) -> None:
    """A lost process is reported, also where the results go into an open pipe."""
    code = (
        "import click\nfrom moesort_tune.cli import main\n"
        "def lose():\n    raise BrokenPipeError(32, 'Broken pipe')\n"
        "main._losing = click.Command('doctor', callback=lose)\n"
        "main.COMMANDS['doctor'] = main.LazyCommand('moesort_tune.cli.main:_losing', '')\n"
        "import sys\nsys.argv[1:] = ['doctor']\nmain.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the other end of a pipe is gone (Broken pipe), most likely a process")
