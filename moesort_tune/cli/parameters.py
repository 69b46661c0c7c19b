"""Option types: texts parsed by pure functions, whose ValueError is bad usage."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.domain.presets import MODELS
from moesort_tune.domain.settings import NamedRouting
from moesort_tune.domain.suggestions import suggest
from moesort_tune.domain.vocabulary import DEFAULT_TIMING, TIMINGS
from moesort_tune.numerals import parse_integer, parse_number, quote
from moesort_tune.providers.facts import registry
from moesort_tune.sweep.fleet.options import ALL, AUTO_ADDRESS, ENGINES, Devices, EngineName, Fleet
from moesort_tune.sweep.grid import (
    get_model_shapes,
    parse_conditions,
    parse_integers,
    parse_tokens,
)

ARCHITECTURE_NAMES: Final = ("auto", *ARCHITECTURES)

Command = TypeVar("Command", bound=Callable[..., Any])


class Parameter(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """A text option. name: the placeholder of its value in the help; known: values that a shell offers to complete."""

    def __init__(self, name: str, parse: Callable[[str], Any], known: Iterable[str] = ()) -> None:
        self.name = name
        self._parse = parse
        self._known = tuple(known)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return the known values that begin with what was typed."""
        return [CompletionItem(name) for name in self._known if name.startswith(incomplete)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; a value that is not text is parsed already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class IntRange(click.IntRange):
    """An integer within bounds that help and errors show. See numerals.parse_integer for the accepted forms."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integer, or fail as bad usage."""
        return super().convert(_parse(self, value, parse_integer, param, ctx), param, ctx)


class FloatRange(click.FloatRange):
    """A finite number within bounds that help and errors show. See numerals.parse_number for the accepted forms."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail as bad usage."""
        return super().convert(_parse(self, value, parse_number, param, ctx), param, ctx)


def _parse(
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
        kind.fail(f"{error} in the range {_format_bounds(kind)}", param, ctx)


def _format_bounds(kind: IntRange | FloatRange) -> str:
    """Return the bounds as click's own help and errors write them."""
    if kind.max is None:
        return f"x>{'' if kind.min_open else '='}{kind.min}"
    return f"{kind.min}<{'' if kind.min_open else '='}x<{'' if kind.max_open else '='}{kind.max}"


class ProviderChoice(click.Choice):  # type: ignore[type-arg]  # click 8.1 has no generic one
    """The name of a registered provider, or one of `others`; looked up only once it is needed."""

    def __init__(self, *others: str) -> None:
        self.case_sensitive = True
        self._others = others

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]  # click sets it once, at import
        """Return the names of the registered providers and the others."""
        return (*registry.list_names(), *self._others)


class FilePath(click.Path):
    """The name of a file or folder, as a pathlib.Path; it must not be empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail as bad usage."""
        if value == "":
            self.fail("a path must not be empty", param, ctx)
        return super().convert(value, param, ctx)


def parse_words(text: str) -> str:
    """Return `text`, which may be anything but blank. Raise ValueError."""
    if not text.strip():
        raise ValueError("expected a value, got an empty one")
    return text


def parse_arch(text: str) -> str:
    """Return `text`, which must be 'auto' or an architecture that the kernels are built for. Raise ValueError."""
    if text in ARCHITECTURE_NAMES:
        return text
    of_part = {part.upper(): known.name for known in ARCHITECTURES.values() for part in known.parts}
    if text.upper() in of_part:
        raise ValueError(f"{text!r} is a product; its architecture is {of_part[text.upper()]}")
    raise ValueError(f"{quote(text)} is not known; {suggest(text.lower(), ARCHITECTURE_NAMES)}")


def parse_devices(text: str) -> Devices:
    """Return the numbers of '0,2', each once, or None for 'all'. Raise ValueError."""
    if text == ALL:
        return None
    numbers = parse_integers(text)
    if not all(0 <= number <= MAX_DEVICE for number in numbers):
        raise ValueError(f"expected {ALL} or numbers from 0 to {MAX_DEVICE}, got {text!r:.40}")
    return tuple(dict.fromkeys(numbers))


def add_engine_options(help_text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --engine and --address."""

    def add(command: Command) -> Command:
        address = click.option(
            "--address", type=ADDRESS, default=AUTO_ADDRESS, show_default=True, help="Address of the Ray cluster."
        )
        return click.option("--engine", type=ENGINE, default="local", show_default=True, help=help_text)(
            address(command)
        )

    return add


def add_fleet_options(*, device_help: str, engine_help: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --device, for several, --engine and --address."""

    def add(command: Command) -> Command:
        devices = click.option("--device", "devices", type=DEVICES, default="0", show_default=True, help=device_help)
        return devices(add_engine_options(engine_help)(command))

    return add


def build_fleet(engine: EngineName, devices: Devices, address: str, *, device_option: str = "devices") -> Fleet:
    """Return the cards that the options name. Raise click.UsageError for options of the other engine."""
    context = click.get_current_context()
    is_named = {name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params}
    if engine == "ray" and is_named[device_option]:
        raise click.UsageError("--device numbers this machine's devices; with --engine ray, Ray places the workers")
    if engine == "local" and is_named["address"]:
        raise click.UsageError("--address names a Ray cluster; use it with --engine ray")
    return Fleet(engine, devices, address)


def parse_routing(text: str) -> NamedRouting:
    """Return the routing that a text names, of 'trace:FILE' only the file, which is not read. Raise ValueError."""
    from moesort_tune.sorting.inputs import Routing, RoutingError

    name, _, file = text.partition(":")
    if name == "trace":
        if not file:
            raise ValueError("expected trace:FILE, got no name of a file")
        return NamedRouting(name, Path(file))
    try:
        return NamedRouting(str(Routing.parse(text)))
    except RoutingError as error:
        raise ValueError(str(error)) from error


def identify_trace(named: NamedRouting) -> NamedRouting:
    """Return a routing with digest and shape of its trace, if it is one. Raise TraceError for a file that is none."""
    if named.trace is None:
        return named
    from moesort_tune.sorting.inputs import Routing
    from moesort_tune.sorting.traces import read_trace

    trace = read_trace(named.trace)
    return NamedRouting(str(Routing("trace", digest=trace.digest)), named.trace.absolute(), trace.shape)


INTEGERS: Final = Parameter("N,N,...", parse_integers)
TOKENS: Final = Parameter("FIRST:LAST", parse_tokens)
ARCH: Final = Parameter("ARCH", parse_arch, ARCHITECTURE_NAMES)
ROUTING: Final = Parameter("ROUTING", parse_routing)
MODEL_SHAPES: Final = Parameter("MODEL", get_model_shapes, MODELS)
"""The shapes that serving a model asks for: its own, and that with its shared expert fused."""
CONDITIONS: Final = Parameter("NAME,NAME,...", parse_conditions)
PROVIDER: Final = Parameter("PROVIDER", registry.get_facts)
"""The facts of a registered provider."""
MAX_DEVICE: Final = 1023
"""Upper bound on a host's devices, partitions included."""
DEVICE: Final = IntRange(0, MAX_DEVICE)
DEVICES: Final = Parameter("N,N,...|all", parse_devices)
ENGINE: Final = click.Choice(ENGINES)
ADDRESS: Final = Parameter("ADDRESS", parse_words)
SEED: Final = IntRange(0, 2**31)
MARGIN: Final = FloatRange(0, 1)
SECONDS: Final = FloatRange(0, min_open=True)
POINT_LIMIT: Final = FloatRange(0, 1_000_000, min_open=True)
"""Seconds to wait for a worker, limited because poll() counts milliseconds in 31 bits."""
COMPUTE_UNITS: Final = IntRange(1, 1 << 16)

add_timing_option: Final = click.option(
    "--timing",
    type=click.Choice(TIMINGS),
    default=DEFAULT_TIMING,
    show_default=True,
    help="Replay graphs, or launch one by one.",
)
"""Decorator that adds --timing."""

add_margin_option: Final = click.option(
    "--margin",
    type=MARGIN,
    default=0.02,
    show_default=True,
    help="A kernel wins only by more than this share; less is a tie.",
)
"""Decorator that adds --margin."""
