"""What `verify` refuses before it opens a device."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moesort_tune.cli.verify import format_result, verify
from moesort_tune.verify.conditions import AS_SWEPT, NO_TABLE
from moesort_tune.verify.results import VerifyResult
from tests.sweep.fakes import FACTS
from tests.verify.test_conditions import make_report


def run(*arguments: str) -> Result:
    """Run `moesort-tune verify` with these arguments, in this process."""
    return CliRunner().invoke(verify, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'TABLE'"),
        (["t.yaml", "--settings", "unit_size=17"], "no setting is called like this: 'unit_size=17' is none of without"),
        (["t.yaml", "--fail-above", "0.5"], "limit must be a finite number at least 1, got 0.5"),
        (["t.yaml", "--fail-above", "masked=x"], "'x' is not a finite number"),
        (
            ["t.yaml", "--settings", "eager", "--fail-above", "cold=1.1"],
            "--fail-above names a condition that is not measured: 'cold' is none of as-swept, shapes-without-a-row",
        ),
        (["t.yaml", "--routing", "zipf:x"], "zipf:EXPONENT with an exponent above 0 and below 10, got 'zipf:x'"),
        (["t.yaml", "--routing", "trace:"], "expected trace:FILE"),
        (["t.yaml", "--points", "0"], "0 is not in the range 1<=x<=16384"),
        (
            ["t.yaml", "--kernels", "align", "--settings", "cold,model_dim=7168"],
            "moe_align_block_size has no setting model_dim=7168; choose of eager, cold, zipf:1.2, dirichlet:0.3,",
        ),
        (["t.yaml", "--kernels", "align", "--fail-above", "masked=1.1"], "'masked' is none of as-swept"),
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


def test_missing_trace_is_named(tmp_path: Path) -> None:
    """A trace that is not there is reported before a device is opened."""
    result = run("t.yaml", "--routing", f"trace:{tmp_path / 'none.npz'}")
    assert "none.npz: No such file" in str(result.exception)


def test_help_has_examples() -> None:
    """A person learns the command from its help."""
    assert "--settings none --fail-above 1.05" in run("--help").output


def test_columns_stand_below_each_other_in_all_reports() -> None:
    """A long name, here of a rule, moves the figures of every report and not of its own line alone."""
    long = "a rule whose name is longer than most others"
    reports = [make_report(AS_SWEPT, 1.0, 1.01), make_report(NO_TABLE, 1.01, 1.02, decider=long)]
    lines = format_result(VerifyResult(FACTS, (), reports, {}, 0.02)).splitlines()
    figures = [line for line in lines if " 1.500 " in line]
    assert len(figures) == 2
    assert len({line.index(" 1.500 ") for line in figures}) == 1
    assert {line.index("p90") + 3 for line in lines if "p90" in line} == {figures[0].index(" 1.500 ") + 6}
