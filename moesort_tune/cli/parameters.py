"""Option types: texts that are parsed by pure functions, whose ValueError is bad usage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.numerals import parse_integer, parse_number
from moesort_tune.sweep.grid import parse_integers, parse_tokens, shape_of_model


class Parameter(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no generic one
    """A text option. name: what the help shows for its value."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; what is not text was parsed before."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class IntRange(click.IntRange):
    """An integer within bounds that help and errors tell. See numerals.parse_integer for what counts as one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integer, or fail as bad usage."""
        return super().convert(_parsed(self, value, parse_integer, param, ctx), param, ctx)


class FloatRange(click.FloatRange):
    """A finite number within bounds that help and errors tell. See numerals.parse_number for what counts as one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail as bad usage."""
        return super().convert(_parsed(self, value, parse_number, param, ctx), param, ctx)


def _parsed(
    kind: IntRange | FloatRange,
    value: Any,
    parse: Callable[[str], float],
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        kind.fail(f"{error} in the range {_bounds(kind)}", param, ctx)


def _bounds(kind: IntRange | FloatRange) -> str:
    """The bounds as click's own help and errors write them."""
    if kind.max is None:
        return f"x>{'' if kind.min_open else '='}{kind.min}"
    return f"{kind.min}<{'' if kind.min_open else '='}x<{'' if kind.max_open else '='}{kind.max}"


class FilePath(click.Path):
    """The name of a file or folder, as a pathlib.Path; an empty one names nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail as bad usage."""
        if value == "":
            self.fail("a path must not be empty", param, ctx)
        return super().convert(value, param, ctx)


def parse_words(text: str) -> str:
    """Any text that says something; raises ValueError for blanks alone."""
    if not text.strip():
        raise ValueError("expected a value, got an empty one")
    return text


def parse_arch(text: str) -> str:
    """'auto' or the name of an architecture that the kernels are built for; raises ValueError."""
    if text != "auto" and text not in ARCHITECTURES:
        raise ValueError(f"{text!r} is not known; expected auto or one of {', '.join(ARCHITECTURES)}")
    return text


def parse_routing(text: str) -> str:
    """'uniform' or 'zipf:EXPONENT'; raises ValueError."""
    from moesort_tune.sorting.inputs import Routing, RoutingError

    try:
        return str(Routing.parse(text))
    except RoutingError as error:
        raise ValueError(str(error)) from error


INTEGERS: Final = Parameter("N,N,...", parse_integers)
TOKENS: Final = Parameter("FIRST:LAST", parse_tokens)
ARCH: Final = Parameter("ARCH", parse_arch)
ROUTING: Final = Parameter("ROUTING", parse_routing)
MODEL: Final = Parameter("MODEL", shape_of_model)
DEVICE: Final = IntRange(0, 1023)
"""A host has fewer devices, partitions included."""
SEED: Final = IntRange(0, 2**31)
MARGIN: Final = FloatRange(0, 1)
SECONDS: Final = FloatRange(0, min_open=True)
POINT_LIMIT: Final = FloatRange(0, 1_000_000, min_open=True)
"""Seconds that can be waited for a worker: poll() counts milliseconds in 31 bits."""
COMPUTE_UNITS: Final = IntRange(1, 1 << 16)
