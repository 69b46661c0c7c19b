"""Plan what a sweep would measure and do to the table, without measuring: `sweep --dry-run`."""

import datetime
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from moesort_tune.device.architectures import get_architecture
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.providers.facts import registry
from moesort_tune.providers.work.base import limits_of, revision_of
from moesort_tune.sweep.cards import Card, get_card
from moesort_tune.sweep.fleet.engines import open_engine
from moesort_tune.sweep.fleet.groups import group_workers, name_kinds, select_groups
from moesort_tune.sweep.fleet.opening import format_left_out
from moesort_tune.sweep.job import SweepJob
from moesort_tune.sweep.records import find_origin, find_points_of_origin
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import BISECTION_POINTS
from moesort_tune.sweep.rows import list_coarse_rungs, list_rungs
from moesort_tune.sweep.runner import PROBES
from moesort_tune.sweep.samples import SamplesReader, get_samples_path
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.table_sink import build_sweep_record, check_table
from moesort_tune.sweep.worker.devices import AUTO, detect_arch, open_worker
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables import store
from moesort_tune.tables.keeping import find_reason_to_keep
from moesort_tune.tables.schema import Entry, Evidence, Row, Table

POINT_SECONDS: Final = 0.025
"""Seconds of a point on a GPU: an H100 took 73 s for 3169 of them."""


@dataclass(frozen=True)
class PlannedRow:
    """A row ahead: the kernels' limits, and the token counts that are measured before the search goes between them.

    ladder: of a condition after the first, what is measured in any case.
    there: the fate of the row that the table has, None where it has none.
    """

    provider: str
    key: RowKey
    limits: Limits
    ladder: list[int]
    there: str | None


@dataclass(frozen=True)
class KindPlan:
    """The cards of one kind, the rows that they share, and the seconds that these take about.

    cards: their names; empty where one device is meant, which is not opened. kind: what tells it from others, '' for
    the only one.
    """

    arch: str
    rows: list[PlannedRow]
    seconds: float
    cards: Sequence[Card] = ()
    kind: str = ""


def plan_kinds(job: SweepJob, warn: Callable[[str], None]) -> list[KindPlan]:
    """Return what a sweep would measure on each kind of card; several cards are opened to see what they are."""
    if job.fleet.is_one_device:
        arch = find_arch(job)
        rows = plan_rows(job, arch)
        return [KindPlan(arch, rows, estimate_seconds(job, arch, rows, cards=1))]
    with closing(open_engine(job.fleet, arch=job.arch, limit_s=job.point_limit_s)) as engine:
        opened = engine.open_workers(job.providers[0])
        for name, reason in opened.left_out.items():
            warn(format_left_out(name, reason))
        groups = [[worker.facts for worker in group] for group in select_groups(group_workers(opened.workers), warn)]
    kinds = name_kinds([group[0] for group in groups])
    return [_plan_kind(job, group, kind) for group, kind in zip(groups, kinds, strict=True)]


def _plan_kind(job: SweepJob, group: Sequence[DeviceFacts], kind: str) -> KindPlan:
    arch, cards = group[0].arch, [get_card(facts) for facts in group]
    rows = plan_rows(job, arch)
    return KindPlan(arch, rows, estimate_seconds(job, arch, rows, cards=len(set(cards))), cards, kind)


def estimate_seconds(job: SweepJob, arch: str, rows: Sequence[PlannedRow], *, cards: int) -> float:
    """Return about how long the rows take on so many cards. On `host` noise lets most points run to their limit."""
    plan = job.plan(arch)
    of_providers = [[row for row in rows if row.provider == provider] for provider in job.providers]
    points = sum(_estimate_points(own, plan.replicas, cards) for own in of_providers)
    seconds = points * (plan.rule.max_seconds if arch == "host" else POINT_SECONDS)
    return seconds if plan.time_budget_s is None else min(seconds, plan.time_budget_s * len(job.providers))


def _estimate_points(rows: Sequence[PlannedRow], replicas: int, cards: int) -> float:
    """Return how many points the busiest card waits for: a row is not split, and its replicas come after it."""
    points = [min(replicas, cards) * (len(row.ladder) + BISECTION_POINTS) for row in rows]
    return max([sum(points) / cards, *points]) + (PROBES if cards > 1 else 0)


