"""docs/run-on-amd.md and its workflow: they cannot run here, so their commands must at least be valid."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from moesort_tune.cli.main import cli
from moesort_tune.device import architectures

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "run-on-amd.md"
WORKFLOW = ROOT / ".github" / "workflows" / "amd.yml"


def read_blocks() -> list[list[str]]:
    """Return the lines of each shell block of the page."""
    return [block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def read_workflow() -> Any:
    """Return the workflow; YAML 1.1 reads the key `on` as True."""
    return yaml.safe_load(WORKFLOW.read_text())


def read_commands() -> list[str]:
    """Return every moesort-tune command of the page's blocks and of the workflow's steps."""
    (job,) = read_workflow()["jobs"].values()
    lines = [line for block in read_blocks() for line in block]
    lines += [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    return [line for line in lines if line.startswith("moesort-tune")]


@pytest.mark.parametrize("line", read_commands())
def test_command_has_options_that_exist(line: str) -> None:
    """Protects a run on scarce hardware from a command whose name or options have changed."""
    program, name, *arguments = shlex.split(line.partition(" > ")[0], comments=True)
    context = click.Context(cli, info_name=program)
    command = cli.get_command(context, name)
    assert command is not None, line
    command.make_parser(context).parse_args(list(arguments))


def test_run_fits_into_ten_lines() -> None:
    """Protects the promise of the page."""
    assert max(map(len, read_blocks())) < 10


def test_files_that_are_run_are_there() -> None:
    """Protects the first command of the page."""
    assert (ROOT / "scripts" / "amd-setup").stat().st_mode & 0o111
    assert "scripts/amd-setup" in PAGE.read_text()
    assert "scripts/amd-setup" in WORKFLOW.read_text()


def test_workflow_offers_every_amd_target() -> None:
    """Protects a new target from being left out, and runners from the code of pull requests."""
    triggers = read_workflow()[True]
    assert set(triggers) == {"workflow_dispatch"}
    offered = triggers["workflow_dispatch"]["inputs"]["arch"]["options"]
    assert sorted(offered) == sorted(architectures.AMD_ARCHITECTURES)
