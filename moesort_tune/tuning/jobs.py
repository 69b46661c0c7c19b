"""A whole sweep, from the name of an architecture to the table: what the command line runs."""

from dataclasses import dataclass, replace
from pathlib import Path

from moesort_tune.device.architectures import architecture
from moesort_tune.numerals import check_within
from moesort_tune.sorting.aiter_rule import aiter_forced_oneshot_max_tokens
from moesort_tune.sorting.launches import DeviceLimits
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.tuning.devices import AUTO, attached_arch, open_worker
from moesort_tune.tuning.messages import DeviceFacts
from moesort_tune.tuning.presets import default_shapes
from moesort_tune.tuning.records import Conditions
from moesort_tune.tuning.row_search import Listener, SweepPlan
from moesort_tune.tuning.rows import rungs_of
from moesort_tune.tuning.search import DEFAULT_MAX_POINTS, TokenRange
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.stopping import StoppingRule
from moesort_tune.tuning.sweep import Sweep, SweepResult
from moesort_tune.tuning.table_sink import TableSink, check_folder, check_table
from moesort_tune.tuning.worker import WorkerRefusedError, WorkerStartError

DEFAULT_TOKENS = TokenRange(1, 16384)
HOST_TOKENS = TokenRange(1, 512)
"""The default on `host`: what two cores sort in milliseconds."""

HOST_SECONDS_PER_SHAPE = 12.0
"""Default time budget on `host`, whose noise would let most points run to their limit."""

POINT_LIMIT_SECONDS = 120.0
"""A kernel that runs longer than this never ends."""


@dataclass(frozen=True)
class SweepJob:
    """What a person asked for; None stands for a default that depends on the device."""

    arch: str
    ordinal: int
    providers: tuple[str, ...]
    shapes: list[Shape] | None
    tokens: TokenRange | None
    settings: Settings
    rule: StoppingRule
    table: Path | None
    resume: bool = False
    time_budget_s: float | None = None
    point_limit_s: float = POINT_LIMIT_SECONDS
    max_points: int = DEFAULT_MAX_POINTS

    def __post_init__(self) -> None:
        """Raise ValueError for seconds that are not finite or not above 0."""
        check_within("point_limit_s", self.point_limit_s, 0, low_open=True)
        if self.time_budget_s is not None:
            check_within("time_budget_s", self.time_budget_s, 0, low_open=True)

    def plan(self, arch: str) -> SweepPlan:
        """The sweep on a device of `arch`; several providers share the time budget."""
        shapes = self.shapes or default_shapes(arch)
        budget = self.time_budget_s
        if budget is None and arch == "host":
            budget = HOST_SECONDS_PER_SHAPE * len(shapes)
        return SweepPlan(
            shapes=shapes,
            tokens=self.tokens or default_tokens(arch),
            settings=self.settings,
            rule=self.rule,
            time_budget_s=None if budget is None else budget / len(self.providers),
            max_points=self.max_points,
        )

    def table_for(self, arch: str) -> Path:
        """The file to write."""
        return self.table or Path("tables") / f"{arch}.yaml"


@dataclass(frozen=True)
class JobResult:
    """What one provider's sweep came to, and where it was written."""

    facts: DeviceFacts
    table: Path
    samples: Path
    result: SweepResult


def default_tokens(arch: str) -> TokenRange:
    """Token counts swept when nobody named any."""
    return HOST_TOKENS if arch == "host" else DEFAULT_TOKENS


def run_job(job: SweepJob, listener: Listener) -> list[JobResult]:
    """Sweeps each provider's kernels. Raises MoesortTuneError; what was measured until then is kept."""
    check_folder(job.table_for("any").parent)
    job = replace(job, providers=_usable_providers(job, listener))
    return [_run_provider(job, provider, listener) for provider in job.providers]


def _usable_providers(job: SweepJob, listener: Listener) -> tuple[str, ...]:
    """Return the job's providers without those after the first that do not open, before hours go to the others."""
    first, *others = job.providers
    usable = [first]
    for provider in others:
        try:
            with open_worker(arch=job.arch, ordinal=job.ordinal, provider=provider, limit_s=job.point_limit_s):
                usable.append(provider)
        except (WorkerRefusedError, WorkerStartError) as error:
            listener.warning(f"{provider} is left out: {error}")
    return tuple(usable)


def _run_provider(job: SweepJob, provider: str, listener: Listener) -> JobResult:
    with open_worker(arch=job.arch, ordinal=job.ordinal, provider=provider, limit_s=job.point_limit_s) as worker:
        facts = worker.facts
        listener.opened(facts)
        table = job.table_for(facts.arch)
        check_table(table, facts.arch)
        sink = TableSink(table, Conditions(facts, job.settings, job.rule.margin), job.resume)
        result = Sweep(job.plan(facts.arch), worker=worker, sink=sink, listener=listener).run()
        return JobResult(facts, table, sink.samples, result)


@dataclass(frozen=True)
class PlannedRow:
    """A row ahead: oneshot's limit, and the token counts that are measured before the search goes between them."""

    provider: str
    shape: Shape
    oneshot_max_tokens: int
    ladder: list[int]


def planned_rows(job: SweepJob, arch: str) -> list[PlannedRow]:
    """What a sweep on `arch` would measure, by provider, from the facts of the architecture alone."""
    plan = job.plan(arch)
    rows = []
    for provider in job.providers:
        for shape in plan.shapes:
            limit, builtin_on = _planned_limits(provider, shape, arch)
            rows.append(PlannedRow(provider, shape, limit, rungs_of(shape, plan.tokens, limit, builtin_on)))
    return rows


def _planned_limits(provider: str, shape: Shape, arch: str) -> tuple[int, DeviceLimits | None]:
    """oneshot's, and for rungs_of the device's, as the provider will tell them when it is there."""
    if provider == "aiter":
        return max(0, aiter_forced_oneshot_max_tokens(shape.num_experts)), None
    known = architecture(arch)
    limits = DeviceLimits(arch, max(known.parts.values(), default=1), known.wavefront_size, known.lds_bytes)
    return oneshot_max_tokens(shape.num_experts, shape.topk, known.lds_bytes), limits


def planned_arch(job: SweepJob) -> str:
    """The architecture that the job will measure; a GPU is opened only where its name cannot be told otherwise."""
    arch = attached_arch() if job.arch == AUTO else job.arch
    if arch is not None:
        return arch
    with open_worker(arch=AUTO, ordinal=job.ordinal, provider="builtin", limit_s=job.point_limit_s) as worker:
        return worker.facts.arch
