"""Read a table from an untrusted file. Separate from store.py, whose imports a serving process does not need."""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from moesort_tune.regular_files import NotRegularError, open_regular
from moesort_tune.tables.errors import MissingTableError, RefusedError, TableError, format_path
from moesort_tune.tables.reader import MAX_BYTES, parse
from moesort_tune.tables.schema import Table
from moesort_tune.tables.validation import to_table


def load(path: Path) -> Table:
    """Return the table in `path`. Raise TableError naming file, place and reason."""
    return load_bytes(path, read(path))


def load_bytes(path: Path, data: bytes) -> Table:
    """Return the table that the bytes of `path` hold. Raise TableError naming file, place and reason."""
    try:
        return to_table(parse(data))
    except RefusedError as error:
        raise error.name_file(path) from error


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of this name. Raise TableError where the file system does not say."""
    with _convert_errors(path):
        try:
            return stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError:
            return False


def read(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than a table may have. Raise TableError."""
    with _convert_errors(path), open_regular(path) as file:
        return file.read(MAX_BYTES + 1)


@contextlib.contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system about `path` into a TableError."""
    name = format_path(path)
    try:
        yield
    except NotRegularError as error:
        raise TableError(f"{name} is not a file; name a table like tables/gfx942.yaml") from error
    except FileNotFoundError as error:
        raise MissingTableError(f"{name} does not exist; `moesort-tune sweep --out {name}` makes it") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"cannot read {name}: {reason}; name a table that this user can read") from error
