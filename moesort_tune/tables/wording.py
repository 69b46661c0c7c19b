"""Rewrite msgspec's refusals in the words of a table: the place, the expectation and the value."""

import re
from typing import Final

import msgspec
import msgspec.inspect as types

from moesort_tune.tables.errors import RefusedError, Step, format_key, format_place, shorten

_PATH = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]")
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<field>.*)`$")


def make_refusal(error: msgspec.ValidationError, data: object, record: type[msgspec.Struct]) -> RefusedError:
    """Return `error`, which msgspec raised for `data` as a `record`, as place, expectation and value."""
    match = _PATH.search(str(error))
    reason = str(error)[: match.start()] if match else str(error)
    steps = _parse_path(match["path"]) if match else []
    field = _FIELD.fullmatch(reason)
    if field is not None:
        fault = "missing" if field["fault"].startswith("missing") else "unknown key"
        return RefusedError(format_place([*steps, format_key(field["field"])]), fault)
    return RefusedError(format_place(steps), _format_expectation(steps, data, record))


def format_value(value: object) -> str:
    """Return a value for an error message, shortened."""
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return "nothing" if value is None else shorten(repr(value))


def _parse_path(path: str) -> list[Step]:
    return [int(step["index"]) if step["index"] else step["key"] for step in _STEP.finditer(path)]


def _format_expectation(steps: list[Step], data: object, record: type[msgspec.Struct]) -> str:
    kind: types.Type = types.type_info(record)
    value = data
    for step in steps:
        kind, value = _get_part_type(kind, step), _get_item(value, step)
    if isinstance(kind, types.DictType):  # msgspec does not say which of its values it was
        return f"expected {_describe_type(kind)}"
    if isinstance(_strip_type(kind), types.StrType) and isinstance(value, int | float):
        return f"expected text, got {value}; put it in quotes"
    return f"expected {_describe_type(kind)}, got {format_value(value)}"


def _get_item(value: object, step: Step) -> object:
    if isinstance(value, dict | list | tuple):
        return value[step]  # type: ignore[index]
    return None


def _get_part_type(kind: types.Type, step: Step) -> types.Type:
    kind = _strip_type(kind)
    if isinstance(kind, types.StructType):
        return next(field.type for field in kind.fields if field.encode_name == step)
    if isinstance(kind, types.TupleType):
        return kind.item_types[int(step)]
    if isinstance(kind, types.VarTupleType):
        return kind.item_type
    raise TypeError(f"{kind} has no parts")


def _strip_type(kind: types.Type) -> types.Type:
    """Return a type without None and without what is added for the JSON Schema."""
    if isinstance(kind, types.UnionType):
        return _strip_type(next(part for part in kind.types if not isinstance(part, types.NoneType)))
    return kind.type if isinstance(kind, types.Metadata) else kind


def _describe_type(kind: types.Type) -> str:
    if isinstance(kind, types.Metadata):
        return f"a word like {(kind.extra_json_schema or {})['examples'][0]}"
    kind = _strip_type(kind)
    if isinstance(kind, types.IntType | types.FloatType):
        name = "int" if isinstance(kind, types.IntType) else "number"
        return name if kind.ge is None else f"{name} >= {kind.ge}"
    if isinstance(kind, types.LiteralType):
        return " or ".join(str(value) for value in kind.values)
    if isinstance(kind, types.StrType):
        return f"text of at most {kind.max_length} characters"
    return _describe_parts(kind)


def _describe_parts(kind: types.Type) -> str:
    if isinstance(kind, types.TupleType):
        return f"a list of {len(kind.item_types)}: [{', '.join(map(_describe_type, kind.item_types))}]"
    if isinstance(kind, types.VarTupleType):
        return "a list" + _LENGTHS[kind.min_length]
    if isinstance(kind, types.DictType) and isinstance(kind.value_type, types.IntType):
        return f"a mapping of {_describe_type(kind.key_type)} to {_describe_type(kind.value_type)}"
    return _OTHERS[type(kind)]


_LENGTHS: Final = {None: "", 1: " with at least one item", 2: " with at least two items"}


_OTHERS: Final[dict[type[types.Type], str]] = {
    types.StructType: "a mapping",
    types.DictType: "a mapping of text to text (numbers in quotes), of at most 64 and 400 characters",
    types.DateType: "a date like 2026-11-22",
    types.BoolType: "true or false",
}
