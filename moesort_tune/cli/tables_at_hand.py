"""Which table a command means when it is not told."""

from pathlib import Path

import click

from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import tables_folder
from moesort_tune.tables.errors import path_text

HERE = Path("tables")
"""Where a sweep writes when it is not told."""


def default_table() -> Path:
    """The only table in ./tables, else the only one that ships with this package.

    Raises click.UsageError where there are several, MoesortTuneError where there is none.
    """
    for folder in (HERE, tables_folder()):
        found = sorted(folder.glob("*.yaml"))
        if len(found) == 1:
            return found[0]
        if found:
            raise click.UsageError(f"there are several tables, name one of them: {', '.join(map(path_text, found))}")
    raise MoesortTuneError(
        f"there is no table in ./{HERE} and none ships with this package; `moesort-tune sweep` makes one"
    )
