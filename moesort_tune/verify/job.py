"""Run a whole verification, from the table's file to the reports, for the command line."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Final

from moesort_tune import runtime
from moesort_tune.domain.vocabulary import TIMINGS, Timing
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts
from moesort_tune.runtime.search import Found
from moesort_tune.runtime.selection import Wanted, find_usable, is_measured
from moesort_tune.sweep.fleet.engines import open_engine
from moesort_tune.sweep.fleet.groups import group_workers
from moesort_tune.sweep.worker.devices import open_worker
from moesort_tune.sweep.worker.messages import DeviceFacts, Worker
from moesort_tune.tables import store
from moesort_tune.tables.schema import Entry, Table
from moesort_tune.verify.asking import Asked, Asking, VerifyJob, find_entries
from moesort_tune.verify.conditions import NO_TABLE
from moesort_tune.verify.policies import by_table, by_timing
from moesort_tune.verify.results import VerifyResult
from moesort_tune.verify.verification import Listener, SettingReport, Verification

POINT_SECONDS: Final = 1.0
"""Seconds of a point: a ratio that is not settled by then is close enough to 1 to cost nothing."""


def run_verification(job: VerifyJob, listener: Listener) -> list[VerifyResult]:
    """Measure and compare on one card of each kind. Raise MoesortTuneError where the table has no entry for any."""
    table = store.load(job.table)
    _report_other_operations(job, table, listener)
    with ExitStack() as stack:
        workers = _open_workers(job, table.arch, stack, listener)
        return [_verify(job, table, worker, listener) for worker in workers]


def _report_other_operations(job: VerifyJob, table: Table, listener: Listener) -> None:
    """Report each entry of another operation than the job's, which nothing of this verification says anything about."""
    operation = registry.find_operation(job.provider)
    for entry in table.tables:
        if entry.operation != operation:
            listener.report_left_out(
                f"the entry of {entry.key}",
                f"it is of {entry.operation}; verify it with --kernels {entry.key.provider}",
            )


def _open_workers(job: VerifyJob, arch: str, stack: ExitStack, listener: Listener) -> list[Worker]:
    """Open a card of each kind that the table has an entry for; where one device is meant, that one."""
    limit_s = job.point_limit_s
    if job.fleet.is_one_device:
        one = open_worker(arch=arch, ordinal=job.fleet.ordinal, provider=job.provider, limit_s=limit_s)
        return [stack.enter_context(one)]
    engine = stack.enter_context(closing(open_engine(job.fleet, arch=arch, limit_s=limit_s)))
    opened = engine.open_workers(job.provider)
    for name, reason in opened.left_out.items():
        listener.report_left_out(name, reason)
    groups = group_workers(opened.workers)
    for worker in [worker for group in groups for worker in group[1:]]:
        worker.close()
    firsts = [group[0] for group in groups]
    usable = [worker for worker in firsts if _find_problem(job, worker.facts) is None]
    for worker in firsts if usable else []:
        if (problem := _find_problem(job, worker.facts)) is not None:
            listener.report_left_out(f"{worker.facts.name}, {worker.facts.compute_units} compute units", problem)
    return usable or firsts[:1]  # the first says why there is no entry for it


def _verify(job: VerifyJob, table: Table, worker: Worker, listener: Listener) -> VerifyResult:
    """Measure and compare on one card."""
    facts, device = registry.get_facts(job.provider), worker.facts
    usual, entry = _load_usual_dispatcher(job, device)
    otherwise = _load_other_dispatcher(job, device, table) or usual
    dispatchers = {timing: usual if timing == job.timing else otherwise for timing in TIMINGS}
    asking = Asking(job, worker, entry, find_entries(usual, table), otherwise.entry)
    settings = asking.list_settings()  # refused, if at all, before anything is measured
    verification = Verification(
        worker,
        table=by_timing(
            {timing: by_table(dispatcher.policy, facts, device.limits) for timing, dispatcher in dispatchers.items()}
        ),
        rule=StoppingRule(margin=job.margin, max_seconds=POINT_SECONDS),
        listener=listener,
    )
    reports = list(_measure_reports(verification, asking.list_calls()))
    if cases := [case for report in reports for case in report.points]:
        without = by_table(_make_bare_dispatcher(facts, device).policy, facts, device.limits, NO_TABLE)
        reports.append(verification.compare(NO_TABLE, cases, without))
    reports += _measure_reports(verification, settings)
    return VerifyResult(device, entry.rows, reports, verification.failed, job.margin)


def _measure_reports(verification: Verification, asked: Iterable[Asked]) -> Iterator[SettingReport]:
    for name, questions, swept in asked:
        report = verification.report(name, questions, swept=swept)
        if report is not None:
            yield report


def _make_bare_dispatcher(facts: Facts, device: DeviceFacts) -> runtime.Dispatcher:
    """Return the dispatcher that a deployment on this device would get without a table."""
    return runtime.Dispatcher(Found(device.arch, device.compute_units, device.device_id or None, (), (), ()), facts)


def _find_problem(job: VerifyJob, facts: DeviceFacts) -> str | None:
    """Return why the table cannot be verified on such a device, None where it can."""
    try:
        _load_usual_dispatcher(job, facts)
    except MoesortTuneError as error:
        return str(error)
    return None


def _load_usual_dispatcher(job: VerifyJob, facts: DeviceFacts) -> tuple[runtime.Dispatcher, Entry]:
    """Return the dispatcher that a deployment on this device would get, with the entry that decides."""
    dispatcher = _load_dispatcher(job, facts, job.timing)
    if dispatcher.entry is None:
        reasons = "; ".join(dispatcher.not_used)
        raise MoesortTuneError(f"{job.table} has no entry for this device and these kernels: {reasons}")
    if dispatcher.entry.sweep is None:
        raise MoesortTuneError(f"{job.table} holds published figures, whose settings are not known; sweep instead")
    return dispatcher, dispatcher.entry


def _load_other_dispatcher(job: VerifyJob, facts: DeviceFacts, table: Table) -> runtime.Dispatcher | None:
    """Return the dispatcher of a deployment that launches in the other way; None where the table has no rows for it."""
    (other,) = (timing for timing in TIMINGS if timing != job.timing)
    usable, _ = find_usable(table, Wanted(table.arch, job.provider, other, facts.revision, named=True))
    if not any(map(is_measured, usable)):
        return None  # no dispatcher is asked for, since one without an entry warns
    return _load_dispatcher(job, facts, other)


def _load_dispatcher(job: VerifyJob, facts: DeviceFacts, timing: Timing) -> runtime.Dispatcher:
    return runtime.Dispatcher.load(
        job.table,
        arch=facts.arch,
        compute_units=facts.compute_units,
        kernels=job.provider,
        timing=timing,
        revision=facts.revision,
        device_id=facts.device_id or None,
    )
