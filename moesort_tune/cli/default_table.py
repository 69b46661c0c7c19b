"""Find the table that a command uses when it is given none."""

from pathlib import Path

import click

from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import get_tables_folder
from moesort_tune.tables.errors import format_path

HERE = Path("tables")
"""Folder in which a sweep writes without --out."""


def find_default_table() -> Path:
    """Return the only table in ./tables, else the only one that ships with this package.

    Raise click.UsageError where there are several, MoesortTuneError where there is none.
    """
    for folder in (HERE, get_tables_folder()):
        found = sorted(folder.glob("*.yaml"))
        if len(found) == 1:
            return found[0]
        if found:
            raise click.UsageError(f"there are several tables, name one of them: {', '.join(map(format_path, found))}")
    raise MoesortTuneError(
        f"there is no table in ./{HERE} and none ships with this package; `moesort-tune sweep` makes one"
    )
