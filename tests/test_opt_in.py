"""What a run says about tests whose needs are not met everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.opt_in import cases_run, skip_lines

REPOSITORY = Path(__file__).parents[1]

A_RUN = """
import pytest
from tests.opt_in import needs_gpu, not_here

@pytest.mark.parametrize("case", range(3))
def test_one(case): not_here("emulator", "no checkout")
def test_other(): not_here("emulator", "no checkout")
def test_of_a_gpu(): needs_gpu(False)
@pytest.mark.skip(reason="no reason")
def test_marked(): ...
def test_missing_module(): pytest.importorskip("no_such_module")
@pytest.mark.emulator
def test_wrong(): assert False
def test_right(): ...
"""


def report(outcome: str, reason: str | None = None) -> pytest.TestReport:
    longrepr = ("test_x.py", 1, f"Skipped: {reason}") if reason else None
    when = "setup" if outcome == "skipped" else "call"
    return pytest.TestReport("test_x.py::test", ("test_x.py", 1, "test"), {}, outcome, longrepr, when)  # type: ignore[arg-type]


def test_summary_counts_the_cases_that_ran() -> None:
    """Protects the line that CI logs are searched for; failures ran too."""
    assert cases_run([report("passed"), report("failed"), report("skipped", "no checkout")]) == 2


def test_missing_thing_is_one_line() -> None:
    """Protects the reader from a line for each place that lacks the same, and from a skip without a line."""
    reports = [report("skipped", "no GPU"), report("skipped", "no checkout"), report("skipped", "no checkout")]
    assert skip_lines(reports) == [
        "skipped 2: no checkout",
        "skipped 1: no GPU",
    ]


def run_pytest(folder: Path, required: str = "") -> "subprocess.CompletedProcess[str]":
    """pytest, with this project's options, in `folder`."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "MOESORT_TEST_REQUIRE": required,
    }
    options = ["-q", "-p", "tests.opt_in", *project_options()]
    command = [sys.executable, "-m", "pytest", *options, "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def project_options() -> list[str]:
    """addopts of pyproject.toml."""
    (line,) = [text for text in (REPOSITORY / "pyproject.toml").read_text().splitlines() if text.startswith("addopts")]
    return line.split('"')[1].split()


def test_failure_stands_after_one_line_for_each_missing_thing(tmp_path: Path) -> None:
    """Protects a failure from being buried under skips, and every skip, of whatever kind, from being silent."""
    (tmp_path / "test_some.py").write_text(A_RUN)
    (tmp_path / "test_whole_file.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    lines = run_pytest(tmp_path).stdout.splitlines()
    assert "emulator: ran 1 cases" in lines
    told = [line for line in lines if line.startswith("skipped ")]
    assert told[:1] == ["skipped 4: no checkout"]
    assert "skipped 1: no GPU is attached" in told
    assert "skipped 1: no reason" in told
    assert sum(int(line.split()[1].rstrip(":")) for line in told) == 8
    assert not [line for line in lines if line.startswith("SKIPPED")]
    assert lines[-2].startswith("FAILED test_some.py::test_wrong")
    assert lines[-1].startswith("1 failed, 1 passed, 8 skipped")


def test_what_is_required_fails_where_it_is_missing(tmp_path: Path) -> None:
    """Protects CI: what it must have is a failure where it is not, and a misspelt name cannot require nothing."""
    (tmp_path / "test_some.py").write_text(A_RUN)
    assert "5 failed, 1 passed, 3 skipped" in run_pytest(tmp_path, "emulator").stdout
    assert "2 failed, 1 passed, 6 skipped" in run_pytest(tmp_path, "gpu").stdout
    assert "names emulators; there are ['emulator'" in run_pytest(tmp_path, "emulators").stderr
