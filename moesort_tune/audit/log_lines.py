"""The lines in which serving processes log their counts, and their reading from a server's log."""

import os
import re
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple

from moesort_tune.audit.tally import SORTING, Tally

_LINE: Final = re.compile(
    r"(?P<function>moe_sorting|moe_align_block_size of \w{1,32}) in "
    r"process (?P<pid>\d{1,9}) on (?P<host>\S{1,255}) \((?P<token>[0-9a-f]{8})\), "
    r"(?P<calls>\d{1,15}) calls? \((?P<captured>\d{1,15}) under capture\): (?P<counts>[^\"\\{}.]{1,4096})\."
)
"""A line of `format_counts`, also within JSON: it has no double quotes, and ends with its only full stop."""

_COUNT: Final = re.compile(r"(\d{1,15}) (.+)")

_WARNING: Final = re.compile(
    r"(the table does not decide a sort|the kernels of moesort-tune do not do an alignment|no usable table, so)[^\n]*"
)

_FAULT: Final = re.compile(r"(moesort-tune does nothing in this process|(AITER|vLLM|SGLang) is left as it is)[^\n]*")

MAX_LINE: Final = 1 << 16
"""Characters of a line that are read."""

MAX_SENTENCES: Final = 20
"""Warnings, and faults, that are kept; the same sentence is kept once."""

SEPARATOR: Final = "; "
"""Stands between two reasons, none of which contains it."""


class LoggedCounts(NamedTuple):
    """The latest counts of a function that a process has logged.

    counts: calls by reason; captured: of these, under capture.
    """

    function: str
    pid: int
    host: str
    token: str
    calls: int
    captured: int
    counts: dict[str, int]


class LogContent(NamedTuple):
    """Sentences of this package in a log: counts, warnings, and why processes could not be steered."""

    counts: list[LoggedCounts]
    warnings: list[str]
    faults: list[str]


def format_counts(tally: Tally, function: str = SORTING) -> str:
    """Return the line of this process and function."""
    counts = [count for _, count in tally.list_counts()]
    calls, captured = sum(count.calls for count in counts), sum(count.captured for count in counts)
    reasons = SEPARATOR.join(f"{times} {reason}" for reason, times in tally.sum_reasons().items())
    process = f"process {os.getpid()} on {socket.gethostname()} ({tally.token})"
    number = "1 call" if calls == 1 else f"{calls} calls"
    return f"{function} in {process}, {number} ({captured} under capture): {reasons}."


def read_log(lines: Iterable[str]) -> LogContent:
    """Return the latest counts of each process and function, and this package's sentences, each once.

    Ignore all other lines.
    """
    counts: dict[tuple[str, int, str, str], LoggedCounts] = {}
    warnings, faults = dict[str, None](), dict[str, None]()
    for whole in lines:
        line = whole[:MAX_LINE]
        for pattern, kept in ((_WARNING, warnings), (_FAULT, faults)):
            found = pattern.search(line)
            if found is not None and len(kept) < MAX_SENTENCES:
                kept[found[0].rstrip()] = None
        logged = _read_line(line)
        if logged is not None:
            counts[logged.function, logged.pid, logged.host, logged.token] = logged
    return LogContent(list(counts.values()), list(warnings), list(faults))


def _read_line(line: str) -> LoggedCounts | None:
    match = _LINE.search(line)
    if match is None:
        return None
    parts = [_COUNT.fullmatch(part) for part in match["counts"].split(SEPARATOR)]
    counts = {part[2]: int(part[1]) for part in parts if part is not None}
    calls, captured = int(match["calls"]), int(match["captured"])
    if None in parts or sum(counts.values()) != calls or captured > calls:
        return None  # a line that was cut or changed
    return LoggedCounts(match["function"], int(match["pid"]), match["host"], match["token"], calls, captured, counts)
