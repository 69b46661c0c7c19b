"""What is wrong with a table, told by its file, the place in it and the reason."""

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
    """There is no file of this name."""


class RefusedError(TableError):
    """Data that is not a valid table; `in_file` adds which file it came from."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)

    def in_file(self, path: Path) -> TableError:
        """The same error, naming its file."""
        return TableError(f"{path_text(path)}: {self}")


def path_text(path: Path) -> str:
    """A file's name for a person: one printable line, not longer than one can read."""
    return shortened(escape_unprintable(str(path)), 1000)


def place_of(steps: Iterable[Step]) -> str:
    """Text of a place: `tables[0].rows[3].topk`; empty for the top."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{key_text(step)}" for step in steps)
    return text.removeprefix(".")


def key_text(key: str) -> str:
    """A key as it is if it is a short word, else quoted, escaped and shortened."""
    return key if _WORD.fullmatch(key) else shortened(repr(key))


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
