"""Write what a serving process learned on its own traffic (`on_miss="measure"`) as rows of a table."""

import datetime
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from statistics import median

import msgspec

from moesort_tune.device import hip
from moesort_tune.domain.candidates import Limits, find_last_contested
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import LOGGER, Condition, KernelName
from moesort_tune.measure.engine import compute_overall_noise
from moesort_tune.measure.stopping import compare
from moesort_tune.measure.verdict import Verdict
from moesort_tune.operator.first_encounter import RULE, Learned
from moesort_tune.operator.policies import FACTS
from moesort_tune.operator.sorting_device import SortingDevice, list_open_devices
from moesort_tune.sweep.records import Conditions, MeasuredPoint
from moesort_tune.sweep.rows import build_row
from moesort_tune.sweep.switch_points import find_switch_points
from moesort_tune.sweep.table_sink import build_entry
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import covers, find_other_settings, find_reason_to_keep, list_replaced_rows
from moesort_tune.tables.merge import merge_entry
from moesort_tune.tables.schema import SCHEMA, Entry, Row, Table

ROUTING = "served"
"""Routing of a learned row: that of the calls."""

Points = Mapping[int, Learned]
"""The choices that were learned for one shape, by token count."""


def save(path: str | PathLike[str]) -> list[Path]:
    """Write what this process learned into the table at `path`, a file, or a folder for `<arch>.yaml`.

    The rows are marked as learned. Rows that a sweep measured stay as they are. New token counts are added to rows that
    other processes learned with the same settings, software and device; others give way only to a row of the same
    settings and no smaller token range. Return the tables written: none where nothing was learned. Raise TableError
    where a table is of another architecture or cannot be written.
    """
    written = []
    for device in list_open_devices():
        entries = _build_entries(device)
        if entries:
            written.append(_write(Path(path), device.kernels.limits.arch, entries))
    return written


def _write(path: Path, arch: str, entries: list[Entry]) -> Path:
    file = path / f"{arch}.yaml" if path.is_dir() else path
    store.update(file, lambda table: _merge(table, arch, entries))
    return file


def _merge(table: Table | None, arch: str, entries: list[Entry]) -> Table:
    if table is not None and table.arch != arch:
        raise TableError(f"a table of {table.arch} cannot take rows of {arch}; name another file")
    for entry in entries:
        table = Table(schema=SCHEMA, arch=arch, tables=(entry,)) if table is None else _add(table, entry)
    if table is None:
        raise ValueError("expected an entry to write, got none")
    return table


def _add(table: Table, entry: Entry) -> Table:
    """Return `table` with the only row of `entry`, unless the row that it has for that shape comes first."""
    if _has_swept_row(table, entry):
        return table
    pair = next(list_replaced_rows(table, entry), None)
    if pair is None:
        return merge_entry(table, entry)
    old, new = pair
    if _are_measured_alike(old, new):
        row = _combine(old, new, _get_limits(table.arch, entry))
        return merge_entry(table, msgspec.structs.replace(entry, rows=(row,)))
    if reason := find_reason_to_keep(old, new):
        logging.getLogger(LOGGER).warning("not saved: %s", reason)
        return table
    return merge_entry(table, entry)


def _has_swept_row(table: Table, entry: Entry) -> bool:
    """Return whether `table` has a row for the shape that was not learned, be it of another product.

    A few samples of this product would otherwise come before a whole sweep of its sibling.
    """
    (new,) = entry.rows
    key = entry.key._replace(product=None)
    rows = [one.complete(row) for one in table.tables if one.key._replace(product=None) == key for row in one.rows]
    return any(row.shape == new.shape and row.evidence.kind != "learned" for row in rows)


def _are_measured_alike(old: Row, new: Row) -> bool:
    """Return whether two complete rows have the same settings, software and device, even if of different days."""
    same = (old.software, old.device) == (new.software, new.device)
    return same and find_other_settings(old, new) is None


def _get_limits(arch: str, entry: Entry) -> DeviceLimits:
    device = entry.device
    return DeviceLimits(arch, device.compute_units, device.wavefront_size, device.lds_bytes)


def _combine(old: Row, new: Row, device: DeviceLimits) -> Row:
    """Return the row of what two processes learned; where both measured a token count the new one's verdict counts."""
    limits = FACTS.limits(*new.shape, device)
    known = _list_known_verdicts(old, limits) | _list_known_verdicts(new, limits)
    before, now = old.evidence, new.evidence
    evidence = msgspec.structs.replace(
        now,
        points=_count_points(old, new),
        noise=max(before.noise or 0.0, now.noise or 0.0),
        rule_loss=max(before.rule_loss or 1.0, now.rule_loss or 1.0),
        tokens=(min(known), max(known)),
        since=_find_first_day(old, new),
    )
    return _choose_by(known, msgspec.structs.replace(new, evidence=evidence), limits)


