"""The command-line reference is what the commands say, and the examples in it are commands."""

import shlex
import subprocess
import sys

import click
import pytest

from moesort_tune.cli.main import COMMANDS, cli
from tests.docs.snippets import REPOSITORY

GROUP = click.Context(cli, info_name="moesort-tune")


def find_command(name: str) -> click.Command:
    """Return a command by its name."""
    found = cli.get_command(GROUP, name)
    assert found is not None
    return found


def list_examples(name: str) -> list[str]:
    """Return the command lines in a command's help."""
    text = f"{find_command(name).help}\n{find_command(name).epilog}"
    lines = (line.strip().removeprefix("Example: ") for line in text.splitlines())
    return [line for line in lines if line.startswith(f"moesort-tune {name} ") or line == f"moesort-tune {name}"]


def test_reference_is_current() -> None:
    """Who changes an option writes the page again: python scripts/write_cli_reference.py."""
    script = REPOSITORY / "scripts" / "write_cli_reference.py"
    answer = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_a_command_are_valid(name: str) -> None:
    """Every command shows an example, and each one parses: its options exist and take such values."""
    lines = list_examples(name)
    assert lines
    for line in lines:
        _, _, *arguments = shlex.split(line.partition(" > ")[0])
        find_command(name).make_context(name, arguments, parent=GROUP)
