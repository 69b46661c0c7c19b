"""`moesort-tune audit`: prove that serving processes go by a table, from the counts that they have written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from moesort_tune.audit.judgement import (
    DEFAULT_AT_LEAST,
    Judged,
    Judgement,
    Reports,
    convert_log,
    judge,
    list_functions,
    read_folder,
)
from moesort_tune.audit.log_lines import read_log
from moesort_tune.audit.reasons import Use, classify
from moesort_tune.audit.record import Calls, Record, to_text
from moesort_tune.audit.reporter import VARIABLE
from moesort_tune.audit.tally import SORTING
from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import FilePath, FloatRange
from moesort_tune.cli.table_text import format_count
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.errors import MoesortTuneError, escape_unprintable

EPILOG = f"""\b
Examples:
  {VARIABLE}=/tmp/audit vllm serve openai/gpt-oss-120b
  moesort-tune audit /tmp/audit
  moesort-tune audit /tmp/audit --at-least 1 --json
  moesort-tune audit --log server.log
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=FilePath(file_okay=False), required=False)
@click.option("--log", type=FilePath(dir_okay=False, allow_dash=True), help="Read a server's log instead; -: stdin.")
@click.option(
    "--at-least",
    type=FloatRange(0, 1),
    default=DEFAULT_AT_LEAST,
    show_default=True,
    metavar="SHARE",
    help="Share of each process's sorts that the table has to decide, and of its alignments that have to be taken.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(folder: Path | None, log: Path | None, at_least: float, as_json: bool) -> int:
    """Say what came of each sorting call in the processes that have written their counts to FOLDER.

    FOLDER is the one that MOESORT_TUNE_AUDIT named in the server's environment, by default in this one's. Use an empty
    folder for each start of the server. A process writes within five seconds of a call, and at its end.

    Each process and shape is reported as decided by an exact row, by a guess from other rows, by no row because the
    table has none for this key, not read (the caller or AITER's environment has chosen), replaced by a sort of the
    framework's, or inconclusive. Calls under graph capture are counted once, however often the graph is replayed.

    Calls of moe_align_block_size, which MOESORT_TUNE_ALIGN=1 has the kernels of this package do in vLLM and SGLang, are
    reported apart: as taken and by which kind of row, or as left to the framework and why.

    The exit status is 1 where a row decides less than --at-least of a process's sorts, or less of its calls are
    taken, where a process could not be steered, and where no process has sorted anything.
    """
    judgement = judge(_read(folder, log), at_least)
    if as_json:
        print_json(_build_report(judgement, at_least))
    else:
        for line in _format(judgement):
            print_result(escape_unprintable(line))
    return 0 if judgement.passed else 1


def _read(folder: Path | None, log: Path | None) -> Reports:
    """Return what processes have reported. Raise UsageError, MoesortTuneError."""
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) and log is None else None)
    if (named is None) == (log is None):
        raise click.UsageError(f"name either a folder (or set {VARIABLE}) or --log FILE")
    return read_folder(named) if named is not None else _read_log(log)


def _read_log(log: Path | None) -> Reports:
    """Return what a server's log says, and print this package's warnings in it."""
    try:
        with click.open_file(str(log), encoding="utf-8", errors="replace") as file:
            content = read_log(file)
    except OSError as error:
        raise MoesortTuneError(f"cannot read {log}: {error.strerror or error}; name the server's log") from error
    for warning in content.warnings:
        print_remark(escape_unprintable(f"logged: {warning}"))
    return convert_log(content)


def _build_report(judgement: Judgement, at_least: float) -> dict[str, Any]:
    processes = [
        {
            "record": one.record,
            "sorts": one.sorts,
            "decided": one.decided,
            "guessed": one.guessed,
            "ruled": one.ruled,
            "share": one.share,
            "uses": _sum_uses(one),
        }
        for one in judgement.processes
    ]
    return {"passed": judgement.passed, "at_least": at_least, "faults": judgement.faults, "processes": processes}