def _count_points(old: Row, new: Row) -> int:
    """Return how many token counts both rest on, at least: a process saves what it has saved before once more."""
    points = [row.evidence.points or 0 for row in (old, new)]
    return max(points) if covers(old, new) or covers(new, old) else sum(points)


def _find_first_day(old: Row, new: Row) -> datetime.date | None:
    """Return the day of the oldest token count, if not the new row's."""
    before = old.evidence.since or (old.sweep.date if old.sweep else None)
    return before if new.sweep and before != new.sweep.date else None


def _list_known_verdicts(row: Row, limits: Limits) -> dict[int, Verdict]:
    """Return the verdicts of a row at the ends of what was measured and on both sides of each change between them."""
    first, last = row.evidence.tokens or (1, find_last_contested(limits))
    starts = [tokens for tokens, _ in row.policy]
    starts += [tokens for low, high, _ in row.tie for tokens in (low, high + 1)]
    corners = {first, last, *starts, *(tokens - 1 for tokens in starts)}
    return {
        tokens: Verdict(row.list_tied(tokens) or (row.choose_kernel(tokens, tuple(limits)),))
        for tokens in corners
        if first <= tokens <= min(last, find_last_contested(limits))
    }


def _choose_by(known: dict[int, Verdict], row: Row, limits: Limits) -> Row:
    """Return `row` with the policy that known verdicts ask for; outside of them the runtime asks the kernels' rule."""
    found = find_switch_points(known, limits)
    return msgspec.structs.replace(row, policy=tuple(found.policy), tie=tuple(found.tie))


def _build_entries(device: SortingDevice) -> list[Entry]:
    """Return an entry with one row for each shape that was learned in a condition: each has settings of its own."""
    of_shapes: dict[tuple[Shape, Condition], dict[int, Learned]] = {}
    for key, learned in device.encounters.get_learned().items():
        if learned.verdict is not None:
            shape, condition = Shape(key.num_experts, key.topk), Condition(key.moe_buf, key.masked)
            of_shapes.setdefault((shape, condition), {})[key.tokens] = learned
    facts = _collect_facts(device)
    return [_build_entry(facts, *key, points) for key, points in sorted(of_shapes.items())]


def _build_entry(facts: DeviceFacts, shape: Shape, condition: Condition, points: Points) -> Entry:
    first = next(iter(points.values()))
    settings = Settings(
        unit_size=first.unit_size,
        model_dim=max(1, first.model_dim),  # a table has no sweep of none; without a moe_buf it says nothing
        dtype=first.dtype,
        routing=ROUTING,
        moe_buf=condition.moe_buf,
    )
    conditions = Conditions(facts, settings, margin=0.0)
    entry = build_entry(conditions, datetime.date.today(), _build_row(facts, shape, points))
    sweep = entry.sweep and msgspec.structs.replace(entry.sweep, masked=condition.masked)
    return msgspec.structs.replace(entry, sweep=sweep)


def _build_row(facts: DeviceFacts, shape: Shape, points: Points) -> Row:
    measured = {
        tokens: _build_point(learned.verdict, learned.samples_us)
        for tokens, learned in points.items()
        if learned.verdict
    }
    limits = FACTS.limits(shape.num_experts, shape.topk, facts.limits)
    row = build_row(shape, limits, measured)
    row = msgspec.structs.replace(row, evidence=msgspec.structs.replace(row.evidence, kind="learned"))
    return _choose_by({tokens: point.verdict for tokens, point in measured.items()}, row, limits)


def _build_point(verdict: Verdict, samples_us: Mapping[KernelName, Sequence[float]]) -> MeasuredPoint:
    times = {kernel: median(samples) for kernel, samples in samples_us.items()}
    rounds = min(map(len, samples_us.values()))
    return MeasuredPoint(
        times, verdict, compute_overall_noise(samples_us, compare(samples_us, RULE.confidence)), rounds=rounds
    )


def _collect_facts(device: SortingDevice) -> DeviceFacts:
    return DeviceFacts.of(
        device.kernels.device.properties,
        compiler=f"hiprtc {hip.get_compiler_version()}",
        provider=FACTS.name,
        revision=device.kernels.revision,
    )
