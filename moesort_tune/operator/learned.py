"""What a serving process learned on its own traffic (`on_miss="measure"`), written as rows of a table."""

import datetime
import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from statistics import median

import msgspec

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.statistics import relative_noise
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.operator.first_encounter import Learned
from moesort_tune.operator.sorting_device import SortingDevice, open_devices
from moesort_tune.providers.facts.aiter_rule import aiter_oneshot_max_tokens
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.sweep.records import Conditions, MeasuredPoint
from moesort_tune.sweep.rows import aiter_rule, row_of
from moesort_tune.sweep.switch_points import find_switch_points
from moesort_tune.sweep.table_sink import entry_of
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import other_settings, replaced_rows, why_kept
from moesort_tune.tables.merge import merge_entry
from moesort_tune.tables.schema import SCHEMA, Entry, Row, Table

LOGGER = "moesort_tune"

ROUTING = "served"
"""Routing of a learned row: whatever the calls brought."""

Points = Mapping[int, Learned]
"""What was learned of one shape, by token count."""


def save(path: str | PathLike[str]) -> list[Path]:
    """Writes what this process learned into the table at `path`, a file, or a folder for `<arch>.yaml`.

    The rows are marked as learned. Rows that a sweep measured stay as they are. To rows that other processes learned
    with the same settings, software and device the new token counts are added; others give way only to a row of the
    same settings and no smaller token range. Returns the tables written: none where nothing was learned. Raises
    TableError where a table is of another architecture or cannot be written.
    """
    written = []
    for device in open_devices():
        entries = _entries(device)
        if entries:
            written.append(_write(Path(path), device.kernels.limits.arch, entries))
    return written


def _write(path: Path, arch: str, entries: list[Entry]) -> Path:
    file = path / f"{arch}.yaml" if path.is_dir() else path
    store.update(file, lambda table: _merged(table, arch, entries))
    return file


def _merged(table: Table | None, arch: str, entries: list[Entry]) -> Table:
    if table is not None and table.arch != arch:
        raise TableError(f"a table of {table.arch} cannot take rows of {arch}; name another file")
    for entry in entries:
        table = Table(schema=SCHEMA, arch=arch, tables=(entry,)) if table is None else _added(table, entry)
    if table is None:
        raise ValueError("expected an entry to write, got none")
    return table


def _added(table: Table, entry: Entry) -> Table:
    """`table` with the only row of `entry`, as far as what it holds of that shape allows."""
    pair = next(replaced_rows(table, entry), None)
    if pair is None:
        return merge_entry(table, entry)
    old, new = pair
    if not old.evidence.learned:
        return table
    if _measured_alike(old, new):
        return merge_entry(table, msgspec.structs.replace(entry, rows=(_combined(old, new),)))
    if reason := why_kept(old, new):
        logging.getLogger(LOGGER).warning("not saved: %s", reason)
        return table
    return merge_entry(table, entry)


def _measured_alike(old: Row, new: Row) -> bool:
    """Whether two complete rows tell of the same settings, software and device, be it of different days."""
    same = (old.software, old.device) == (new.software, new.device)
    return same and other_settings(old, new) is None


def _combined(old: Row, new: Row) -> Row:
    """What two processes learned of a shape; where both measured a token count the new row's say."""
    limit = new.oneshot_max_tokens
    known = _known(old) | _known(new)
    found = find_switch_points(_outside(Shape(*new.shape), limit, known) | known, limit)
    before, now = old.evidence, new.evidence
    evidence = msgspec.structs.replace(
        now,
        points=(before.points or 0) + (now.points or 0),
        noise=max(before.noise or 0.0, now.noise or 0.0),
        rule_loss=max(before.rule_loss or 1.0, now.rule_loss or 1.0),
        tokens=(min(known), max(known)),
        since=_since(old, new),
    )
    return msgspec.structs.replace(new, policy=tuple(found.policy), tie=tuple(found.tie), evidence=evidence)


