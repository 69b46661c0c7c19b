"""Parsing of numbers: ASCII digits and finite values only, fewer forms than Python accepts."""

import math
import re
from typing import Final

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_MOST_CHARACTERS: Final = 60
"""Length above which a text is not accepted as a number, and is truncated in an error."""


def parse_integer(text: str) -> int:
    """Return the decimal integer in `text`, which may be surrounded by blanks. Raise ValueError for anything else."""
    bare = text.strip()
    if len(bare) > _MOST_CHARACTERS or not _INTEGER.fullmatch(bare):
        raise ValueError(f"{quote(text)} is not an integer")
    return int(bare)


def parse_number(text: str) -> float:
    """Return the finite decimal number in `text`, which may be surrounded by blanks; -0.0 is 0.0.

    Raise ValueError for anything else: 'nan', 'inf', '1e309', '1_000', digits of other scripts.
    """
    bare = text.strip()
    if len(bare) > _MOST_CHARACTERS or not _NUMBER.fullmatch(bare) or not math.isfinite(number := float(bare)):
        raise ValueError(f"{quote(text)} is not a finite number")
    return number + 0.0


def check_within(name: str, value: float, low: float, high: float = math.inf, *, low_open: bool = False) -> None:
    """Raise ValueError naming the argument unless `value` is finite and low <= value <= high (low < value if open)."""
    inside = math.isfinite(value) and value <= high and (value > low if low_open else value >= low)
    if not inside:
        least = f"above {low:g}" if low_open else f"at least {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"{name} must be a finite number {least}{most}, got {value!r}")


def quote(text: str) -> str:
    """Return `text` for an error message: in quotes, control characters escaped, truncated if it is long."""
    return repr(text) if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]!r}..."
