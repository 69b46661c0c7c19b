"""Parse the shapes and token counts of a sweep. Bad values are ValueErrors."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from moesort_tune.domain.presets import CONDITIONS, MODELS, list_model_shapes
from moesort_tune.domain.shape import Shape, make_shape
from moesort_tune.domain.suggestions import suggest
from moesort_tune.domain.vocabulary import MAX_TOKENS, Condition, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.numerals import parse_integer, quote
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.regular_files import open_regular
from moesort_tune.sorting.problem import Problem, ProblemError
from moesort_tune.sweep.search import TokenRange


def parse_integers(text: str) -> list[int]:
    """Return [8, 64] for '8,64'; raise ValueError for anything else."""
    try:
        return [parse_integer(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"expected integers with commas between them, got {quote(text)}") from None


def parse_tokens(text: str) -> TokenRange:
    """Return the range of 'FIRST:LAST' or one 'COUNT'; raise ValueError for an empty range."""
    first_text, colon, last_text = text.partition(":")
    try:
        first = parse_integer(first_text)
        last = parse_integer(last_text) if colon else first
    except ValueError:
        raise ValueError(f"expected FIRST:LAST, like 1:16384, got {quote(text)}") from None
    if not 1 <= first <= last <= MAX_TOKENS:
        raise ValueError(f"expected 1 <= FIRST <= LAST <= {MAX_TOKENS}, got {quote(text)}")
    return TokenRange(first, last)


def pair_shapes(experts: Sequence[int], topk: Sequence[int]) -> list[Shape]:
    """Return the shapes of two lists of equal length, or of a list and a single value.

    Raise ValueError for other lengths and for shapes that the kernels do not take.
    """
    if len(experts) != len(topk) and 1 not in (len(experts), len(topk)):
        raise ValueError(
            f"--experts and --topk pair up, so they need equal lengths or a single value on one side, "
            f"got {len(experts)} and {len(topk)} values"
        )
    length = max(len(experts), len(topk))
    pairs = zip(_repeat(experts, length), _repeat(topk, length), strict=True)
    return [make_shape(*pair) for pair in pairs]


def _repeat(values: Sequence[int], length: int) -> list[int]:
    return list(values) if len(values) == length else list(values) * length


def get_model_shape(name: str) -> Shape:
    """Return the shape of a preset; raise a ValueError that names the closest presets, or all."""
    try:
        return MODELS[name.lower()]
    except KeyError:
        raise ValueError(f"no preset is called {quote(name)}; {suggest(name.lower(), MODELS)}") from None


def get_model_shapes(name: str) -> list[Shape]:
    """Return the shapes that serving a preset asks for; raise a ValueError that names the closest presets, or all."""
    get_model_shape(name)
    return list_model_shapes(name.lower())


def parse_conditions(text: str) -> list[Condition]:
    """Return the conditions of 'with-moe-buf,masked'; raise ValueError for another name."""
    try:
        return [CONDITIONS[name] for name in text.split(",")]
    except KeyError as error:
        raise ValueError(f"no condition is called {error}; there are {', '.join(CONDITIONS)}") from None


def drop_repeats(shapes: Iterable[Shape]) -> list[Shape]:
    """Return each shape once, in the order of its first mention."""
    return list(dict.fromkeys(shapes))


class Miss(NamedTuple):
    """A shape that was missed. operation: what the kernels compute that missed it, None where the file does not say."""

    shape: Shape
    operation: Operation | None


def read_misses(path: Path) -> list[Shape]:
    """Return the shapes of list_misses, each once."""
    return drop_repeats(miss.shape for miss in list_misses(path))


def list_misses(path: Path) -> list[Miss]:
    """Return what a dispatcher was asked for and did not find, from the file of MOESORT_TUNE_MISSES.

    The file is CSV with at least the columns num_experts and topk. Raise a MoesortTuneError that names file and line.
    """
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            found = [Miss(_parse_miss(path, reader.line_num, row), _find_operation(row)) for row in reader]
    except OSError as error:
        raise MoesortTuneError(f"cannot read misses from {path}: {error.strerror}; name a file of misses") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise MoesortTuneError(f"cannot read misses from {path}: {error}") from error
    if not found:
        raise MoesortTuneError(f"{path} holds no misses, so there is nothing to sweep")
    return found


def _find_operation(row: dict[str, str]) -> Operation | None:
    """Return what the kernels of a miss compute, None where the file does not say."""
    kernels = row.get("kernels")
    return find_operation(kernels) if kernels else None


def _parse_miss(path: Path, line: int, row: dict[str, str]) -> Shape:
    try:
        return make_shape(parse_integer(row["num_experts"]), parse_integer(row["topk"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else f"{error!s:.200}"
        raise MoesortTuneError(f"{path}, line {line}, is not a miss: {reason}") from error


def check_size(shape: Shape, tokens: TokenRange, unit_size: int) -> None:
    """Raise ValueError where the largest problem of the grid is beyond what the kernels take."""
    try:
        Problem(rows=tokens.last, topk=shape.topk, num_experts=shape.num_experts, unit_size=unit_size)
    except ProblemError as error:
        raise ValueError(str(error)) from error
