"""Turns plain data into a Table, or refuses it with the place and the reason."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from moesort_tune import __version__
from moesort_tune.domain.vocabulary import ALIGN, ALIGN_CONDITION, MAX_EXPERTS, MAX_TOKENS, MAX_TOPK, KernelName
from moesort_tune.providers.facts.base import get_operation
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.tables.candidates import list_registered_names
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.schema import SCHEMA, Entry, Row, Sweep, Table

_MOST_OF_A_DEVICE: Final = 1 << 24
"""More compute units, or bytes of LDS, than any device has; the exported header counts in 32 bits."""


def to_table(data: object) -> Table:
    """Return the table that `data` (dicts, lists, scalars) describes, upgraded if need be. Raise RefusedError."""
    if _read_version(data) < SCHEMA:
        from moesort_tune.tables import schema_1  # few files are that old

        table = _convert(data, schema_1.Table).upgrade()
        check(table, limit_field=lambda _: schema_1.LIMIT_FIELD, of_entry=("timing",))
        table = schema_1.split_conditions(table)
        check_keys(table)
    else:
        table = _convert(data, Table)
        check(table)
    return table


def _format_limit_field(kernel: KernelName) -> str:
    return f"limits.{kernel}"


_OF_ENTRY: Final = ("timing", "moe_buf", "masked")
"""Settings of a sweep that identify an entry, so that a row's own sweep never has others."""


def check(
    table: Table,
    *,
    limit_field: Callable[[KernelName], str] = _format_limit_field,
    of_entry: Sequence[str] = _OF_ENTRY,
) -> None:
    """Check everything that types cannot say. Raise RefusedError for the first thing that does not hold.

    limit_field: where a row of the file holds a kernel's limit. of_entry: settings that all rows of an entry share.
    """
    for index, entry in enumerate(table.tables):
        terms = _Terms(list_registered_names(entry.kernels.provider), limit_field, of_entry)
        for place, reason in _find_entry_faults(entry, terms):
            raise RefusedError(f"tables[{index}]{place}", reason)
    check_keys(table)


def check_keys(table: Table) -> None:
    """Check that no two entries have the same key. Raise RefusedError."""
    for index, key in _find_repeats(entry.key for entry in table.tables):
        raise RefusedError(f"tables[{index}]", f"a second entry for {key}; keep one of them")


def _read_version(data: object) -> int:
    """Return the version of the format of `data`, which this package reads. Raise RefusedError."""
    if not isinstance(data, dict) or "schema" not in data:
        raise RefusedError("", "not a table: expected a mapping with schema, arch and tables")
    version = data["schema"]
    if type(version) is not int or version < 1:
        raise RefusedError("schema", f"expected int >= 1, got {version!r:.60}")
    if version > SCHEMA:
        raise RefusedError(
            "schema", f"{version} is newer than moesort-tune {__version__} reads ({SCHEMA}); upgrade moesort-tune"
        )
    return version


_Record = TypeVar("_Record", bound=msgspec.Struct)


