"""`moesort-tune diff`: compare two tables."""

from collections.abc import Iterator
from pathlib import Path

import click

from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import FilePath
from moesort_tune.cli.table_text import format_choice
from moesort_tune.tables.compare import Difference, EntryChange, RowChange, compare
from moesort_tune.tables.files import load
from moesort_tune.tables.schema import EntryKey

EPILOG = """\b
Examples:
  moesort-tune diff tables/gfx950.yaml new/gfx950.yaml
  moesort-tune diff before.yaml after.yaml --json
"""


@click.command(epilog=EPILOG)
@click.argument("before", type=FilePath())
@click.argument("after", type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Print the shapes and token counts for which table AFTER chooses another kernel than table BEFORE.

    A choice that changed only inside a tie of one of the tables is marked: either kernel will do there.
    """
    old, new = load(before), load(after)
    if old.arch != new.arch:
        print_remark(f"the tables are of different architectures: {old.arch} and {new.arch}")
    changes = compare(old, new)
    if as_json:
        print_json(changes)
        return
    for change in changes:
        print_result("\n".join(_format_change(change)))


def _format_change(change: EntryChange) -> Iterator[str]:
    yield _format_heading(change.before, change.after)
    for row in change.rows:
        yield from (f"  {line}" for line in _format_row(row))
    if change.unchanged:
        yield f"  {change.unchanged} {'row chooses' if change.unchanged == 1 else 'rows choose'} as before"


def _format_heading(before: EntryKey | None, after: EntryKey | None) -> str:
    if before is None or after is None:
        return f"{before or after}: {'removed' if after is None else 'added'}"
    if before == after:
        return f"{after}:"
    return f"{after} (was revision {before.revision}):"


def _format_row(change: RowChange) -> Iterator[str]:
    shape = "{}/{}".format(*change.shape)
    if change.before is None and change.after is not None:
        yield f"{shape}: added, {format_choice(change.after)}"
    elif change.after is None and change.before is not None:
        yield f"{shape}: removed, was {format_choice(change.before)}"
    for difference in change.differences:
        yield f"{shape}: {_format_difference(difference)}"


def _format_difference(difference: Difference) -> str:
    first, last = difference.first, difference.last
    tokens = f"from {first} tokens" if last is None else f"{first}-{last} tokens" if last > first else f"{first} tokens"
    tie = " (a tie: either will do)" if difference.in_ties else ""
    return f"{tokens} {difference.after} instead of {difference.before}{tie}"
