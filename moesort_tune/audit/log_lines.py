"""The lines in which serving processes log their counts, and their reading from a server's log."""

import ast
import os
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from moesort_tune.audit.tally import Tally

_LINE: Final = re.compile(
    r"moe_sorting in process (?P<pid>\d+), (?P<calls>\d+) calls? \((?P<captured>\d+) under capture\): "
    r"(?P<counts>\{.*\})"
)

_WARNING: Final = re.compile(
    r"(moesort-tune does nothing in this process|the table does not decide a sort|AITER is left as it is).*"
)

MAX_WARNINGS: Final = 20
"""Warnings that are kept; the same sentence is kept once."""


class LoggedCounts(NamedTuple):
    """The latest counts that a process has logged. counts: calls by reason; captured: of these, under capture."""

    pid: int
    calls: int
    captured: int
    counts: dict[str, int]


def format_counts(tally: Tally) -> str:
    """Return the line of this process."""
    counts = [count for _, count in tally.list_counts()]
    calls, captured = sum(count.calls for count in counts), sum(count.captured for count in counts)
    many = "call" if calls == 1 else "calls"
    return f"moe_sorting in process {os.getpid()}, {calls} {many} ({captured} under capture): {tally.sum_reasons()}"


def read_log(lines: Iterable[str]) -> tuple[list[LoggedCounts], list[str]]:
    """Return the latest counts of each process, in the order of their first lines, and this package's warnings, each
    once. Ignore all other lines.

    A process that counts from less again is a new one with the number of an old one.
    """
    found: list[LoggedCounts] = []
    warnings: dict[str, None] = {}
    for line in lines:
        warning = _WARNING.search(line)
        if warning is not None and len(warnings) < MAX_WARNINGS:
            warnings[warning[0].rstrip()] = None
        logged = _read_line(line)
        if logged is not None:
            _keep_latest(found, logged)
    return found, list(warnings)


def _keep_latest(found: list[LoggedCounts], logged: LoggedCounts) -> None:
    for index, one in enumerate(found):
        if one.pid == logged.pid and one.calls <= logged.calls:
            found[index] = logged
            return
    found.append(logged)


def _read_line(line: str) -> LoggedCounts | None:
    match = _LINE.search(line)
    if match is None:
        return None
    try:
        counts = ast.literal_eval(match["counts"])
    except (SyntaxError, ValueError):  # a line that was cut
        return None
    if not isinstance(counts, dict) or not all(isinstance(times, int) for times in counts.values()):
        return None
    return LoggedCounts(int(match["pid"]), int(match["calls"]), int(match["captured"]), counts)
