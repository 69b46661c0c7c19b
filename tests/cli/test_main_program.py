"""The program around the commands: exit statuses, one sentence for a failure, and what starting it costs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from moesort_tune import __version__
from moesort_tune.cli import main as program
from moesort_tune.cli.main import COMMANDS, LazyCommand, cli, run
from moesort_tune.errors import MoesortTuneError
from tests.tables.examples import EXAMPLE

BROKEN_PIPE = (
    "the other end of a pipe is gone (Broken pipe), most likely a process that this command started; run it again"
)

COMMAND = [sys.executable, "-m", "moesort_tune.cli.main"]


def make_failing(error: BaseException) -> Callable[[], None]:
    """Return a command that raises `error`."""

    def callback() -> None:
        raise error

    return callback


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return a function that makes `moesort-tune doctor` raise the error given to it."""

    def make(error: BaseException) -> None:
        command = click.Command("doctor", callback=make_failing(error))
        monkeypatch.setattr(program, "_failing", command, raising=False)
        monkeypatch.setitem(COMMANDS, "doctor", LazyCommand("moesort_tune.cli.main:_failing", "Fails."))

    return make


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (MoesortTuneError("no GPU is attached;\n  use --arch host"), 1, "Error: no GPU is attached; use --arch host\n"),
        (OSError(28, "No space left on device"), 1, "Error: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "Error: /x: Permission denied\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, f"Error: {BROKEN_PIPE}\n"),
        (click.ClickException("cannot"), 1, "Error: cannot\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
    ],
)
def test_failure_is_one_sentence_and_a_status(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    sentence: str,
) -> None:
    """Nothing on stdout, no traceback, and the status that scripts rely on."""
    failing(error)
    assert run(["doctor"]) == status
    out, err = capsys.readouterr()
    assert (out, err.lstrip()) == ("", sentence)


def test_fault_of_the_program_says_so(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug is not reported as the user's mistake; its traceback is one flag away."""
    failing(KeyError("rows"))
    assert run(["doctor"]) == 1
    printed = capsys.readouterr().err
    assert printed == (
        "Error: KeyError: 'rows'; this is a bug in moesort-tune, please report it with the output of "
        "`moesort-tune --debug`\n"
    )
    assert run(["--debug", "doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swep"], "No such command 'swep'; did you mean sweep?"),
        (["x" * 99], "; there are sweep, show, "),
        (["sweep", "--modle", "gpt-oss-120b"], "--model"),
        (["sweep", "--debug"], "--debug goes before the command: moesort-tune --debug sweep"),
        (["show", "-q"], "-q goes before the command: moesort-tune -q show"),
        (["show", "--colour"], "--colour"),
        (["show", "t.yaml", "--lookup", "32;128"], "expected TOKENS,EXPERTS,TOPK like 32,128,4, got '32;128'"),
        (["build", "--arch", "gfx1"], "'gfx1' is not one of 'gfx90a'"),
    ],
)
def test_bad_usage_ends_with_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad values count as bad usage, and are quoted."""
    assert run(arguments) == 2
    assert words in capsys.readouterr().err


def test_version_and_help_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Both go to stdout; the help lists every command with its line."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"moesort-tune, version {__version__}\n"
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in printed
        assert command.help in printed


def test_short_version_is_the_long_one(capsys: pytest.CaptureFixture[str]) -> None:
    """-V is what most programs take."""
    assert run(["-V"]) == 0
    assert capsys.readouterr().out == f"moesort-tune, version {__version__}\n"


def test_quiet_leaves_results_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script gets what it asked for and why it failed, and nothing else; the next command is loud again."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(EXAMPLE)
    second.write_text(EXAMPLE.replace("[25, multiphase]", "[30, multiphase]"))
    merge = ["merge", str(first), str(second), "-o", str(tmp_path / "c.yaml")]
    assert run(["-q", *merge]) == 0
    assert [bool(text) for text in capsys.readouterr()] == [True, False]
    assert run(merge) == 0
    assert "kept" in capsys.readouterr().err
    assert run(["--quiet", "show", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each listed command exists, and its help has an example to copy."""
    assert run([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"Usage: moesort-tune {name}" in printed
    assert (
        f"\n  moesort-tune {name}" in printed.replace("    moesort", "  moesort")
        or f"Example: moesort-tune {name}" in printed
    )


def test_commands_agree_with_their_lines_in_the_list() -> None:
    """A command's own short help is the line that the list shows without importing it."""
    context = click.Context(cli)
    for name, listed in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert listed.help.endswith(".")


@pytest.mark.parametrize("arguments", [["--help"], ["show", "gfx942.yaml"], ["diff", "gfx942.yaml", "gfx942.yaml"]])
def test_looking_at_tables_imports_no_device_code(tmp_path: Path, arguments: list[str]) -> None:
    """Help and tables are there at once, also where hip-python is broken."""
    (tmp_path / "gfx942.yaml").write_text(EXAMPLE)
    code = (
        "import sys\nfrom moesort_tune.cli.main import run\n"
        "assert run(sys.argv[1:]) == 0\n"
        "heavy = {'hip', 'rocm', 'numpy', 'torch', 'matplotlib', 'moesort_tune.device.hip'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_no_colour_where_it_is_not_wanted(tmp_path: Path) -> None:
    """Neither into a pipe nor where NO_COLOR is set on what claims to be a terminal."""
    (tmp_path / "gfx942.yaml").write_text(EXAMPLE)
    for extra in ({}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        done = subprocess.run(
            [*COMMAND, "show", "gfx942.yaml"], cwd=tmp_path, env=os.environ | extra, capture_output=True, check=True
        )
        assert b"\x1b[3" not in done.stdout
