"""Errors of tables, each with the file, the place in it and the reason."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from moesort_tune.errors import MoesortTuneError, escape_unprintable

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_LONGEST: Final = 60

Step = str | int
"""One step from the top of a table to a place in it: a key or an index."""


class TableError(MoesortTuneError):
    """A table that cannot be read, or that is not a valid table."""


class MissingTableError(TableError):
    """No file of this name exists."""


class RefusedError(TableError):
    """Data that is not a valid table; `name_file` adds the file that it came from."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)

    def name_file(self, path: Path) -> TableError:
        """Return the same error, naming its file."""
        return TableError(f"{format_path(path)}: {self}")


def format_path(path: Path) -> str:
    """Return a file's name for a person: one printable line of bounded length."""
    return shorten(escape_unprintable(str(path)), 1000)


def format_place(steps: Iterable[Step]) -> str:
    """Return the text of a place: `tables[0].rows[3].topk`; empty for the top."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{format_key(step)}" for step in steps)
    return text.removeprefix(".")


def format_key(key: str) -> str:
    """Return a key as it is if it is a short word, else quoted, escaped and shortened."""
    return key if _WORD.fullmatch(key) else shorten(repr(key))


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Return a text, or the beginning of a long one and its length."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
