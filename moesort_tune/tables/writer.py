"""Write a table as YAML that reads well: a line for each part of an entry and for each row."""

import datetime
import re
from collections.abc import Iterator

import msgspec

from moesort_tune.tables.reader import resolve
from moesort_tune.tables.schema import SCHEMA, Entry, Evidence, Row, Table

_PLAIN = re.compile(r"[A-Za-z0-9(][A-Za-z0-9_ .+/()=-]*(?<! )")
_YAML_1_1 = re.compile(
    r"y|n|yes|no|on|off|0b[01_]+|0o[0-7_]+|0x[0-9a-f_]+|[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?", re.IGNORECASE
)
_FIELDS_OF_ENTRY = ("operation", "device", "software", "launch_gap_us", "kernels", "sweep", "evidence")
_FIELDS_OF_ROW = (
    "num_experts",
    "topk",
    "limits",
    "policy",
    "tie",
    "evidence",
    "sweep",
    "software",
    "device",
)


def to_yaml(table: Table) -> str:
    """Return the text of the table's file; reading it gives the same table."""
    return "\n".join(_format_lines(table)) + "\n"


def _format_lines(table: Table) -> Iterator[str]:
    yield f"schema: {SCHEMA}"
    yield f"arch: {_format_flow(table.arch)}"
    yield "tables:"
    for entry in table.tables:
        yield from _format_entry(entry)


def _format_entry(entry: Entry) -> Iterator[str]:
    lead = "- "
    for name in _FIELDS_OF_ENTRY:
        value = getattr(entry, name)
        if value:
            yield f"{lead}{name}: {_format_flow(value)}"
            lead = "  "
    yield "  rows:"
    for row in entry.rows:
        yield f"  - {_format_row(row)}"


def _format_row(row: Row) -> str:
    values = ((name, getattr(row, name)) for name in _FIELDS_OF_ROW)
    said = [(name, value) for name, value in values if value is not None and value not in (Evidence(), {}, ())]
    return "{" + ", ".join(f"{name}: {_format_flow(value)}" for name, value in said) + "}"


def _format_flow(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return _format_flow(_select_fields(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_format_scalar(str(key))}: {_format_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_format_flow, value)) + "]"
    return _format_scalar(value)


def _select_fields(record: msgspec.Struct) -> dict[str, object]:
    """Return the fields of a record that have no default, and those that differ from it."""
    fields = msgspec.structs.fields(record)
    values = {field.name: getattr(record, field.name) for field in fields}
    return {f.name: values[f.name] for f in fields if f.default is msgspec.NODEFAULT or values[f.name] != f.default}


def _format_scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _format_number(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return _format_text(value) if isinstance(value, str) else str(value)


def _format_number(value: float) -> str:
    """Put a point before an exponent: YAML 1.1 readers take '1e-05' for text."""
    mantissa, exponent, power = repr(value).partition("e")
    point = "" if "." in mantissa or not exponent else ".0"
    return mantissa + point + exponent + power


def _format_text(value: str) -> str:
    """Leave text plain where every YAML reader takes it for text, else put it in double quotes."""
    if _PLAIN.fullmatch(value) and isinstance(_resolve(value), str) and not _YAML_1_1.fullmatch(value):
        return value
    return '"' + "".join(c if _is_plain_character(c) else f"\\U{ord(c):08X}" for c in value) + '"'


def _resolve(text: str) -> object:
    try:
        return resolve(text)
    except ValueError:
        return None


def _is_plain_character(character: str) -> bool:
    return character.isprintable() and character not in '"\\'
