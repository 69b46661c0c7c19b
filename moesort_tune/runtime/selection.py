"""Select the entry of a table that serves a process, and say why the others do not."""

import datetime
from collections.abc import Iterable

import msgspec

from moesort_tune.runtime.lookup import nearest_by_ratio
from moesort_tune.tables.errors import format_key
from moesort_tune.tables.schema import Entry, Table


class Wanted(msgspec.Struct, frozen=True):
    """The kernels that will run and the device that they will run on; None where that is not known.

    named: the file was named by the user, which published figures need to be used.
    """

    arch: str | None
    compute_units: int | None
    provider: str
    timing: str
    revision: str | None
    named: bool


class Selection(msgspec.Struct, frozen=True):
    """The entry that serves, and a sentence for each that does not. doubt: a warning about it."""

    entry: Entry | None
    not_used: tuple[str, ...]
    doubt: str | None = None


def select(table: Table, wanted: Wanted) -> Selection:
    """Return the entry of the right kernels that is nearest in compute units; of several the measured, newest one."""
    faults = {index: _find_fault(table, entry, wanted) for index, entry in enumerate(table.tables)}
    usable = [table.tables[index] for index, fault in faults.items() if fault is None]
    not_used = [_format_fault(table.tables[index], fault) for index, fault in faults.items() if fault]
    if not usable:
        return Selection(None, tuple(not_used))
    usable = [entry for entry in usable if _is_measured(entry)] or usable
    used = _nearest_compute_units(usable, wanted.compute_units)
    best = max((entry for entry in usable if entry.device.compute_units == used), key=_date)
    others = (entry for index, entry in enumerate(table.tables) if faults[index] is None and entry is not best)
    not_used += [_format_fault(entry, _why_not_best(entry, best)) for entry in others]
    return Selection(best, tuple(not_used), _find_doubt(table.arch, usable, used, wanted.compute_units))


def _find_fault(table: Table, entry: Entry, wanted: Wanted) -> str | None:
    """Return why an entry may not be used at all."""
    key = entry.key
    if wanted.arch is not None and table.arch != wanted.arch:
        return f"it is of {table.arch}, not of {format_key(wanted.arch)}"
    if key.provider != wanted.provider:
        return f"it is of other kernels: {key.provider}, not {wanted.provider}"
    if not _is_measured(entry):
        return None if wanted.named else f"{entry.evidence} figures are used only where their file is named"
    if wanted.revision is not None and key.revision != wanted.revision:
        return f"its kernels have changed: revision {key.revision} was measured, {wanted.revision} runs; sweep again"
    if key.timing != wanted.timing:
        return f"it was timed {key.timing}, not {wanted.timing}"
    return None


def _nearest_compute_units(entries: Iterable[Entry], compute_units: int | None) -> int:
    known = sorted({entry.device.compute_units for entry in entries})
    return known[-1] if compute_units is None else nearest_by_ratio(known, compute_units)


def _is_measured(entry: Entry) -> bool:
    """Return whether the figures were measured with the kernels of their revision, by a sweep or in serving."""
    return entry.evidence in ("measured", "learned")


def _date(entry: Entry) -> datetime.date:
    return entry.sweep.date if entry.sweep else datetime.date.min


def _why_not_best(entry: Entry, best: Entry) -> str:
    if not _is_measured(entry):
        return f"a measured entry comes before {entry.evidence} figures"
    if entry.device.compute_units != best.device.compute_units:
        return f"the one with {best.device.compute_units} compute units is nearer to this device"
    return f"the sweep of revision {best.kernels.revision} is newer or comes first"


def _find_doubt(arch: str, entries: Iterable[Entry], used: int, compute_units: int | None) -> str | None:
    if compute_units is not None and compute_units != used:
        return (
            f"no entry for {arch} with {compute_units} compute units; the one with {used} is used,"
            f" and `moesort-tune sweep` on this device makes a better one"
        )
    known = sorted({entry.device.compute_units for entry in entries})
    if compute_units is None and len(known) > 1:
        counts = ", ".join(map(str, known))
        return (
            f"the compute units of this device are not known and the table of {arch} has entries for {counts};"
            f" the one with {used} is used, so pass compute_units="
        )
    return None


def _format_fault(entry: Entry, why: str) -> str:
    return f"entry of {entry.key} is not used: {why}"