def _convert(data: object, kind: type[_Record]) -> _Record:
    """Return `data` as a record of `kind`. Raise RefusedError."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        from moesort_tune.tables.wording import make_refusal  # only needed for a table that is refused

        raise make_refusal(error, data, kind) from error


Fault = tuple[str, str]
"""Place below the one at hand, and the reason."""


class _Terms(NamedTuple):
    """The constraints on the rows of an entry.

    candidates: names that they may use, None where any will do. limit_field: where a row of the file has a limit.
    of_entry: settings that they share with the entry.
    """

    candidates: tuple[KernelName, ...] | None
    limit_field: Callable[[KernelName], str]
    of_entry: Sequence[str]


def _find_entry_faults(entry: Entry, terms: _Terms) -> Iterator[Fault]:
    if entry.evidence == "published":
        yield from _find_published_faults(entry)
    else:
        yield from _find_measured_faults(entry, terms)
    yield from _find_sweep_faults(entry.sweep)
    yield from _find_operation_faults(entry)
    for name in ("compute_units", "lds_bytes"):
        value = getattr(entry.device, name)
        if value > _MOST_OF_A_DEVICE:
            yield f".device.{name}", f"expected at most {_MOST_OF_A_DEVICE}, got {value}"
    for index, row in enumerate(entry.rows):
        for place, reason in _find_row_faults(row, terms):
            yield f".rows[{index}]{place}", reason
    for index, (num_experts, topk) in _find_repeats(row.shape for row in entry.rows):
        yield f".rows[{index}]", f"a second row for {num_experts} experts, topk {topk}; keep one of them"


def _find_published_faults(entry: Entry) -> Iterator[Fault]:
    if entry.sweep is not None:
        yield ".sweep", "published figures have no sweep; leave out evidence: published for measured rows"
    if entry.kernels.revision is not None:
        yield ".kernels.revision", "published figures have no revision; leave it out"
    for index, row in enumerate(entry.rows):
        if entry.get_kind(row) != "published":
            yield f".rows[{index}].evidence.kind", f"expected published as in the entry, got {row.evidence.kind}"
        if not row.evidence.source:
            yield f".rows[{index}].evidence.source", "published figures must name their source"


def _find_measured_faults(entry: Entry, terms: _Terms) -> Iterator[Fault]:
    if entry.sweep is None:
        yield ".sweep", "missing; only an entry with evidence: published has none"
    if not entry.kernels.revision:
        yield ".kernels.revision", "missing; only an entry with evidence: published has none"
    for index, row in enumerate(entry.rows):
        if entry.get_kind(row) == "published":
            yield (
                f".rows[{index}].evidence.kind",
                f"published figures stand in an entry of their own, not in {entry.key}",
            )
        for name in terms.of_entry if row.sweep is not None and entry.sweep is not None else ():
            if getattr(row.sweep, name) != (expected := getattr(entry.sweep, name)):
                yield f".rows[{index}].sweep.{name}", f"expected {_format_setting(expected)} as in the entry"
        if row.device is not None and row.device.compute_units != entry.device.compute_units:
            yield f".rows[{index}].device.compute_units", f"expected {entry.device.compute_units} as in the entry"
        if row.device is not None and row.device.id != entry.device.id:
            yield f".rows[{index}].device.id", _describe_other_product(row.device.id, entry.device.id)


def _format_setting(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _describe_other_product(found: str | None, expected: str | None) -> str:
    rows = "rows of another product stand in an entry of their own"
    return f"expected {expected!r} as in the entry, got {found!r}; {rows}" if expected else f"expected none; {rows}"


def _find_sweep_faults(sweep: Sweep | None) -> Iterator[Fault]:
    if sweep is not None and sweep.ep > 1 and not sweep.masked:
        yield ".sweep.masked", f"expected true where ep is {sweep.ep}: each rank masks the experts of the others"


def _find_operation_faults(entry: Entry) -> Iterator[Fault]:
    facts = find_facts(entry.kernels.provider)
    if facts is not None and entry.operation != (own := get_operation(facts)):
        yield ".operation", f"expected {own}, which the kernels of {facts.name} compute, got {entry.operation}"
    if entry.operation == ALIGN:
        for name, expected in ALIGN_CONDITION._asdict().items():
            if getattr(entry.condition, name) != expected:
                yield f".sweep.{name}", f"expected {_format_setting(expected)}, the only condition of {ALIGN}"


def _find_row_faults(row: Row, terms: _Terms) -> Iterator[Fault]:
    if row.num_experts > MAX_EXPERTS:
        yield ".num_experts", f"expected at most {MAX_EXPERTS}, got {row.num_experts}"
    if row.topk > min(row.num_experts, MAX_TOPK):
        yield ".topk", f"expected at most {min(row.num_experts, MAX_TOPK)}, got {row.topk}"
    for kernel, limit in row.limits.items():
        if limit > MAX_TOKENS:
            yield f".{terms.limit_field(kernel)}", f"expected at most {MAX_TOKENS}, got {limit}"
    yield from _find_name_faults(row, terms)
    yield from _find_policy_faults(row, terms)
    yield from _find_tie_faults(row, terms)
    yield from _find_sweep_faults(row.sweep)
    if row.evidence.tokens and row.evidence.tokens[0] > row.evidence.tokens[1]:
        yield ".evidence.tokens", f"expected [first, last], got {list(row.evidence.tokens)}"


def _find_name_faults(row: Row, terms: _Terms) -> Iterator[Fault]:
    if terms.candidates is None:
        return
    for place, kernel in _list_named_kernels(row):
        if kernel not in terms.candidates:
            yield place, f"expected {' or '.join(terms.candidates)}, got {kernel!r}"


def _list_named_kernels(row: Row) -> Iterator[tuple[str, KernelName]]:
    """Yield every kernel that the row names, with its place."""
    for kernel in row.limits:
        yield f".limits.{kernel}", kernel
    for index, (_, kernel) in enumerate(row.policy):
        yield f".policy[{index}][1]", kernel
    for index, (_, _, tied) in enumerate(row.tie):
        yield from ((f".tie[{index}][2][{place}]", kernel) for place, kernel in enumerate(tied))


def _find_policy_faults(row: Row, terms: _Terms) -> Iterator[Fault]:
    if row.policy[0][0] != 1:
        yield ".policy[0]", f"expected the first token count to be 1, got {row.policy[0][0]}"
    if row.policy[-1][0] > MAX_TOKENS + 1:
        yield f".policy[{len(row.policy) - 1}]", f"expected at most {MAX_TOKENS + 1} tokens, got {row.policy[-1][0]}"
    for index in range(1, len(row.policy)):
        yield from _find_step_faults(row, index, terms)
    last, kernel = row.policy[-1]
    if last > row.get_limit(kernel):
        yield f".policy[{len(row.policy) - 1}]", _format_passed_limit(row, kernel, last, terms)


def _find_step_faults(row: Row, index: int, terms: _Terms) -> Iterator[Fault]:
    (before, kernel_before), (first, kernel) = row.policy[index - 1 : index + 1]
    if first <= before:
        yield f".policy[{index}]", f"expected ascending token counts, got {first} after {before}"
    elif kernel == kernel_before:
        yield f".policy[{index}]", f"expected another kernel than in the step before, got {kernel} again"
    elif first - 1 > row.get_limit(kernel_before):
        yield f".policy[{index - 1}]", _format_passed_limit(row, kernel_before, first - 1, terms)


def _format_passed_limit(row: Row, kernel: KernelName, tokens: int, terms: _Terms) -> str:
    return f"{kernel} is chosen for {tokens} tokens, past {terms.limit_field(kernel)} {row.get_limit(kernel)}"


def _find_tie_faults(row: Row, terms: _Terms) -> Iterator[Fault]:
    end = 0
    for index, (first, last, tied) in enumerate(row.tie):
        if last < first:
            yield f".tie[{index}]", f"expected [first, last], got [{first}, {last}]"
        if first <= end:
            yield f".tie[{index}]", f"expected ranges that ascend and do not overlap, got {first} after {end}"
        end = last
        for _, kernel in _find_repeats(tied):
            yield f".tie[{index}][2]", f"expected different kernels, got {kernel} twice"
        if terms.candidates is not None and list(tied) != sorted(tied, key=terms.candidates.index):
            yield f".tie[{index}][2]", f"expected the order {', '.join(terms.candidates)}, got {', '.join(tied)}"
    if end > MAX_TOKENS:
        yield f".tie[{len(row.tie) - 1}]", f"expected at most {MAX_TOKENS} tokens, got {end}"


_Key = TypeVar("_Key", bound=Hashable)


def _find_repeats(keys: Iterable[_Key]) -> Iterator[tuple[int, _Key]]:
    seen: set[_Key] = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield index, key
        seen.add(key)
