"""A whole sweep, from the name of an architecture to the table."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from moesort_tune.domain import vocabulary
from moesort_tune.domain.presets import CONDITIONS, MASKED_RANKS, list_default_conditions, list_default_shapes
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.numerals import check_within
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.sweep.cards import Card, get_card
from moesort_tune.sweep.fleet.engines import open_engine
from moesort_tune.sweep.fleet.groups import group_workers, name_kinds, select_groups
from moesort_tune.sweep.fleet.opening import Engine, NoCardsError, format_left_out
from moesort_tune.sweep.fleet.options import Fleet
from moesort_tune.sweep.records import Conditions
from moesort_tune.sweep.row_search import Listener, SweepPlan
from moesort_tune.sweep.row_state import TRIES
from moesort_tune.sweep.runner import Sweep, SweepResult, run_sweeps
from moesort_tune.sweep.samples import SamplesReader, get_samples_path
from moesort_tune.sweep.search import DEFAULT_MAX_POINTS, TokenRange
from moesort_tune.sweep.table_sink import TableSink, check_folder, check_table
from moesort_tune.sweep.worker.devices import open_worker
from moesort_tune.sweep.worker.errors import WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import DeviceFacts, NoLaunchGaps, Worker
from moesort_tune.tables.keeping import RowKeptError

DEFAULT_TOKENS = TokenRange(*vocabulary.DEFAULT_TOKENS)
HOST_TOKENS = TokenRange(1, 512)
"""The default on `host`: two cores sort these in milliseconds."""

HOST_SECONDS_PER_SHAPE = 12.0
"""Default time budget on `host` for one condition, whose noise would let most points run to their limit."""

DEFAULT_REPLICAS = 2

POINT_LIMIT_SECONDS = 120.0
"""A kernel that runs longer than this never ends."""


@dataclass(frozen=True)
class SweepJob:
    """A sweep as a person asked for it; None stands for a default that depends on the device.

    providers: all of one operation.
    settings: of all conditions; each has its own moe_buf, and ranks that share the experts where it is masked.
    fleet: the cards to use. replicas: cards that each row is measured on, as far as there are so many of its kind.
    """

    arch: str
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
    fleet: Fleet = field(default_factory=Fleet)
    replicas: int = DEFAULT_REPLICAS

    def __post_init__(self) -> None:
        """Raise ValueError for providers of several operations, and for seconds that are not finite or not above 0."""
        if len(set(map(find_operation, self.providers))) > 1:
            raise ValueError(f"expected providers of one operation, got {' and '.join(self.providers)}")
        check_within("point_limit_s", self.point_limit_s, 0, low_open=True)
        if self.time_budget_s is not None:
            check_within("time_budget_s", self.time_budget_s, 0, low_open=True)

    @property
    def operation(self) -> Operation:
        """The computation of all of the kernels."""
        return find_operation(self.providers[0])

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
            replicas=1 if self.fleet.is_one_device else self.replicas,
            operation=self.operation,
        )

    def list_settings(self, arch: str) -> tuple[Settings, ...]:
        """Return the settings of each condition: the masked one alone where ranks are all that was asked for.

        The usual condition comes first, since the first is searched most closely.
        """
        spread = self.settings.ep > 1
        default = (Condition(masked=True),) if spread else list_default_conditions(arch, self.operation)
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
    """The results of one provider's sweep on one kind of card, and where they were written. cards: their names."""

    facts: DeviceFacts
    table: Path
    samples: Path
    result: SweepResult
    cards: tuple[Card, ...] = ()


def get_default_tokens(arch: str) -> TokenRange:
    """Return the token counts to sweep by default."""
    return HOST_TOKENS if arch == "host" else DEFAULT_TOKENS


def run_job(job: SweepJob, listener: Listener) -> list[JobResult]:
    """Sweep each provider's kernels on each kind of card. Raise MoesortTuneError; results until then are kept.

    All kernels are opened, and rows that would be refused in the end are refused, before any is timed.
    """
    check_folder(job.locate_table("any").parent)
    with ExitStack() as stack:
        opened = _open_providers(job, stack, listener)
        job = replace(job, providers=tuple(opened))
        plans = [_plan_groups(job, workers, listener) for workers in opened.values()]
        return [result for groups in plans for result in _run_groups(job, groups, listener)]


