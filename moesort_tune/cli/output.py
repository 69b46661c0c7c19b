"""Printing that the commands share: results on stdout, everything else on stderr."""

import sys
from typing import Any

import click
import msgspec
from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 200
"""Columns of tables that go into a pipe or a file: wide enough that no row is broken."""


def results() -> Console:
    """Console for results. Colours on a terminal only, and none where NO_COLOR is set (rich sees to that)."""
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, markup=False, soft_wrap=False)


def remark(text: str) -> None:
    """A line for the person, on stderr."""
    click.echo(text, err=True)


def print_json(data: Any) -> None:
    """Data as JSON on stdout; msgspec's records and paths are data too."""
    click.echo(msgspec.json.format(msgspec.json.encode(data, enc_hook=_as_text), indent=2))


def _as_text(value: object) -> str:
    """A path may hold bytes that are no text, and JSON may not."""
    return str(value).encode(errors="backslashreplace").decode()
