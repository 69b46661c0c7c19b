"""What is wrong with a table, told by its file, the place in it and the reason."""

from collections.abc import Iterable
from pathlib import Path

from moesort_tune.errors import MoesortTuneError

Step = str | int
"""One step from the top of a table to a place in it: a key or an index."""


class TableError(MoesortTuneError):
    """A table that cannot be read, or that is not a valid table."""


class RefusedError(TableError):
    """Data that is not a valid table; `in_file` adds which file it came from."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)

    def in_file(self, path: Path) -> TableError:
        """The same error, naming its file."""
        return TableError(f"{path}: {self}")


def place_of(steps: Iterable[Step]) -> str:
    """Text of a place: `tables[0].rows[3].topk`; empty for the top."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")
