"""`moesort-tune merge`: two tables of one architecture in one file."""

from pathlib import Path

import click
import msgspec

from moesort_tune.cli.output import print_json, print_result, remark
from moesort_tune.cli.parameters import FilePath
from moesort_tune.cli.table_text import choice_in_words, counted
from moesort_tune.tables import store
from moesort_tune.tables.merge import Conflict, merge_tables

EPILOG = """\b
Examples:
  moesort-tune merge mi300x.yaml mi308x.yaml -o tables/gfx942.yaml
"""


@click.command(epilog=EPILOG)
@click.argument("first", type=FilePath())
@click.argument("second", type=FilePath())
@click.option("-o", "--out", type=FilePath(dir_okay=False), required=True, help="Where it is written.")
@click.option("--json", "as_json", is_flag=True, help="Print what was kept as JSON.")
def merge(first: Path, second: Path, out: Path, as_json: bool) -> None:
    """Put FIRST and SECOND together. What --out held before is replaced.

    Where both have a row for the same device, kernels, timing and shape, the one that was measured later is kept, and
    of two measured on the same day that of SECOND. Each such row is told.
    """
    merged, conflicts = merge_tables(store.load(first), store.load(second))
    store.save(out, merged)
    for conflict in conflicts:
        remark(_told(conflict, first, second))
    rows = sum(len(entry.rows) for entry in merged.tables)
    if as_json:
        kept = [msgspec.to_builtins(conflict) for conflict in conflicts]
        print_json({"table": out, "entries": len(merged.tables), "rows": rows, "conflicts": kept})
    else:
        entries = counted(len(merged.tables), "entry", "entries")
        print_result(f"{out}: {entries}, {counted(rows, 'row', 'rows')}")


def _told(conflict: Conflict, first: Path, second: Path) -> str:
    kept, dropped = (second, first) if conflict.kept_from_second else (first, second)
    shape = "{}/{}".format(*conflict.kept.shape)
    return (
        f"{shape} of {conflict.key}: kept {choice_in_words(conflict.kept)}"
        f" ({kept}, {conflict.kept_date or 'published'}), not {choice_in_words(conflict.dropped)}"
        f" ({dropped}, {conflict.dropped_date or 'published'})"
    )