def plan_rows(job: SweepJob, arch: str) -> list[PlannedRow]:
    """Return the rows that a sweep on `arch` would measure, by provider, from the facts of the architecture alone."""
    plan = job.plan(arch)
    path = job.locate_table(arch)
    check_table(path, arch)
    existing = _Existing(store.load(path), SamplesReader(get_samples_path(path))) if path.exists() else None
    device = _get_largest_device(arch)
    rows = []
    for provider in job.providers:
        for shape in plan.shapes:
            limits = limits_of(registry.get_facts(provider), shape, device)
            for index, settings in enumerate(plan.list_settings(shape)):
                condition = settings.condition
                ladder = list_rungs(shape, plan.tokens, limits, provider=provider, device=device, condition=condition)
                there = _describe_fate(job, settings, existing, provider, shape) if existing else None
                shown = list_coarse_rungs(ladder, limits) if index else ladder
                rows.append(
                    PlannedRow(provider, RowKey(shape, condition, operation=job.operation), limits, shown, there)
                )
    return rows


class _Existing(NamedTuple):
    """The table that is there, and its samples, which are read where a row's fate depends on them."""

    table: Table
    samples: SamplesReader


def _get_largest_device(arch: str) -> DeviceLimits:
    """Return the largest device of an architecture."""
    known = get_architecture(arch)
    return DeviceLimits(arch, max(known.parts.values(), default=1), known.wavefront_size, known.lds_bytes)


def find_arch(job: SweepJob) -> str:
    """Return the architecture that the job will measure; open a GPU only where nothing else gives its name."""
    arch = detect_arch() if job.arch == AUTO else job.arch
    if arch is not None:
        return arch
    with open_worker(
        arch=AUTO, ordinal=job.fleet.ordinal, provider=job.providers[0], limit_s=job.point_limit_s
    ) as worker:
        return worker.facts.arch


def _describe_fate(job: SweepJob, settings: Settings, existing: _Existing, provider: str, shape: Shape) -> str | None:
    """Return the fate of the rows of this shape and condition, on the device and with the software of each."""
    table = existing.table
    revision = revision_of(provider, table.arch)
    entries = [
        entry
        for entry in table.tables
        if (entry.key.provider, entry.key.timing, entry.condition) == (provider, settings.timing, settings.condition)
        and revision in (None, entry.key.revision)
    ]
    there = [(entry, row) for entry in entries for row in entry.rows if row.shape == (shape.num_experts, shape.topk)]
    return "; ".join(_describe_fate_in_entry(job, settings, existing, entry, row) for entry, row in there) or None


def _describe_fate_in_entry(job: SweepJob, settings: Settings, existing: _Existing, entry: Entry, row: Row) -> str:
    tokens = job.plan(existing.table.arch).tokens
    first, last = row.swept_range
    this = f"the row of {first} to {last} tokens of {entry.key}"
    if job.replace:
        return f"{this} is replaced"
    kept = _find_kept(job, existing, entry, row)
    ahead = _build_planned_row(settings, tokens, row, kept)
    if reason := find_reason_to_keep(entry.complete(row), ahead):
        return f"refused: {reason}"
    outside = any(count not in tokens for count in kept)
    return f"{this} keeps its other token counts" if outside else f"{this} is measured again"


def _find_kept(job: SweepJob, existing: _Existing, entry: Entry, row: Row) -> set[int]:
    """Return the token counts of which a sweep under the row's own conditions would find its samples."""
    origin = find_origin(row, arch=existing.table.arch, entry=entry)
    if origin is None:
        return set()
    names = [candidate.name for candidate in registry.get_facts(entry.kernels.provider).candidates]
    limits = {name: row.get_limit(name) for name in names}
    return set(
        find_points_of_origin(origin, existing.samples.read(), shape=Shape(*row.shape), limits=limits, rule=job.rule)
    )


def _build_planned_row(settings: Settings, tokens: TokenRange, row: Row, kept: set[int]) -> Row:
    """Return the row that would replace `row`, with the fields that find_reason_to_keep reads."""
    counts = {tokens.first, tokens.last, *kept}
    return msgspec.structs.replace(
        row,
        evidence=Evidence(tokens=(min(counts), max(counts))),
        sweep=build_sweep_record(settings, datetime.date.today()),
    )
