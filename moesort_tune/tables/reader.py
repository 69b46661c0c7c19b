"""Read a small, safe subset of YAML within fixed limits, from untrusted bytes.

Scalars follow YAML 1.2's core schema (`yes`, `1_000` and `2026-11-22` are text). Anchors, aliases, tags, repeated keys,
several documents, numbers that are not finite, text that cannot be printed and anything beyond the limits below are
refused while the text is still being parsed, so that time and memory do not depend on what a hostile file would expand
to, and whatever shows a table or quotes it in an error need not fear its text.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from moesort_tune.tables.errors import RefusedError, Step, format_place, shorten

MAX_BYTES: Final = 1 << 20
"""Size of a table; one of 100 rows has 20 kB."""

MAX_EVENTS: Final = 100_000
"""Parser events, of which a row makes about 35: the time that a file takes depends on these rather than on its size."""

MAX_DEPTH: Final = 10
"""Lists and mappings inside one another; a table has 7. libyaml's time grows with the square of the depth."""

MAX_DIGITS: Final = 18
"""Digits of an integer, so that it fits into 64 bits."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Scalar = str | int | float | bool | None


def parse(data: bytes) -> object:
    """Return the dicts, lists, strings, numbers, booleans and None of one YAML document.

    Raise RefusedError naming the place and what is not accepted there.
    """
    if len(data) > MAX_BYTES:
        raise RefusedError("", f"larger than the {MAX_BYTES} bytes that a table may have")
    text = _decode(data)
    if not text.strip():
        raise RefusedError("", "the file is empty")
    return _Builder(yaml.parse(text, Loader=_LOADER)).build_document()


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar. Raise ValueError for numbers that are not finite or too long."""
    if text in _WORDS:
        return _WORDS[text]  # type: ignore[return-value]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"expected a number of at most {MAX_DIGITS} digits, got {shorten(text)}")
        return int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"expected a finite number, got {text}")
    if _FLOAT.fullmatch(text):
        return _parse_finite(text)
    return text


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {shorten(text)}")
    return value


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError("", f"not a text file in UTF-8 (byte {error.start})") from error


def _format_error(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error) or "unreadable text"
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"not valid YAML{where}: {shorten(str(problem), 200)}"


class _Builder:
    """Build the data of one document from parser events, keeping the place for error messages."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._left = MAX_EVENTS
        self._steps: list[Step] = []

    def build_document(self) -> object:
        self._take_event(yaml.StreamStartEvent)
        self._take_event(yaml.DocumentStartEvent)
        data = self._build_node(self._take_event())
        self._take_event(yaml.DocumentEndEvent)
        if type(self._take_event()) is not yaml.StreamEndEvent:
            raise RefusedError("", "expected one YAML document, got several")
        return data

    def _take_event(self, kind: type[yaml.Event] | None = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._make_refusal(f"more than the {MAX_EVENTS} values and brackets that a table may have")
        event = self._parse_event()
        if kind is not None and type(event) is not kind:
            raise RefusedError("", "expected a YAML document with schema, arch and tables")
        return event

    def _parse_event(self) -> yaml.Event:
        """Return the parser's next event.

        PyYAML without libyaml raises more than YAMLError, always because of the text.
        """
        try:
            return next(self._events)
        except MemoryError:
            raise
        except yaml.YAMLError as error:
            raise RefusedError("", _format_error(error)) from error
        except Exception as error:
            raise self._make_refusal(_format_error(error)) from error

    def _build_node(self, event: Any) -> object:
        kind = type(event)
        if kind is yaml.AliasEvent or getattr(event, "anchor", None):
            raise self._make_refusal("anchors and aliases (& and *) are not accepted in a table")
        if getattr(event, "tag", None) is not None:
            raise self._make_refusal(f"tags are not accepted in a table, got {shorten(repr(event.tag))}")
        if kind is yaml.ScalarEvent:
            return self._build_scalar(event)
        if len(self._steps) >= MAX_DEPTH:
            raise self._make_refusal(f"more than {MAX_DEPTH} lists and mappings inside one another")
        return self._build_mapping() if kind is yaml.MappingStartEvent else self._build_list()

    def _build_scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text = str(event.value)
        if not text.isprintable():  # controls of terminals and of writing direction, invisible and unpaired characters
            raise self._make_refusal(f"expected text that can be printed, got {shorten(repr(text))}")
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        try:
            return resolve(text)
        except ValueError as error:
            raise self._make_refusal(str(error)) from error

    def _build_list(self) -> list[object]:
        items: list[object] = []
        while type(event := self._take_event()) is not yaml.SequenceEndEvent:
            self._steps.append(len(items))
            items.append(self._build_node(event))
            self._steps.pop()
        return items

    def _build_mapping(self) -> dict[str, object]:
        items: dict[str, object] = {}
        while type(event := self._take_event()) is not yaml.MappingEndEvent:
            key = self._build_key(event)
            if key in items:
                raise self._make_refusal(f"key {shorten(repr(key))} appears twice")
            self._steps.append(key)
            items[key] = self._build_node(self._take_event())
            self._steps.pop()
        return items

    def _build_key(self, event: yaml.Event) -> str:
        key = self._build_node(event) if type(event) is yaml.ScalarEvent else event
        if not isinstance(key, str):
            raise self._make_refusal("expected a plain word as key")
        return key

    def _make_refusal(self, reason: str) -> RefusedError:
        return RefusedError(format_place(self._steps), reason)
