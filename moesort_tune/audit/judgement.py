"""Judge what serving processes have done with their table."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from moesort_tune.audit.log_lines import LogContent, LoggedCounts
from moesort_tune.audit.reasons import DECIDED, GUESSED, RULED, Use, classify
from moesort_tune.audit.record import SUFFIX, Calls, Process, Record, RecordError, read, to_text
from moesort_tune.audit.tally import SORTING
from moesort_tune.errors import MoesortTuneError
from moesort_tune.tables.errors import format_path

DEFAULT_AT_LEAST = 0.9
"""Share of a process's sorts that the table must decide: a shape that is missing is noticed, a warm-up call is not."""


class Reports(NamedTuple):
    """Reports of processes. faults: a sentence for each report that cannot be read, or that is of a failure.

    why_none: what is the matter if no process has.
    """

    records: list[Record]
    faults: list[str]
    why_none: str


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A process, one of its functions, and the sums. sorts: calls in which there was something to decide.

    decided: of these, by a row, or taken by this package's kernels. guessed: of these, by other rows than the shape's
    own. ruled: of those taken, by a rule, since no row was usable.
    """

    record: Record
    sorts: int
    decided: int
    guessed: int
    ruled: int

    @property
    def share(self) -> float | None:
        """The part of the sorts that were decided or taken, None where there was none."""
        return self.decided / self.sorts if self.sorts else None

    @property
    def is_alignment(self) -> bool:
        """Whether this is a framework's moe_align_block_size, not AITER's moe_sorting."""
        return self.record.function != SORTING


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All processes, and why they do not pass: a sentence for each fault, none where the table is in use."""

    processes: list[Judged]
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Whether the table decides wherever there is something to decide."""
        return not self.faults


def read_folder(folder: Path) -> Reports:
    """Return the records in a folder, in the order of their names. Raise MoesortTuneError if it cannot be listed."""
    try:
        files = sorted(file for file in folder.iterdir() if file.name.endswith(SUFFIX))
    except OSError as error:
        reason = error.strerror or error
        raise MoesortTuneError(
            f"cannot read the folder {format_path(folder)}: {reason}; name the server's MOESORT_TUNE_AUDIT"
        ) from error
    records, faults = list[Record](), list[str]()
    for file in files:
        try:
            records.append(read(file))
        except RecordError as error:
            faults.append(str(error))
    why_none = (
        "no process has reported: the server runs without MOESORT_TUNE_AUDIT, or with neither MOESORT_TUNE_TABLE nor "
        "MOESORT_TUNE_ALIGN, or loads no plugin of this package"
    )
    return Reports(records, faults, why_none)


def convert_log(log: LogContent) -> Reports:
    """Return what a server's log says of its processes."""
    why_none = (
        "the log has no counts: the server does not log at level INFO, runs with neither MOESORT_TUNE_TABLE nor "
        "MOESORT_TUNE_ALIGN, loads no plugin of this package, or has sorted nothing"
    )
    return Reports([_make_record(one) for one in log.counts], [f"logged: {fault}" for fault in log.faults], why_none)


def _make_record(logged: LoggedCounts) -> Record:
    """Return the record of a process of which only the counts are known."""
    calls = [Calls(num_experts=None, topk=None, reason=reason, calls=times) for reason, times in logged.counts.items()]
    return Record(
        function=logged.function,
        process=Process(pid=logged.pid, host=logged.host, started="", token=logged.token),
        written="",
        state=f"as of its last line in the log, {logged.captured} of {logged.calls} calls under capture",
        table=None,
        kernels="",
        calls=calls,
    )


def judge(reports: Reports, at_least: float) -> Judgement:
    """Judge each process by itself. at_least: the share of its sorts that a row must decide."""
    processes = [_judge_process(record) for record in reports.records]
    found = [*reports.faults, *(fault for one in processes for fault in _list_faults(one, at_least))]
    found += [reports.why_none] if not processes else _list_unused(processes)
    return Judgement(processes=processes, faults=found)


def list_functions(processes: list[Judged]) -> list[str]:
    """Return the functions that were reported, each once, AITER's first."""
    names = {one.record.function for one in processes}
    return sorted(names, key=lambda name: (name != SORTING, name))


def _list_unused(processes: list[Judged]) -> list[str]:
    """Return a sentence for each function that was never called with something to decide."""
    used = {one.record.function for one in processes if one.sorts}
    return [_explain_no_sorts(name) for name in list_functions(processes) if name not in used]


def _explain_no_sorts(function: str) -> str:
    if function == SORTING:
        return (
            "no process has sorted anything through AITER's moe_sorting: send a request, and see that AITER is "
            "switched on"
        )
    return (
        f"no process has called {function}: send a request of more tokens, and see that the model's layers run one of "
        "the framework's kernels that need it"
    )


def _judge_process(record: Record) -> Judged:
    uses = [(classify(calls.reason), calls.calls) for calls in record.calls]
    return Judged(
        record=record,
        sorts=sum(calls for use, calls in uses if use is not Use.NOTHING_TO_DECIDE),
        decided=sum(calls for use, calls in uses if use in DECIDED),
        guessed=sum(calls.calls for calls in record.calls if calls.reason in GUESSED),
        ruled=sum(calls.calls for calls in record.calls if calls.reason in RULED),
    )


def _list_faults(one: Judged, at_least: float) -> list[str]:
    faults = []
    name = to_text(one.record.process)
    if one.record.is_faulty:
        faults.append(f"{name}: {one.record.state}")
    if one.share is not None and one.share < at_least:
        faults.append(f"{name}: {_format_share(one)} ({one.share:.1%}), less than {at_least:g}")
    return faults


def _format_share(one: Judged) -> str:
    if one.is_alignment:
        return f"the kernels of moesort-tune do {one.decided} of its {one.sorts} calls of {one.record.function}"
    return f"the table decides {one.decided} of its {one.sorts} sorts"
