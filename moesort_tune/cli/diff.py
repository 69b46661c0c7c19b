"""`moesort-tune diff`: compare two tables."""

from collections.abc import Iterator
from pathlib import Path

import click

from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import FilePath
from moesort_tune.cli.row_text import format_choice
from moesort_tune.device.products import format_product
from moesort_tune.tables.compare import Difference, EntryChange, RowChange, compare
from moesort_tune.tables.files import load
from moesort_tune.tables.schema import EntryKey, Range

EPILOG = """\b
Examples:
  moesort-tune diff tables/gfx950.yaml new/gfx950.yaml
  moesort-tune diff before.yaml after.yaml --exit-code
"""


@click.command(epilog=EPILOG)
@click.argument("before", type=FilePath())
@click.argument("after", type=FilePath())
@click.option("--exit-code", is_flag=True, help="Exit 1 if a choice outside of ties, or a row, has changed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(before: Path, after: Path, exit_code: bool, as_json: bool) -> int:
    """Print the shapes and token counts for which table AFTER chooses another kernel than table BEFORE.

    Only token counts that both tables have measured are compared; a row that was measured on others says so. A choice
    that changed only inside a tie of one of the tables is marked: any kernel of the tie will do there.

    With --exit-code the exit status is 1 where a choice has changed outside of ties, or only one of the tables has a
    row. Rows that agree where both were measured do not count, even if one goes further.
    """
    old, new = load(before), load(after)
    if old.arch != new.arch:
        print_remark(f"the tables are of different architectures: {old.arch} and {new.arch}")
    changes = compare(old, new)
    if as_json:
        print_json(changes)
    else:
        for change in changes:
            print_result("\n".join(_format_change(change)))
    return int(exit_code and any(row.matters for change in changes for row in change.rows))


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
    return f"{after} (was {' of '.join(_list_changed(before, after))}):"


def _list_changed(before: EntryKey, after: EntryKey) -> Iterator[str]:
    if before.revision != after.revision:
        yield f"revision {before.revision}"
    if before.product != after.product:
        yield format_product(before.product) if before.product else "an unknown product"


def _format_row(change: RowChange) -> Iterator[str]:
    shape = "{}/{}".format(*change.shape)
    if change.before is None and change.after is not None:
        yield f"{shape}: added, {format_choice(change.after)}"
    elif change.after is None and change.before is not None:
        yield f"{shape}: removed, was {format_choice(change.before)}"
    if change.swept_ranges is not None:
        yield f"{shape}: {_format_ranges(*change.swept_ranges)}"
    for difference in change.differences:
        yield f"{shape}: {_format_difference(difference)}"


def _format_ranges(before: Range, after: Range) -> str:
    if before[0] == after[0]:
        return f"measured to {after[1]} tokens instead of {before[1]}"
    if before[1] == after[1]:
        return f"measured from {after[0]} tokens on instead of {before[0]}"
    return f"measured on {after[0]}-{after[1]} tokens instead of {before[0]}-{before[1]}"


def _format_difference(difference: Difference) -> str:
    first, last = difference.first, difference.last
    tokens = f"{first}-{last} tokens" if last > first else f"{first} tokens"
    tie = " (a tie: either will do)" if difference.in_ties else ""
    return f"{tokens} {difference.after} instead of {difference.before}{tie}"
