"""The commands of `make test`, and its exit status."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HALVES = ("hip10", "hip7")


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and two prepared environments, whose Pythons only note that they ran."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    for half in HALVES:
        (tmp_path / half / "bin").mkdir(parents=True)
        for stamp in (".runtime", ".dev"):
            (tmp_path / half / stamp).touch()
    return tmp_path


def make_test(folder: Path, failing: tuple[str, ...], flags: list[str]) -> tuple[int, list[str]]:
    """Return the exit status of `make test` where these halves fail, and the halves that were run."""
    for half in HALVES:
        python = folder / half / "bin" / "python"
        python.write_text(f"#!/bin/sh\necho {half} >> ran\nexit {int(half in failing)}\n")
        python.chmod(0o755)
    command = ["make", *flags, "test", f"VENV={HALVES[0]}", f"VENV_HIP7={HALVES[1]}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    status = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode
    return status, (folder / "ran").read_text().split()


@pytest.mark.parametrize("flags", [[], ["-k"], ["-j4"]], ids=" ".join)
@pytest.mark.parametrize("failing", [(), ("hip10",), ("hip7",), HALVES], ids="-".join)
def test_both_halves_run_and_either_failure_counts(
    environments: Path, failing: tuple[str, ...], flags: list[str]
) -> None:
    """Protects hip-python 7 from a failure with hip-python 10 that would leave it untried."""
    status, ran = make_test(environments, failing, flags)
    assert ran == list(HALVES)
    assert (status == 0) == (not failing)


def test_half_runs_where_the_other_cannot_be_set_up(environments: Path) -> None:
    """Protects the tests of one hip-python from an index that does not have the other."""
    (environments / "hip10" / ".dev").unlink()
    status, ran = make_test(environments, ("hip10",), [])
    assert ran == ["hip10", "hip7"]  # the first of them is pip
    assert status != 0


def test_ci_tests_what_a_demo_left() -> None:
    """Protects the first five minutes: the demo comes before the tests, in one checkout."""
    made = [
        line.split()[1] for line in (REPOSITORY / ".ci" / "run").read_text().splitlines() if line.startswith("make ")
    ]
    assert [name for name in made if name in ("demo", "lint", "test")] == ["demo", "lint", "test"]
