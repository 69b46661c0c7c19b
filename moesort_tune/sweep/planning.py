"""What a sweep would measure and do to the table, told without measuring: `sweep --dry-run`."""

import datetime
from dataclasses import dataclass

import msgspec

from moesort_tune.device.architectures import architecture
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.providers.facts.aiter_rule import aiter_forced_oneshot_max_tokens
from moesort_tune.sorting.revision import revision
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.sweep.job import SweepJob
from moesort_tune.sweep.records import origin_behind, points_from
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.rows import rungs_of
from moesort_tune.sweep.samples import read_samples, samples_path
from moesort_tune.sweep.table_sink import check_table, sweep_record
from moesort_tune.sweep.worker.devices import AUTO, attached_arch, open_worker
from moesort_tune.tables import store
from moesort_tune.tables.keeping import swept, why_kept
from moesort_tune.tables.schema import Entry, Evidence, Row, Table


@dataclass(frozen=True)
class PlannedRow:
    """A row ahead: oneshot's limit, and the token counts that are measured before the search goes between them.

    there: what becomes of the row that the table has, None where it has none.
    """

    provider: str
    shape: Shape
    oneshot_max_tokens: int
    ladder: list[int]
    there: str | None


def planned_rows(job: SweepJob, arch: str) -> list[PlannedRow]:
    """What a sweep on `arch` would measure, by provider, from the facts of the architecture alone."""
    plan = job.plan(arch)
    path = job.table_for(arch)
    check_table(path, arch)
    table = store.load(path) if path.exists() else None
    rows = []
    for provider in job.providers:
        for shape in plan.shapes:
            limit, builtin_on = _planned_limits(provider, shape, arch)
            there = _fate(job, plan, table, provider, shape) if table else None
            rows.append(PlannedRow(provider, shape, limit, rungs_of(shape, plan.tokens, limit, builtin_on), there))
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


def _fate(job: SweepJob, plan: SweepPlan, table: Table, provider: str, shape: Shape) -> str | None:
    """What the sweep would do to the rows of this shape, on the device and with the software of each."""
    entries = [
        entry
        for entry in table.tables
        if (entry.key.provider, entry.key.timing) == (provider, plan.settings.timing)
        and (provider != "builtin" or entry.key.revision == revision(table.arch))
    ]
    there = [(entry, row) for entry in entries for row in entry.rows if row.shape == (shape.num_experts, shape.topk)]
    return "; ".join(_fate_of(job, plan, table, entry, row) for entry, row in there) or None


def _fate_of(job: SweepJob, plan: SweepPlan, table: Table, entry: Entry, row: Row) -> str:
    first, last = swept(row)
    told = f"the row of {first} to {last} tokens of {entry.key}"
    if job.replace:
        return f"{told} is replaced"
    kept = _kept(job, table, entry, row)
    ahead = _ahead(plan, row, kept)
    if reason := why_kept(entry.complete(row), ahead):
        return f"refused: {reason}"
    outside = any(tokens not in plan.tokens for tokens in kept)
    return f"{told} keeps its other token counts" if outside else f"{told} is measured again"


def _kept(job: SweepJob, table: Table, entry: Entry, row: Row) -> set[int]:
    """Token counts of which a sweep under the row's own conditions would find its samples."""
    origin = origin_behind(row, arch=table.arch, entry=entry)
    if origin is None:
        return set()
    samples = read_samples(samples_path(job.table_for(table.arch)))
    shape, limit = Shape(*row.shape), row.oneshot_max_tokens
    return set(points_from(origin, samples, shape=shape, oneshot_max_tokens=limit, rule=job.rule))


def _ahead(plan: SweepPlan, row: Row, kept: set[int]) -> Row:
    """The row that would take the place of `row`, as far as why_kept looks at it."""
    counts = {plan.tokens.first, plan.tokens.last, *kept}
    return msgspec.structs.replace(
        row,
        evidence=Evidence(tokens=(min(counts), max(counts))),
        sweep=sweep_record(plan.settings, datetime.date.today()),
    )
