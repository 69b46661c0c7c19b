"""Reads a table that nobody vouches for. Apart from store.py, whose imports a serving process does not need."""

from pathlib import Path

from moesort_tune.regular_files import NotRegularError, open_regular
from moesort_tune.tables.errors import RefusedError, TableError, path_text
from moesort_tune.tables.reader import MAX_BYTES, parse
from moesort_tune.tables.schema import Table
from moesort_tune.tables.validation import to_table


def load(path: Path) -> Table:
    """The table in `path`. Raises TableError naming file, place and reason."""
    data = _read(path)
    try:
        return to_table(parse(data))
    except RefusedError as error:
        raise error.in_file(path) from error


def _read(path: Path) -> bytes:
    """At most one byte more than a table may have. Raises TableError."""
    name = path_text(path)
    try:
        with open_regular(path) as file:
            return file.read(MAX_BYTES + 1)
    except NotRegularError as error:
        raise TableError(f"{name} is not a file; name a table like tables/gfx942.yaml") from error
    except FileNotFoundError as error:
        raise TableError(f"{name} does not exist; `moesort-tune sweep --out {name}` makes it") from error
    except OSError as error:
        raise TableError(f"cannot read {name}: {error.strerror or error}") from error