def _since(old: Row, new: Row) -> datetime.date | None:
    """The day of the oldest token count, if not the new row's."""
    before = old.evidence.since or (old.sweep.date if old.sweep else None)
    return before if new.sweep and before != new.sweep.date else None


def _known(row: Row) -> dict[int, Verdict]:
    """The verdicts of a row at the ends of what was measured and on both sides of each change between them."""
    first, last = row.evidence.tokens or (1, row.oneshot_max_tokens)
    starts = [tokens for tokens, _ in row.policy]
    starts += [tokens for low, high in row.tie for tokens in (low, high + 1)]
    corners = {first, last, *starts, *(tokens - 1 for tokens in starts)}
    return {
        tokens: Verdict.TIE if row.in_tie(tokens) else Verdict(row.kernel_at(tokens))
        for tokens in corners
        if first <= tokens <= min(last, row.oneshot_max_tokens)
    }


def _entries(device: SortingDevice) -> list[Entry]:
    """An entry with one row for each shape that was learned, since each has settings of its own."""
    of_shapes: dict[Shape, dict[int, Learned]] = {}
    for key, learned in device.encounters.learned().items():
        if learned.samples_us:
            of_shapes.setdefault(Shape(key.num_experts, key.topk), {})[key.tokens] = learned
    facts = _facts(device)
    return [_entry(facts, shape, points) for shape, points in sorted(of_shapes.items())]


def _entry(facts: DeviceFacts, shape: Shape, points: Points) -> Entry:
    first = next(iter(points.values()))
    settings = Settings(
        unit_size=first.unit_size,
        model_dim=max(1, first.model_dim),  # a table has no sweep without a moe_buf; one column is as good as none
        dtype=first.dtype,
        routing=ROUTING,
    )
    conditions = Conditions(facts, settings, margin=0.0)
    return entry_of(conditions, datetime.date.today(), _row(facts, shape, points))


def _row(facts: DeviceFacts, shape: Shape, points: Points) -> Row:
    limit = oneshot_max_tokens(shape.num_experts, shape.topk, facts.lds_bytes)
    measured = {tokens: _point(learned) for tokens, learned in points.items()}
    row = row_of(shape, limit, measured)
    verdicts = {tokens: point.verdict for tokens, point in measured.items()}
    found = find_switch_points(_outside(shape, limit, points) | verdicts, limit)
    evidence = msgspec.structs.replace(row.evidence, learned=True)
    return msgspec.structs.replace(row, policy=tuple(found.policy), tie=tuple(found.tie), evidence=evidence)


def _outside(shape: Shape, limit: int, points: Mapping[int, object]) -> dict[int, Verdict]:
    """AITER's rule on both sides of what was measured: a few points say nothing about all the others."""
    first, last, rule_switch = min(points), max(points), aiter_oneshot_max_tokens(shape.num_experts)
    corners = (1, first - 1, last + 1, limit, rule_switch, rule_switch + 1)
    outside = (tokens for tokens in corners if 1 <= tokens <= limit and not first <= tokens <= last)
    return {tokens: Verdict(aiter_rule(shape, tokens)) for tokens in outside}


def _point(learned: Learned) -> MeasuredPoint:
    samples = learned.samples_us
    ratios = [oneshot / multiphase for oneshot, multiphase in zip(samples[ONESHOT], samples[MULTIPHASE], strict=True)]
    verdict = Verdict(learned.winner) if learned.winner else Verdict.TIE
    times = {kernel: median(of_kernel) for kernel, of_kernel in samples.items()}
    return MeasuredPoint(times, verdict, relative_noise(ratios), rounds=len(ratios))


def _facts(device: SortingDevice) -> DeviceFacts:
    return DeviceFacts.of(
        device.kernels.device.properties,
        compiler=f"hiprtc {hip.compiler_version()}",
        provider="builtin",
        revision=device.kernels.revision,
    )
