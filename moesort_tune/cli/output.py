"""Printing that the commands share: results on stdout, everything else on stderr."""

import json
import sys
from typing import Any

import msgspec
from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 200
"""Columns of tables that go into a pipe or a file: wide enough that no row is broken."""


def results() -> Console:
    """Console for results. Colours on a terminal only, and none where NO_COLOR is set (rich sees to that)."""
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, markup=False, soft_wrap=False)


def print_result(text: str, end: str = "\n") -> None:
    """Print a result on stdout now. click.echo would write UTF-8 where the encoding is ASCII."""
    print(text, end=end, flush=True)


def remark(text: str) -> None:
    """A line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    """Data as JSON in ASCII on stdout, so that any encoding has it; msgspec's records and paths are data too."""
    print_result(json.dumps(msgspec.to_builtins(data, enc_hook=_as_text, str_keys=True), indent=2))


def _as_text(value: object) -> str:
    """A path may hold bytes that are no text, and JSON may not."""
    return str(value).encode(errors="backslashreplace").decode()
