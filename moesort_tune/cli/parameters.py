"""Option types: texts that are parsed by pure functions, whose ValueError is bad usage."""

from collections.abc import Callable
from typing import Any

import click

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.tuning.grid import parse_integers, parse_tokens, shape_of_model


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


INTEGERS = Parameter("N,N,...", parse_integers)
TOKENS = Parameter("FIRST:LAST", parse_tokens)
ARCH = Parameter("ARCH", parse_arch)
ROUTING = Parameter("ROUTING", parse_routing)
MODEL = Parameter("MODEL", shape_of_model)
