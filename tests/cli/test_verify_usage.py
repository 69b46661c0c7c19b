"""What `verify` refuses before it opens a device."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moesort_tune.cli.verify import verify


def run(*arguments: str) -> Result:
    """Run `moesort-tune verify` with these arguments, in this process."""
    return CliRunner().invoke(verify, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'TABLE'"),
        (["t.yaml", "--settings", "unit_size=17"], "no setting is called 'unit_size=17'; there are all, none"),
        (["t.yaml", "--fail-above", "0.5"], "0.5 is not in the range x>=1"),
        (["t.yaml", "--points", "0"], "0 is not in the range 1<=x<=16384"),
    ],
)
def test_bad_values_are_bad_usage_and_quoted(arguments: list[str], words: str) -> None:
    """Every bad value ends with status 2 and a sentence that shows it."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_missing_table_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    """A table that is not there names itself and the next step."""
    result = run(str(tmp_path / "none.yaml"))
    assert "moesort-tune sweep --out" in str(result.exception)


def test_help_has_examples() -> None:
    """A person learns the command from its help."""
    assert "--settings none --fail-above 1.05" in run("--help").output
