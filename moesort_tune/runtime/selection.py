"""Select the entry of a table that decides, and say why the others do not.

Precedence, from the strongest: architecture, provider, kernels' revision, timing and operation must match; then the
nearest compute units, an exact row for the shape, the condition of the call (moe_buf before mask), the product, the
earlier place, the later date. Figures that nobody measured here serve only where no entry was measured, and modelled
ones only where there are no published ones.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from moesort_tune.device.products import rate_likeness
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.runtime.lookup import nearest_by_ratio
from moesort_tune.tables.errors import format_key, format_path
from moesort_tune.tables.schema import Entry, Table


class Source(msgspec.Struct, frozen=True):
    """An entry that may serve, and the table that it is from. digest: SHA-256 of the file, '' where nobody asked."""

    table: Path
    digest: str
    entry: Entry


class Wanted(msgspec.Struct, frozen=True):
    """The kernels that will run and the device that they will run on; None where that is not known.

    named: the file was named by the user, without which figures that nobody measured are not used.
    """

    arch: str | None
    provider: str
    timing: str
    revision: str | None
    named: bool


class Selected(msgspec.Struct, frozen=True):
    """The sources with the compute units that serve, a sentence for each other one, and a warning about them."""

    sources: list[Source]
    not_used: list[str]
    doubt: str | None = None


def find_usable(table: Table, wanted: Wanted) -> tuple[list[Entry], list[str]]:
    """Return the entries of the right kernels, and a sentence for each other one."""
    faults = {index: _find_fault(table, entry, wanted) for index, entry in enumerate(table.tables)}
    usable = [table.tables[index] for index, fault in faults.items() if fault is None]
    return usable, [_format_fault(table.tables[index], fault) for index, fault in faults.items() if fault]


def _find_fault(table: Table, entry: Entry, wanted: Wanted) -> str | None:
    """Return why an entry may not be used at all."""
    key = entry.key
    if wanted.arch is not None and table.arch != wanted.arch:
        return f"it is of {table.arch}, not of {format_key(wanted.arch)}"
    if key.provider != wanted.provider:
        return f"it is of other kernels: {key.provider}, not {wanted.provider}"
    if not is_measured(entry):
        if not wanted.named:
            return f"{entry.evidence} figures are used only where their file is named"
    elif wanted.revision is not None and key.revision != wanted.revision:
        return f"its kernels have changed: revision {key.revision} was measured, {wanted.revision} runs; sweep again"
    if key.timing not in (None, wanted.timing):
        return f"it was timed {key.timing}, not {wanted.timing}"
    return None


def select_sources(arch: str, sources: Sequence[Source], compute_units: int | None, *, one_revision: bool) -> Selected:
    """Return the sources whose compute units are nearest to the device's, the most where those are not known.

    one_revision: nobody said which kernels run, so only those of the first source of the best evidence count.
    """
    strongest = max((_rate_evidence(source.entry) for source in sources), default=0)
    best = [source for source in sources if _rate_evidence(source.entry) == strongest]
    known = sorted({source.entry.device.compute_units for source in best})
    if not known:
        return Selected([], [])
    used = known[-1] if compute_units is None else nearest_by_ratio(known, compute_units)
    selected = Selected([], [], _find_doubt(arch, known, used, compute_units))
    revision = next(s.entry.kernels.revision for s in best if s.entry.device.compute_units == used)
    for source in sources:
        entry = source.entry
        if source not in best:
            why = _explain_weaker(entry, best[0].entry)
        elif entry.device.compute_units != used:
            why = f"the one with {used} compute units is nearer to this device"
        elif one_revision and entry.kernels.revision != revision:
            figures = "sweep" if is_measured(entry) else f"{entry.evidence} entry"
            why = f"the {figures} of revision {revision} is newer or comes first"
        else:
            selected.sources.append(source)
            continue
        selected.not_used.append(f"{format_path(source.table)}: {_format_fault(entry, why)}")
    return selected


def choose_source(
    sources: Iterable[Source], *, exact: Iterable[bool], condition: Condition, device_id: str | None
) -> int:
    """Return the index of the source that decides a shape. exact: whether each of them has a row for it."""

    def rank(item: tuple[int, tuple[Source, bool]]) -> tuple[object, ...]:
        index, (source, has_row) = item
        entry = source.entry
        own = entry.condition
        return (
            has_row,
            own.moe_buf == condition.moe_buf,
            own.masked == condition.masked,
            rate_likeness(device_id, entry.device.id),
            -index,
        )

    return max(enumerate(zip(sources, exact, strict=True)), key=rank)[0]


def order_by_date(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of one table, the newest first; those of one day keep their order."""
    return sorted(entries, key=lambda entry: entry.date, reverse=True)


def is_measured(entry: Entry) -> bool:
    """Return whether the figures were measured with the kernels of their revision, by a sweep or in serving."""
    return entry.evidence in ("measured", "learned")


def _rate_evidence(entry: Entry) -> int:
    """Return what the figures weigh beside those of other entries: published times say more than a model."""
    return 2 if is_measured(entry) else int(entry.evidence == "published")


def _explain_weaker(entry: Entry, stronger: Entry) -> str:
    if is_measured(stronger):
        return f"a measured entry comes before {entry.evidence} figures"
    return f"{stronger.evidence} figures come before {entry.evidence} ones"


def _find_doubt(arch: str, known: Sequence[int], used: int, compute_units: int | None) -> str | None:
    if compute_units is not None and compute_units != used:
        return (
            f"no entry for {arch} with {compute_units} compute units; the one with {used} is used,"
            f" and `moesort-tune sweep` on this device makes a better one"
        )
    if compute_units is None and len(known) > 1:
        counts = ", ".join(map(str, known))
        return (
            f"the compute units of this device are not known and the table of {arch} has entries for {counts};"
            f" the one with {used} is used, so pass compute_units="
        )
    return None


def _format_fault(entry: Entry, why: str) -> str:
    return f"entry of {entry.key} is not used: {why}"