def _sum_uses(one: Judged) -> dict[str, int]:
    totals = dict.fromkeys(map(str, Use), 0)
    for calls in one.record.calls:
        totals[str(classify(calls.reason))] += calls.calls
    return totals


def _format(judgement: Judgement) -> Iterator[str]:
    for one in judgement.processes:
        yield from _format_process(one)
    yield from _format_summaries(judgement.processes)
    yield from judgement.faults


def _format_process(one: Judged) -> Iterator[str]:
    record = one.record
    yield _format_heading(record)
    yield f"  {record.state}" + (f", as of {record.written}" if record.written else "")
    shapes = [_format_shape(calls, zeroes=not one.is_alignment) for calls in record.calls]
    width = max(map(len, shapes), default=0)
    for shape, calls in zip(shapes, record.calls, strict=True):
        yield f"  {shape:<{width}}  {_format_calls(calls)}"
    if one.share is not None:
        yield f"  {'taken' if one.is_alignment else 'decided by the table'}: {_format_sums([one], one.record.function)}"


def _format_sums(processes: list[Judged], function: str) -> str:
    """Return the sums of processes that report this function."""
    decided, guessed, ruled = (sum(getattr(one, name) for one in processes) for name in ("decided", "guessed", "ruled"))
    sorts = sum(one.sorts for one in processes)
    apart = f", {guessed} of them by a guess" if guessed else ""
    apart += f", {ruled} of them by a rule, not by a row" if ruled else ""
    share = f" ({decided / sorts:.1%}{apart})" if sorts else ""
    calls = ("sort", "sorts") if function == SORTING else ("call", "calls")
    return f"{decided} of {format_count(sorts, *calls)}{share}"


def _format_heading(record: Record) -> str:
    about = [to_text(record.process), "" if record.function == SORTING else record.function]
    if record.process.started:
        about.append(f"started {record.process.started}")
    about.append(f"table {record.table}" if record.table else "")
    about += [f"{name} {version}" for name, version in record.software.items()]
    command = f": {record.process.command}" if record.process.command else ""
    return ", ".join(part for part in about if part) + command


def _format_shape(calls: Calls, *, zeroes: bool) -> str:
    """Return '128/4, masked'. zeroes: the function zeroes a moe_buf unless a call says otherwise."""
    if calls.num_experts is None:
        return "unknown or other shapes"
    unusual = Condition(calls.moe_buf or not zeroes, calls.masked).list_unusual()
    return ", ".join([f"{calls.num_experts}/{calls.topk}", *unusual])


_SPEAKING = (Use.TAKEN, Use.LEFT)
"""Uses whose counted reasons begin with them."""


def _format_calls(calls: Calls) -> str:
    first, last = calls.tokens
    tokens = f", {first}-{last} tokens" if last else ""
    captured = f" ({calls.captured} under capture)" if calls.captured else ""
    use = classify(calls.reason)
    meaning = calls.reason if str(use) == calls.reason or use in _SPEAKING else f"{use} ({calls.reason})"
    why = f": {calls.why}" if calls.why and use is not Use.EXACT else ""
    return f"{format_count(calls.calls, 'call', 'calls')}{captured}{tokens}: {meaning}{why}"


def _format_summaries(processes: list[Judged]) -> Iterator[str]:
    """Yield a line for each function that was reported, and one where there is none."""
    for function in list_functions(processes) or [SORTING]:
        theirs = [one for one in processes if one.record.function == function]
        sorting = [one for one in theirs if one.sorts]
        sums = _format_sums(sorting, function)
        number = f"{format_count(len(theirs), 'process', 'processes')}, of which {len(sorting)}"
        if function == SORTING:
            yield f"{number} sorted: the table decides {sums}"
        else:
            yield f"{number} called {function}: the kernels of moesort-tune do {sums}"
