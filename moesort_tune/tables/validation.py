"""From plain data to a Table, or the place and the reason why it is none."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from moesort_tune import __version__
from moesort_tune.domain.vocabulary import MAX_EXPERTS, MAX_TOKENS, MAX_TOPK
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.schema import SCHEMA, Entry, Row, Table

_MOST_OF_A_DEVICE: Final = 1 << 24
"""More compute units, or bytes of LDS, than any device has; the exported header counts in 32 bits."""


def to_table(data: object) -> Table:
    """The table that `data` (dicts, lists, scalars) describes. Raises RefusedError."""
    _check_schema(data)
    try:
        table = msgspec.convert(data, Table)
    except msgspec.ValidationError as error:
        from moesort_tune.tables.wording import refusal  # only needed for a table that is refused

        raise refusal(error, data) from error
    check(table)
    return table


def check(table: Table) -> None:
    """Everything that types cannot say. Raises RefusedError for the first thing that does not hold."""
    for index, entry in enumerate(table.tables):
        for place, reason in _faults_of_entry(entry):
            raise RefusedError(f"tables[{index}]{place}", reason)
    for index, key in _repeated(entry.key for entry in table.tables):
        raise RefusedError(f"tables[{index}]", f"a second entry for {key}; keep one of them")


def _check_schema(data: object) -> None:
    if not isinstance(data, dict) or "schema" not in data:
        raise RefusedError("", "not a table: expected a mapping with schema, arch and tables")
    schema = data["schema"]
    if type(schema) is not int or schema < 1:
        raise RefusedError("schema", f"expected int >= 1, got {schema!r:.60}")
    if schema > SCHEMA:
        raise RefusedError(
            "schema", f"{schema} is newer than moesort-tune {__version__} reads ({SCHEMA}); upgrade moesort-tune"
        )


Fault = tuple[str, str]
"""Place below the one at hand, and the reason."""


def _faults_of_entry(entry: Entry) -> Iterator[Fault]:
    if entry.evidence == "published":
        yield from _faults_of_published(entry)
    else:
        yield from _faults_of_measured(entry)
    for name in ("compute_units", "lds_bytes"):
        value = getattr(entry.device, name)
        if value > _MOST_OF_A_DEVICE:
            yield f".device.{name}", f"expected at most {_MOST_OF_A_DEVICE}, got {value}"
    for index, row in enumerate(entry.rows):
        for place, reason in _faults_of_row(row):
            yield f".rows[{index}]{place}", reason
    for index, (num_experts, topk) in _repeated(row.shape for row in entry.rows):
        yield f".rows[{index}]", f"a second row for {num_experts} experts, topk {topk}; keep one of them"


def _faults_of_published(entry: Entry) -> Iterator[Fault]:
    if entry.sweep is not None:
        yield ".sweep", "published figures have no sweep; leave out evidence: published for measured rows"
    if entry.kernels.revision is not None:
        yield ".kernels.revision", "published figures have no revision; leave it out"
    for index, row in enumerate(entry.rows):
        if not row.evidence.source:
            yield f".rows[{index}].evidence.source", "published figures must name their source"


def _faults_of_measured(entry: Entry) -> Iterator[Fault]:
    if entry.sweep is None:
        yield ".sweep", "missing; only an entry with evidence: published has none"
    if not entry.kernels.revision:
        yield ".kernels.revision", "missing; only an entry with evidence: published has none"
    for index, row in enumerate(entry.rows):
        if row.sweep is not None and entry.sweep is not None and row.sweep.timing != entry.sweep.timing:
            yield f".rows[{index}].sweep.timing", f"expected {entry.sweep.timing!r} as in the entry"
        if row.device is not None and row.device.compute_units != entry.device.compute_units:
            yield f".rows[{index}].device.compute_units", f"expected {entry.device.compute_units} as in the entry"


def _faults_of_row(row: Row) -> Iterator[Fault]:
    if row.num_experts > MAX_EXPERTS:
        yield ".num_experts", f"expected at most {MAX_EXPERTS}, got {row.num_experts}"
    if row.topk > min(row.num_experts, MAX_TOPK):
        yield ".topk", f"expected at most {min(row.num_experts, MAX_TOPK)}, got {row.topk}"
    if row.oneshot_max_tokens > MAX_TOKENS:
        yield ".oneshot_max_tokens", f"expected at most {MAX_TOKENS}, got {row.oneshot_max_tokens}"
    yield from _faults_of_policy(row)
    yield from _faults_of_tie(row)
    if row.evidence.tokens and row.evidence.tokens[0] > row.evidence.tokens[1]:
        yield ".evidence.tokens", f"expected [first, last], got {list(row.evidence.tokens)}"


def _faults_of_policy(row: Row) -> Iterator[Fault]:
    if row.policy[0][0] != 1:
        yield ".policy[0]", f"expected the first token count to be 1, got {row.policy[0][0]}"
    if row.policy[-1][0] > MAX_TOKENS + 1:
        yield f".policy[{len(row.policy) - 1}]", f"expected at most {MAX_TOKENS + 1} tokens, got {row.policy[-1][0]}"
    for index in range(1, len(row.policy)):
        yield from _faults_of_step(row, index)
    last, kernel = row.policy[-1]
    if kernel == "oneshot" and last > row.oneshot_max_tokens:
        yield f".policy[{len(row.policy) - 1}]", _past_limit(row, last)


def _faults_of_step(row: Row, index: int) -> Iterator[Fault]:
    (before, kernel_before), (first, kernel) = row.policy[index - 1 : index + 1]
    if first <= before:
        yield f".policy[{index}]", f"expected ascending token counts, got {first} after {before}"
    elif kernel == kernel_before:
        yield f".policy[{index}]", f"expected another kernel than in the step before, got {kernel} again"
    elif kernel_before == "oneshot" and first - 1 > row.oneshot_max_tokens:
        yield f".policy[{index - 1}]", _past_limit(row, first - 1)


def _past_limit(row: Row, tokens: int) -> str:
    return f"oneshot is chosen for {tokens} tokens, past oneshot_max_tokens {row.oneshot_max_tokens}"


def _faults_of_tie(row: Row) -> Iterator[Fault]:
    end = 0
    for index, (first, last) in enumerate(row.tie):
        if last < first:
            yield f".tie[{index}]", f"expected [first, last], got [{first}, {last}]"
        if first <= end:
            yield f".tie[{index}]", f"expected ranges that ascend and do not overlap, got {first} after {end}"
        end = last
    if end > MAX_TOKENS:
        yield f".tie[{len(row.tie) - 1}]", f"expected at most {MAX_TOKENS} tokens, got {end}"


_Key = TypeVar("_Key", bound=Hashable)


def _repeated(keys: Iterable[_Key]) -> Iterator[tuple[int, _Key]]:
    seen: set[_Key] = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield index, key
        seen.add(key)
