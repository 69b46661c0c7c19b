"""Suites that need what not every machine has: they say at the end of a run how many of their tests ran, or why none.

A test belongs to a suite by its marker. MOESORT_TEST_REQUIRE=emulator,offload_clang makes missing needs a failure.
"""

import os
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

SUITES = {
    "emulator": "emulator",
    "offload_clang": "compiler for AMD GPUs",
    "real_rocm": "real ROCm libraries",
    "nvrtc": "NVIDIA's run-time compiler",
}
"""Marker of each suite, and what its line in the summary begins with."""

REQUIRE_VARIABLE = "MOESORT_TEST_REQUIRE"


def not_here(suite: str, reason: str) -> NoReturn:
    """Skips the calling test, or fails it where MOESORT_TEST_REQUIRE names its suite."""
    if suite in os.environ.get(REQUIRE_VARIABLE, "").split(","):
        pytest.fail(f"{REQUIRE_VARIABLE} names {suite}, but {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Makes the suites' markers known."""
    for suite, needs in SUITES.items():
        config.addinivalue_line("markers", f"{suite}: needs the {needs}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each suite that has tests in this run."""
    for suite, name in SUITES.items():
        line = summary_line(name, list(_reports(terminalreporter.stats, suite)))
        if line:
            terminalreporter.write_line(line)


def _reports(stats: dict[str, list[Any]], suite: str) -> Iterator[pytest.TestReport]:
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            if isinstance(report, pytest.TestReport) and suite in report.keywords:
                yield report


def summary_line(name: str, reports: list[pytest.TestReport]) -> str | None:
    """'emulator: ran 12 cases', 'emulator: not run because ...', or None without any test."""
    ran = sum(report.when == "call" and report.outcome != "skipped" for report in reports)
    if ran or not reports:
        return f"{name}: ran {ran} cases" if ran else None
    # Of a skipped test, longrepr is (file, line, 'Skipped: reason').
    reasons = {str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports if isinstance(r.longrepr, tuple)}
    return f"{name}: not run because {' and '.join(sorted(reasons)) or 'its needs failed'}"
