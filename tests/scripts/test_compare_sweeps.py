"""What scripts/compare_sweeps.py calls agreement of several sweeps."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "moesort_tune" / "data" / "tables" / "sm_90.yaml"


def compare(*tables: Path) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command: list[str | Path] = [sys.executable, REPOSITORY / "scripts" / "compare_sweeps.py", *tables]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)


@pytest.fixture
def document() -> dict[str, Any]:
    """Return the shipped table, to change."""
    loaded: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    return loaded


def write(path: Path, document: dict[str, Any]) -> Path:
    """Write a table."""
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_a_sweep_agrees_with_itself() -> None:
    """Protect a comparison without a difference."""
    done = compare(SHIPPED, SHIPPED)
    assert (done.returncode, "they agree outside their ties" in done.stdout) == (0, True), done.stdout + done.stderr


def test_another_choice_outside_of_ties_is_named(document: dict[str, Any], tmp_path: Path) -> None:
    """Protect the search for token counts at which a user's choice would depend on the sweep's noise."""
    row = document["tables"][0]["rows"][0]
    row["policy"][-1][0] -= 200  # the switch point, and what it leaves of no tie
    row["tie"] = row["tie"][1:]
    other = write(tmp_path / "other.yaml", document)
    done = compare(SHIPPED, other)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OUTSIDE at" in done.stdout.splitlines()[0]


def test_a_row_that_a_table_lacks_is_no_agreement(document: dict[str, Any], tmp_path: Path) -> None:
    """Protect against a sweep that lost a row and is said to agree with the others."""
    row = document["tables"][0]["rows"].pop(0)
    done = compare(SHIPPED, write(tmp_path / "other.yaml", document))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{row['num_experts']}/{row['topk']}" in done.stdout
    assert "not in all tables" in done.stdout
