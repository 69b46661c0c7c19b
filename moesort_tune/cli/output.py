"""Output shared by the commands: results on stdout, everything else on stderr."""

import json
import os
import sys
from typing import Any

import msgspec
from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 1000
"""Columns of tables in a pipe or a file, if COLUMNS is not set: wide enough that no row wraps, for grep."""


def create_console() -> Console:
    """Create a console for results. Colours on a terminal only, and none where NO_COLOR is set (rich handles that)."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, markup=False, soft_wrap=False)


def print_result(text: str, end: str = "\n") -> None:
    """Print a result on stdout and flush. click.echo would write UTF-8 where the encoding is ASCII."""
    print(text, end=end, flush=True)


def print_remark(text: str) -> None:
    """Print a line for the user on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    """Print data as ASCII JSON on stdout, valid in any encoding; msgspec's records and paths are accepted."""
    print_result(json.dumps(msgspec.to_builtins(data, enc_hook=_encode_text, str_keys=True), indent=2))


def _encode_text(value: object) -> str:
    """Return a path as JSON text; bytes that are not text are escaped."""
    return str(value).encode(errors="backslashreplace").decode()
