"""What a run says about suites whose needs are not met everywhere."""

import pytest

from tests.opt_in import summary_line


def report(outcome: str, reason: str | None = None) -> pytest.TestReport:
    longrepr = ("test_x.py", 1, f"Skipped: {reason}") if reason else None
    when = "setup" if outcome == "skipped" else "call"
    return pytest.TestReport("test_x.py::test", ("test_x.py", 1, "test"), {}, outcome, longrepr, when)  # type: ignore[arg-type]


def test_summary_counts_the_cases_that_ran() -> None:
    """Protects the line that CI logs are searched for; failures ran too."""
    reports = [report("passed"), report("failed"), report("skipped", "no checkout")]
    assert summary_line("emulator", reports) == "emulator: ran 2 cases"


def test_summary_says_why_nothing_ran() -> None:
    """Protects against a suite that is skipped without anybody noticing."""
    reports = [report("skipped", "no checkout"), report("skipped", "no checkout")]
    assert summary_line("emulator", reports) == "emulator: not run because no checkout"


def test_summary_is_silent_about_suites_that_were_not_selected() -> None:
    """Protects the output of a run of a single file."""
    assert summary_line("emulator", []) is None
