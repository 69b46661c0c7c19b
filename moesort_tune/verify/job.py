"""Run a whole verification, from the table's file to the reports, for the command line."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moesort_tune import runtime
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Timing
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.numerals import check_within
from moesort_tune.providers.facts import registry
from moesort_tune.sweep.records import select_samples
from moesort_tune.sweep.rows import list_rungs
from moesort_tune.sweep.samples import get_samples_path, read_samples
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.devices import open_worker
from moesort_tune.sweep.worker.messages import DeviceFacts, Worker
from moesort_tune.tables import store
from moesort_tune.tables.keeping import get_swept_range
from moesort_tune.tables.schema import Entry, Range, Row
from moesort_tune.verify.policies import by_table
from moesort_tune.verify.verification import (
    AS_SWEPT,
    Listener,
    Question,
    SettingReport,
    Verification,
    choose_questions,
    select_for_setting,
)

OTHER_SHAPES: Final = "shapes without a row"
"""Name of the report on shapes that lie between the rows, under the settings of the sweep."""

DEFAULT_POINTS: Final = 8
HOST_POINTS: Final = 4
"""Token counts a shape; every setting but the swept ones asks half of them."""

POINT_SECONDS: Final = 1.0
"""Seconds of a point: a ratio that is not settled by then is close enough to 1 to cost nothing."""


@dataclass(frozen=True)
class VerifyJob:
    """The options of a verification. points: token counts a shape, None for a default that depends on the device."""

    table: Path
    ordinal: int
    provider: str
    timing: Timing
    settings: tuple[str, ...]
    seed: int
    points: int | None
    margin: float
    point_limit_s: float

    def __post_init__(self) -> None:
        """Raise ValueError for seconds that are not finite or not above 0."""
        check_within("point_limit_s", self.point_limit_s, 0, low_open=True)


@dataclass(frozen=True)
class VerifyResult:
    """The device, and a report for each setting, those under the sweep's own settings first.

    swept: the rows of the entry in use, which say what they rest on.
    failed: shapes that are not in all of the reports, since their kernels crashed or never ended, with the reason.
    """

    facts: DeviceFacts
    swept: tuple[Row, ...]
    reports: list[SettingReport]
    failed: dict[Shape, str]

    def find_fault(self, limit: float) -> str | None:
        """Return what exceeds `limit`: the worst settled regret of shapes with a row, or the mean of those without.

        Raise ValueError for a limit that is not finite or below 1.
        """
        check_within("limit", limit, 1)
        for report in self.reports:
            table = report.regrets["table"]
            if report.setting == AS_SWEPT and table.worst_settled > limit:
                return f"the table's regret reaches {table.worst_settled:.3f} (worst at {table.worst_at})"
            if report.setting == OTHER_SHAPES and table.mean > limit:
                return f"the table's mean regret on shapes without a row is {table.mean:.3f}"
        return None


def run_verification(job: VerifyJob, listener: Listener) -> VerifyResult:
    """Measure and compare. Raise MoesortTuneError where the table has no entry for the attached device."""
    arch = store.load(job.table).arch
    with open_worker(arch=arch, ordinal=job.ordinal, provider=job.provider, limit_s=job.point_limit_s) as worker:
        dispatcher, entry = _load_dispatcher(job, worker.facts)
        questions = _draw_questions(job, worker, entry)
        verification = Verification(
            worker,
            table=by_table(dispatcher.policy, registry.get_facts(job.provider)),
            rule=StoppingRule(margin=job.margin, max_seconds=POINT_SECONDS),
            listener=listener,
        )
        reports = _measure_reports(verification, job.settings, questions)
        return VerifyResult(worker.facts, entry.rows, reports, verification.failed)


def _measure_reports(
    verification: Verification, settings: Sequence[str], questions: list[Question]
) -> list[SettingReport]:
    own = [question for question in questions if question.swept]
    unknown = [question for question in questions if not question.swept]
    asked = [(AS_SWEPT, own)]
    asked += [(OTHER_SHAPES, unknown)] if unknown else []
    asked += [(name, there) for name in settings if (there := select_for_setting(name, own[::2]))]
    reports = [verification.report(*one) for one in asked]
    return [report for report in reports if report is not None]


def _load_dispatcher(job: VerifyJob, facts: DeviceFacts) -> tuple[runtime.Dispatcher, Entry]:
    """Return the dispatcher that a deployment on this device would get, with the entry that decides."""
    dispatcher = runtime.Dispatcher.load(
        job.table,
        arch=facts.arch,
        compute_units=facts.compute_units,
        kernels=job.provider,
        timing=job.timing,
        revision=facts.revision,
    )
    if dispatcher.entry is None:
        reasons = "; ".join(dispatcher.not_used)
        raise MoesortTuneError(f"{job.table} has no entry for this device and these kernels: {reasons}")
    if dispatcher.entry.sweep is None:
        raise MoesortTuneError(f"{job.table} holds published figures, whose settings are not known; sweep instead")
    return dispatcher, dispatcher.entry


def _draw_questions(job: VerifyJob, worker: Worker, entry: Entry) -> list[Question]:
    default = HOST_POINTS if worker.facts.runtime == "host" else DEFAULT_POINTS
    questions = choose_questions(
        [entry.complete(row) for row in entry.rows],
        limits_of=worker.limits,
        measured=_list_measured(job, worker, entry),
        per_shape=job.points or default,
        seed=job.seed,
    )
    if not any(question.swept for question in questions):
        raise MoesortTuneError(
            f"{job.table} leaves no token count to verify: it was swept at {', '.join(format_swept(entry.rows))}, and"
            f" nothing is left of that where several kernels are legal; `moesort-tune sweep --tokens` adds other counts"
        )
    return questions


def format_swept(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the points that rows rest on, '1 to 64 tokens (14 measured): 128/4', the shapes of one range together."""
    of_range: dict[Range, list[Row]] = {}
    for row in rows:
        of_range.setdefault(get_swept_range(row), []).append(row)
    for (first, last), alike in of_range.items():
        points = sorted({row.evidence.points or 0 for row in alike})
        counts = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
        tokens = f"{first}" if first == last else f"{first} to {last}"
        shapes = ", ".join(f"{row.num_experts}/{row.topk}" for row in alike)
        yield f"{tokens} tokens ({counts} measured): {shapes}"


def _list_measured(job: VerifyJob, worker: Worker, entry: Entry) -> dict[Shape, set[int]]:
    """Return the token counts behind each row: those of the samples, and those that every sweep of the row measures."""
    samples = read_samples(get_samples_path(job.table))
    measured: dict[Shape, set[int]] = {}
    for row in entry.rows:
        shape = Shape(row.num_experts, row.topk)
        facts, tokens = worker.facts, TokenRange(*get_swept_range(row))
        rungs = list_rungs(shape, tokens, worker.limits(shape), provider=facts.provider, device=facts.limits)
        behind = select_samples(row, arch=worker.facts.arch, entry=entry, samples=samples)
        measured[shape] = {*rungs, *(sample.tokens for sample in behind)}
    return measured
