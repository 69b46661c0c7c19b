"""The summary of tests whose requirements are not met everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.opt_in import count_cases, format_skips

REPOSITORY = Path(__file__).parents[1]

A_RUN = """
import pytest
from tests.opt_in import name_version, needs_gpu, skip_or_fail

@pytest.mark.parametrize("case", range(3))
def test_one(case): skip_or_fail("emulator", "no checkout")
def test_other(): skip_or_fail("emulator", "no checkout")
def test_of_a_gpu(): needs_gpu(False)
@pytest.mark.skip(reason="no reason")
def test_marked(): ...
def test_missing_module(): pytest.importorskip("no_such_module")
@pytest.mark.emulator
def test_wrong(): assert False
@pytest.mark.real_vllm
@pytest.mark.parametrize("case", range(2))
def test_versions(request, case): name_version(request.node, f"0.33.{case}")
def test_right(): ...
"""


def make_report(outcome: str, reason: str | None = None) -> pytest.TestReport:
    longrepr = ("test_x.py", 1, f"Skipped: {reason}") if reason else None
    when = "setup" if outcome == "skipped" else "call"
    return pytest.TestReport("test_x.py::test", ("test_x.py", 1, "test"), {}, outcome, longrepr, when)  # type: ignore[arg-type]


def test_summary_counts_the_cases_that_ran() -> None:
    """Protects the line that CI logs are searched for; failures ran too."""
    assert count_cases([make_report("passed"), make_report("failed"), make_report("skipped", "no checkout")]) == 2


def test_missing_thing_is_one_line() -> None:
    """Protects the reader from a line for each place that lacks the same, and from a skip without a line."""
    reports = [
        make_report("skipped", "no GPU"),
        make_report("skipped", "no checkout"),
        make_report("skipped", "no checkout"),
    ]
    assert format_skips(reports) == [
        "skipped 2: no checkout",
        "skipped 1: no GPU",
    ]


def run_pytest(folder: Path, required: str = "") -> "subprocess.CompletedProcess[str]":
    """Run pytest with this project's options in `folder`."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "MOESORT_TEST_REQUIRE": required,
    }
    options = ["-q", "-p", "tests.opt_in", *read_project_options()]
    command = [sys.executable, "-m", "pytest", *options, "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def read_project_options() -> list[str]:
    """Return the addopts of pyproject.toml."""
    (line,) = [text for text in (REPOSITORY / "pyproject.toml").read_text().splitlines() if text.startswith("addopts")]
    return line.split('"')[1].split()


def test_failure_stands_after_one_line_for_each_missing_thing(tmp_path: Path) -> None:
    """Protects a failure from being buried under skips, and every skip, of whatever kind, from being silent."""
    (tmp_path / "test_some.py").write_text(A_RUN)
    (tmp_path / "test_whole_file.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    lines = run_pytest(tmp_path).stdout.splitlines()
    assert "emulator: ran 1 cases" in lines
    assert "real vLLM: ran 2 cases (0.33.0, 0.33.1)" in lines
    skips = [line for line in lines if line.startswith("skipped ")]
    assert skips[:1] == ["skipped 4: no checkout"]
    assert "skipped 1: no GPU is attached" in skips
    assert "skipped 1: no reason" in skips
    assert sum(int(line.split()[1].rstrip(":")) for line in skips) == 8
    assert not [line for line in lines if line.startswith("SKIPPED")]
    assert lines[-2].startswith("FAILED test_some.py::test_wrong")
    assert lines[-1].startswith("1 failed, 3 passed, 8 skipped")


def test_what_is_required_fails_where_it_is_missing(tmp_path: Path) -> None:
    """Protects CI: what it must have is a failure where it is not, and a misspelt name cannot require nothing."""
    (tmp_path / "test_some.py").write_text(A_RUN)
    assert "5 failed, 3 passed, 3 skipped" in run_pytest(tmp_path, "emulator").stdout
    assert "2 failed, 3 passed, 6 skipped" in run_pytest(tmp_path, "gpu").stdout
    assert "names emulators; there are ['emulator'" in run_pytest(tmp_path, "emulators").stderr
