"""Counts in the log of a server."""

import os

from moesort_tune.audit.log_lines import MAX_WARNINGS, format_counts, read_log
from moesort_tune.audit.tally import Asked, Tally
from moesort_tune.domain.vocabulary import Condition


def make_line(calls: int, reason: str = "exact row") -> str:
    """Return the line of this process after so many calls."""
    tally = Tally()
    for _ in range(calls):
        tally.add(Asked(128, 4, Condition()), reason, captured=True)
    return f"(Worker pid=12) INFO 11-26 10:00:00 [aiter_steering.py:1] {format_counts(tally)}\n"


def test_latest_line_of_each_process_counts() -> None:
    """Protects the judgement: a process logs its sums again and again."""
    other = make_line(3, "left alone: the caller's own policy").replace(str(os.getpid()), "99999")
    logged, warnings = read_log(["something else\n", make_line(1), other, make_line(10), "{'exact row': 7}\n"])
    assert [(one.pid, one.calls, one.captured, one.counts) for one in logged] == [
        (os.getpid(), 10, 10, {"exact row": 10}),
        (99999, 3, 3, {"left alone: the caller's own policy": 3}),
    ]
    assert warnings == []


def test_number_of_a_process_that_is_used_again_is_another_process() -> None:
    """Protects a log over a restart in a container, where the numbers are the same every time."""
    logged, _ = read_log([make_line(100), make_line(1, "flat"), make_line(10, "flat")])
    assert [one.calls for one in logged] == [100, 10]


def test_lines_that_were_cut_are_ignored() -> None:
    """Protects against a log that ends in the middle of a line, or was written by something else."""
    line = make_line(1)
    cut = [line[:-5], line.replace("'exact row'", "exec"), line.replace(": 1}", ": 'x'}")]
    assert read_log(cut) == ([], [])


def test_warnings_are_found_once_and_bounded() -> None:
    """Protects whoever has only the log: it says why the table does not decide."""
    lines = ["WARN moesort-tune does nothing in this process: no table\n"] * 3
    lines += [f"WARN the table does not decide a sort of {experts} experts\n" for experts in range(2 * MAX_WARNINGS)]
    _, warnings = read_log(lines)
    assert warnings[0] == "moesort-tune does nothing in this process: no table"
    assert len(warnings) == MAX_WARNINGS
