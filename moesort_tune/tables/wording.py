"""Puts msgspec's refusals into the words of a table: what was expected at a place, and what is there."""

import re
from typing import Final

import msgspec
import msgspec.inspect as types

from moesort_tune.tables.errors import RefusedError, Step, key_text, place_of, shortened
from moesort_tune.tables.schema import Table

_PATH = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]")
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<field>.*)`$")


def refusal(error: msgspec.ValidationError, data: object) -> RefusedError:
    """`error`, which msgspec raised for `data`, as place, expectation and value."""
    match = _PATH.search(str(error))
    reason = str(error)[: match.start()] if match else str(error)
    steps = _steps(match["path"]) if match else []
    field = _FIELD.fullmatch(reason)
    if field is not None:
        fault = "missing" if field["fault"].startswith("missing") else "unknown key"
        return RefusedError(place_of([*steps, key_text(field["field"])]), fault)
    return RefusedError(place_of(steps), _expectation(steps, data))


def shown(value: object) -> str:
    """A value in an error message, shortened."""
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return "nothing" if value is None else shortened(repr(value))


def _steps(path: str) -> list[Step]:
    return [int(step["index"]) if step["index"] else step["key"] for step in _STEP.finditer(path)]


def _expectation(steps: list[Step], data: object) -> str:
    kind: types.Type = types.type_info(Table)
    value = data
    for step in steps:
        kind, value = _below(kind, step), _item(value, step)
    if isinstance(kind, types.DictType):  # msgspec does not say which of its values it was
        return f"expected {_words(kind)}"
    if isinstance(_without_none(kind), types.StrType) and isinstance(value, int | float):
        return f"expected text, got {value}; put it in quotes"
    return f"expected {_words(kind)}, got {shown(value)}"


def _item(value: object, step: Step) -> object:
    if isinstance(value, dict | list | tuple):
        return value[step]  # type: ignore[index]
    return None


def _below(kind: types.Type, step: Step) -> types.Type:
    kind = _without_none(kind)
    if isinstance(kind, types.StructType):
        return next(field.type for field in kind.fields if field.encode_name == step)
    if isinstance(kind, types.TupleType):
        return kind.item_types[int(step)]
    if isinstance(kind, types.VarTupleType):
        return kind.item_type
    raise TypeError(f"{kind} has no parts")


def _without_none(kind: types.Type) -> types.Type:
    if isinstance(kind, types.UnionType):
        return next(part for part in kind.types if not isinstance(part, types.NoneType))
    return kind


def _words(kind: types.Type) -> str:
    kind = _without_none(kind)
    if isinstance(kind, types.IntType | types.FloatType):
        name = "int" if isinstance(kind, types.IntType) else "number"
        return name if kind.ge is None else f"{name} >= {kind.ge}"
    if isinstance(kind, types.LiteralType):
        return " or ".join(str(value) for value in kind.values)
    if isinstance(kind, types.TupleType):
        return f"a list of {len(kind.item_types)}: [{', '.join(map(_words, kind.item_types))}]"
    if isinstance(kind, types.VarTupleType):
        return "a list" + (" with at least one item" if kind.min_length else "")
    if isinstance(kind, types.StrType):
        return "a word like gfx942" if kind.max_length is None else f"text of at most {kind.max_length} characters"
    return _OTHERS[type(kind)]


_OTHERS: Final[dict[type[types.Type], str]] = {
    types.StructType: "a mapping",
    types.DictType: "a mapping of text to text (numbers in quotes), of at most 64 and 400 characters",
    types.DateType: "a date like 2026-11-22",
    types.BoolType: "true or false",
}
