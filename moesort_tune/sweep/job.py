"""A whole sweep, from the name of an architecture to the table."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from moesort_tune.domain import vocabulary
from moesort_tune.domain.presets import CONDITIONS, MASKED_RANKS, list_default_conditions, list_default_shapes
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.numerals import check_within
from moesort_tune.sweep.records import Conditions
from moesort_tune.sweep.row_search import Listener, SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.samples import SamplesReader, get_samples_path
from moesort_tune.sweep.search import DEFAULT_MAX_POINTS, TokenRange
from moesort_tune.sweep.table_sink import TableSink, check_folder, check_table
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.devices import open_worker
from moesort_tune.sweep.worker.errors import WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.keeping import RowKeptError

DEFAULT_TOKENS = TokenRange(*vocabulary.DEFAULT_TOKENS)
HOST_TOKENS = TokenRange(1, 512)
"""The default on `host`: two cores sort these in milliseconds."""

HOST_SECONDS_PER_SHAPE = 12.0
"""Default time budget on `host` for one condition, whose noise would let most points run to their limit."""

POINT_LIMIT_SECONDS = 120.0
"""A kernel that runs longer than this never ends."""


@dataclass(frozen=True)
class SweepJob:
    """A sweep as a person asked for it; None stands for a default that depends on the device.

    settings: of all conditions; each has its own moe_buf, and ranks that share the experts where it is masked.
    """

    arch: str
    ordinal: int
    providers: tuple[str, ...]
    shapes: list[Shape] | None
    tokens: TokenRange | None
    settings: Settings
    rule: StoppingRule
    table: Path | None
    resume: bool = False
    replace: bool = False
    time_budget_s: float | None = None
    point_limit_s: float = POINT_LIMIT_SECONDS
    max_points: int = DEFAULT_MAX_POINTS
    conditions: tuple[Condition, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for seconds that are not finite or not above 0."""
        check_within("point_limit_s", self.point_limit_s, 0, low_open=True)
        if self.time_budget_s is not None:
            check_within("time_budget_s", self.time_budget_s, 0, low_open=True)

    def plan(self, arch: str) -> SweepPlan:
        """Return the sweep on a device of `arch`; several providers share the time budget."""
        shapes = self.shapes or list_default_shapes(arch)
        settings = self.list_settings(arch)
        budget = self.time_budget_s
        if budget is None and arch == "host":
            budget = HOST_SECONDS_PER_SHAPE * len(shapes) * len(settings)
        return SweepPlan(
            shapes=shapes,
            tokens=self.tokens or get_default_tokens(arch),
            settings=settings,
            rule=self.rule,
            time_budget_s=None if budget is None else budget / len(self.providers),
            max_points=self.max_points,
        )

    def list_settings(self, arch: str) -> tuple[Settings, ...]:
        """Return the settings of each condition: the masked one alone where ranks are all that was asked for.

        The usual condition comes first, since the first is searched most closely.
        """
        spread = self.settings.ep > 1
        default = (Condition(masked=True),) if spread else list_default_conditions(arch)
        ranks = self.settings.ep if spread else MASKED_RANKS
        return tuple(
            replace(self.settings, moe_buf=one.moe_buf, ep=ranks if one.masked else 1)
            for one in CONDITIONS.values()
            if one in (self.conditions or default)
        )

    def locate_table(self, arch: str) -> Path:
        """Return the file to write."""
        return self.table or Path("tables") / f"{arch}.yaml"


@dataclass(frozen=True)
class JobResult:
    """The results of one provider's sweep, and where they were written."""

    facts: DeviceFacts
    table: Path
    samples: Path
    result: SweepResult


def get_default_tokens(arch: str) -> TokenRange:
    """Return the token counts to sweep by default."""
    return HOST_TOKENS if arch == "host" else DEFAULT_TOKENS


def run_job(job: SweepJob, listener: Listener) -> list[JobResult]:
    """Sweep each provider's kernels. Raise MoesortTuneError; results until then are kept.

    All kernels are opened, and rows that would be refused in the end are refused, before any is timed.
    """
    check_folder(job.locate_table("any").parent)
    with ExitStack() as stack:
        workers = _open_workers(job, stack, listener)
        job = replace(job, providers=tuple(worker.facts.provider for worker in workers))
        sinks = [_open_sinks(job, worker) for worker in workers]
        return [_run_provider(job, worker, those, listener) for worker, those in zip(workers, sinks, strict=True)]


def _open_workers(job: SweepJob, stack: ExitStack, listener: Listener) -> list[ProcessWorker]:
    """Open a worker for each provider; those after the first that do not open are left out with a warning."""
    workers = []
    for provider in job.providers:
        try:
            worker = open_worker(arch=job.arch, ordinal=job.ordinal, provider=provider, limit_s=job.point_limit_s)
        except (WorkerRefusedError, WorkerStartError) as error:
            if provider == job.providers[0]:
                raise
            listener.warn(f"{provider} is left out: {error}")
        else:
            workers.append(stack.enter_context(worker))
    return workers


def _open_sinks(job: SweepJob, worker: ProcessWorker) -> list[TableSink]:
    """Return where a provider's results go, condition by condition.

    Raise MoesortTuneError where rows that are there would have to stay.
    """
    facts = worker.facts
    table = job.locate_table(facts.arch)
    check_table(table, facts.arch)
    plan, reader = job.plan(facts.arch), SamplesReader(get_samples_path(table))
    sinks = [
        TableSink(
            table, Conditions(facts, settings, job.rule.margin), resume=job.resume, replace=job.replace, reader=reader
        )
        for settings in plan.settings
    ]
    reasons = [
        reason for sink in sinks for reason in sink.list_reasons_to_stay(plan.shapes, plan.tokens, worker.limits)
    ]
    if reasons:
        others = f" (and {len(reasons) - 1} more rows)" if len(reasons) > 1 else ""
        raise RowKeptError(f"nothing was measured: {table}: {reasons[0]}{others}")
    return sinks


def _run_provider(job: SweepJob, worker: ProcessWorker, sinks: list[TableSink], listener: Listener) -> JobResult:
    listener.announce_device(worker.facts)
    for doubt in dict.fromkeys(doubt for sink in sinks for doubt in sink.list_doubts()):
        listener.warn(doubt)
    result = Sweep(job.plan(worker.facts.arch), workers=[worker], sinks=sinks, listener=listener).run()
    return JobResult(worker.facts, sinks[0].table, sinks[0].samples, result)
