"""Counts in the log of a server."""

import json
import os
import socket

from moesort_tune.audit.log_lines import MAX_SENTENCES, format_counts, read_log
from moesort_tune.audit.tally import Asked, Tally
from moesort_tune.domain.vocabulary import Condition


def make_line(tally: Tally, calls: int = 1, reason: str = "exact row") -> str:
    """Count calls under capture, and return the line of this process."""
    for _ in range(calls):
        tally.add(Asked(128, 4, Condition()), reason, captured=True)
    return f"(Worker pid=12) INFO 11-26 10:00:00 [aiter_steering.py:1] {format_counts(tally)}\n"


def test_latest_line_of_each_process_counts() -> None:
    """Protects the judgement: a process logs its sums again and again."""
    first, other = Tally(), Tally()
    lines = [make_line(first), make_line(other, 3, "left alone: the caller's own policy"), make_line(first, 9)]
    content = read_log(["something else\n", *lines, "{'exact row': 7}\n"])
    assert [(one.pid, one.host, one.calls, one.captured, one.counts) for one in content.counts] == [
        (os.getpid(), socket.gethostname(), 10, 10, {"exact row": 10}),
        (os.getpid(), socket.gethostname(), 3, 3, {"left alone: the caller's own policy": 3}),
    ]
    assert (content.warnings, content.faults) == ([], [])


def test_number_of_a_process_that_is_used_again_is_another_process() -> None:
    """Protects a log over a restart in a container, where the numbers are the same every time."""
    content = read_log([make_line(Tally(), 100), make_line(Tally(), 1, "flat")])
    assert [one.calls for one in content.counts] == [100, 1]


def test_functions_of_one_process_are_counted_apart() -> None:
    """Protects the sums: a process may sort by AITER and align by its framework's function."""
    tally = Tally()
    tally.add(Asked(128, 4, Condition()), "taken: exact row")
    lines = [make_line(Tally(), 2), format_counts(tally, "moe_align_block_size of vLLM")]
    found = [(one.function, one.counts) for one in read_log(lines).counts]
    assert found == [("moe_sorting", {"exact row": 2}), ("moe_align_block_size of vLLM", {"taken: exact row": 1})]


def test_line_within_json_is_read() -> None:
    """Protects servers that log JSON: the line has nothing that JSON escapes."""
    line = make_line(Tally(), 5, "left alone: SGLang's default policy")
    (one,) = read_log([json.dumps({"level": "INFO", "message": line.strip()})]).counts
    assert one.counts == {"left alone: SGLang's default policy": 5}


def test_lines_that_were_cut_or_changed_are_ignored() -> None:
    """Protects against a log that ends in the middle of a line, or was written by something else."""
    line = make_line(Tally(), 12)
    changed = [line[:-3], line.replace("12 exact", "2 exact"), line.replace("(12 under", "(13 under")]
    changed += [line.replace("12 exact row", "exact row"), line.replace("12 calls", "1" * 5000 + " calls")]
    assert read_log(changed) == ([], [], [])
    assert len(read_log([line]).counts) == 1


def test_sentences_are_found_once_and_bounded() -> None:
    """Protects whoever has only the log: it says why the table does not decide."""
    lines = ["WARN moesort-tune does nothing in this process: no table\n"] * 3
    lines += [f"WARN the table does not decide a sort of {experts} experts\n" for experts in range(2 * MAX_SENTENCES)]
    content = read_log(lines)
    assert content.faults == ["moesort-tune does nothing in this process: no table"]
    assert len(content.warnings) == MAX_SENTENCES