def _open_providers(job: SweepJob, stack: ExitStack, listener: Listener) -> dict[str, list[Worker]]:
    """Open the workers of each provider; those after the first that do not open are left out with a warning."""
    engine = None if job.fleet.is_one_device else _open_engine(job, stack)
    opened: dict[str, list[Worker]] = {}
    for provider in job.providers:
        listener.announce_opening(provider)
        try:
            opened[provider] = _open_workers(job, provider, engine, stack, listener)
        except (WorkerRefusedError, WorkerStartError, NoCardsError) as error:
            if provider == job.providers[0]:
                raise
            listener.warn(f"{provider} is left out: {error}")
    return opened


def _open_engine(job: SweepJob, stack: ExitStack) -> Engine:
    return stack.enter_context(closing(open_engine(job.fleet, arch=job.arch, limit_s=job.point_limit_s)))


def _open_workers(
    job: SweepJob, provider: str, engine: Engine | None, stack: ExitStack, listener: Listener
) -> list[Worker]:
    """Open a worker on each card; those that cannot be used are left out with a warning."""
    if engine is None:
        limit_s = job.point_limit_s
        return [
            stack.enter_context(
                open_worker(arch=job.arch, ordinal=job.fleet.ordinal, provider=provider, limit_s=limit_s)
            )
        ]
    opened = engine.open_workers(provider)
    for name, reason in opened.left_out.items():
        listener.warn(format_left_out(name, reason))
    return opened.workers


@dataclass(frozen=True)
class _Group:
    """Workers on cards of one kind, and where their results go, condition by condition."""

    workers: list[Worker]
    sinks: list[TableSink]

    @property
    def facts(self) -> DeviceFacts:
        return self.workers[0].facts

    @property
    def cards(self) -> list[Card]:
        return [get_card(worker.facts) for worker in self.workers]


def _plan_groups(job: SweepJob, workers: Sequence[Worker], listener: Listener) -> list[_Group]:
    """Return the groups of cards to sweep, of which each has an entry of its own.

    Raise MoesortTuneError where rows that are there would have to stay, and for one file for several architectures.
    """
    groups = select_groups(group_workers(workers), listener.warn)
    archs = sorted({group[0].facts.arch for group in groups})
    if job.table is not None and len(archs) > 1:
        raise MoesortTuneError(
            f"the cards are of {' and '.join(archs)}, which have a table each; choose with --arch, or do without --out"
        )
    readers = {arch: SamplesReader(get_samples_path(job.locate_table(arch))) for arch in archs}
    return [_Group(group, _open_sinks(job, group[0], readers[group[0].facts.arch])) for group in groups]


def _open_sinks(job: SweepJob, worker: Worker, reader: SamplesReader) -> list[TableSink]:
    """Return where a provider's results go, condition by condition.

    Raise MoesortTuneError where rows that are there would have to stay.
    """
    facts = worker.facts
    table = job.locate_table(facts.arch)
    check_table(table, facts.arch)
    plan = job.plan(facts.arch)
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


def _record_launch_gaps(group: _Group, listener: Listener) -> None:
    """Measure what each further launch costs one of the cards, for the table; a sweep can do without it."""
    gaps = group.workers[0].measure_launch_gaps()
    if isinstance(gaps, NoLaunchGaps):
        listener.warn(f"the table does not get what each further launch costs ({gaps.reason})")
        return
    listener.announce_launch_gaps(gaps)
    for sink in group.sinks:
        sink.launch_gap_us = gaps


def _run_groups(job: SweepJob, groups: Sequence[_Group], listener: Listener) -> list[JobResult]:
    """Sweep the groups of one provider side by side."""
    for group in groups:
        listener.announce_device(group.facts, [] if job.fleet.is_one_device else group.cards)
        _record_launch_gaps(group, listener)
    for doubt in dict.fromkeys(doubt for group in groups for sink in group.sinks for doubt in sink.list_doubts()):
        listener.warn(doubt)
    kinds = name_kinds([group.facts for group in groups])
    sweeps = [
        Sweep(
            replace(job.plan(group.facts.arch), kind=kind),
            workers=group.workers,
            sinks=group.sinks,
            listener=listener,
            tries=1 if job.fleet.is_one_device else TRIES,
        )
        for group, kind in zip(groups, kinds, strict=True)
    ]
    return [
        JobResult(
            group.facts,
            group.sinks[0].table,
            group.sinks[0].samples,
            result,
            tuple(group.cards),
        )
        for group, result in zip(groups, run_sweeps(sweeps), strict=True)
    ]
