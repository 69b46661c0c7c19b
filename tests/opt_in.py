"""Opt-in tests, for parts that not every machine has: a run ends with their count and a line for each missing part.

A test belongs to a suite by its marker. MOESORT_TEST_REQUIRE=emulator,offload_clang makes missing needs a failure.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import pytest

SUITES = {
    "emulator": "emulator",
    "offload_clang": "compiler for AMD GPUs",
    "real_rocm": "real ROCm libraries",
    "nvrtc": "NVIDIA's run-time compiler",
    "ray": "Ray",
    "real_aiter": "real AITER",
    "real_vllm": "real vLLM",
    "real_sglang": "real SGLang",
}
"""Marker of each suite, and what its line in the summary begins with."""

GPU = "gpu"
"""Like a suite where it is missing; with a GPU and without, its tests' line would be that of the whole run."""

REQUIRE_VARIABLE = "MOESORT_TEST_REQUIRE"

VERSION = "version"
"""Property of a test: what it ran with. It is part of the report, which xdist carries to the summary."""


def skip_or_fail(suite: str, reason: str) -> NoReturn:
    """Skip the calling test, or fail it where MOESORT_TEST_REQUIRE names its suite."""
    if suite in _read_required():
        pytest.fail(f"{REQUIRE_VARIABLE} names {suite}, but {reason}", pytrace=False)
    pytest.skip(reason)


def needs_gpu(attached: bool) -> None:
    """Skip the calling test where no GPU is attached; with one reason for all, so that they are one line."""
    if not attached:
        skip_or_fail(GPU, "no GPU is attached")


def name_version(item: pytest.Item, version: str) -> None:
    """Have the summary name a version that the test runs with."""
    item.user_properties.append((VERSION, version))


def _read_required() -> list[str]:
    return [name for name in os.environ.get(REQUIRE_VARIABLE, "").split(",") if name]


def pytest_configure(config: pytest.Config) -> None:
    """Register the suites' markers; raise UsageError where MOESORT_TEST_REQUIRE names a suite that does not exist."""
    for suite, needs in SUITES.items():
        config.addinivalue_line("markers", f"{suite}: needs the {needs}")
    unknown = set(_read_required()) - {*SUITES, GPU}
    if unknown:
        raise pytest.UsageError(f"{REQUIRE_VARIABLE} names {', '.join(sorted(unknown))}; there are {[*SUITES, GPU]}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write a line for each suite that ran and for each reason to skip; pytest's list of failures comes after it."""
    for suite, name in SUITES.items():
        reports = list(_select_reports(terminalreporter.stats, suite))
        ran = count_cases(reports)
        if ran:
            terminalreporter.write_line(f"{name}: ran {ran} cases{format_versions(reports)}")
    for line in format_skips(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def _select_reports(stats: dict[str, list[Any]], suite: str) -> Iterator[pytest.TestReport]:
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            if isinstance(report, pytest.TestReport) and suite in report.keywords:
                yield report


def count_cases(reports: Sequence[pytest.TestReport]) -> int:
    """Return how many of the tests were called, whatever came of it."""
    return sum(report.when == "call" and report.outcome != "skipped" for report in reports)


def format_versions(reports: Sequence[pytest.TestReport]) -> str:
    """Return the versions that the tests ran with, ' (commit 1a2b3c)'; '' where none was named."""
    named = {str(value) for report in reports for key, value in report.user_properties if key == VERSION}
    return f" ({', '.join(sorted(named))})" if named else ""


def format_skips(reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """Return a line for each reason why tests (or whole files) were skipped, the one of most tests first."""
    reasons = Counter(_get_reason(report) for report in reports)
    return [f"skipped {count}: {reason}" for reason, count in reasons.most_common()]


def _get_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skipped test, whose longrepr is (file, line, 'Skipped: reason')."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
