"""`moesort-tune merge`: combine two tables of one architecture in one file."""

from pathlib import Path

import click
import msgspec

from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import FilePath
from moesort_tune.cli.row_text import format_choice
from moesort_tune.cli.table_text import format_count
from moesort_tune.tables import store
from moesort_tune.tables.merge import Conflict, merge_tables

EPILOG = """\b
Examples:
  moesort-tune merge mi300x.yaml mi308x.yaml -o tables/gfx942.yaml
"""


@click.command(epilog=EPILOG)
@click.argument("first", type=FilePath())
@click.argument("second", type=FilePath())
@click.option("-o", "--out", type=FilePath(dir_okay=False), required=True, help="File to write.")
@click.option("--replace", is_flag=True, help="Keep the rows of SECOND, also of other settings or fewer tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print what was kept as JSON.")
def merge(first: Path, second: Path, out: Path, replace: bool, as_json: bool) -> None:
    """Combine FIRST and SECOND in one table, which replaces --out.

    Where both have a row for the same device, kernels, timing, condition and shape, keep a measured one before a
    published one, that before a learned one, and that before a modelled one; then the one that covers the token range
    of the other and more, then the later one, and of two of the same day that of SECOND. Report each such row. Refuse
    rows that were measured with different settings (unit_size, model_dim, dtype, routing, ep, cold) without --replace.
    """
    merged = merge_tables(store.load(first), store.load(second), replace=replace)
    store.save(out, merged.table)
    for difference in merged.differences:
        print_remark(
            f"warning: {difference.key}: rows of {first} were measured with {difference.what} {difference.first},"
            f" rows of {second} with {difference.second}; each keeps its own"
        )
    for conflict in merged.conflicts:
        print_remark(_format_conflict(conflict, first, second))
    rows = sum(len(entry.rows) for entry in merged.table.tables)
    if as_json:
        report = {"conflicts": merged.conflicts, "differences": merged.differences}
        print_json({"table": out, "entries": len(merged.table.tables), "rows": rows, **msgspec.to_builtins(report)})
    else:
        entries = format_count(len(merged.table.tables), "entry", "entries")
        print_result(f"{out}: {entries}, {format_count(rows, 'row', 'rows')}")


def _format_conflict(conflict: Conflict, first: Path, second: Path) -> str:
    row = "{}/{} of {}".format(*conflict.kept.shape, conflict.key)
    names = (second, first) if conflict.kept_from_second else (first, second)
    days = (day or "published" for day in (conflict.kept_date, conflict.dropped_date))
    kept, dropped = (f"({name}, {day})" for name, day in zip(names, days, strict=True))
    choice, other = format_choice(conflict.kept), format_choice(conflict.dropped)
    if choice == other:
        return f"{row}: both choose {choice}; kept the one of {kept}, not of {dropped}"
    return f"{row}: kept {choice} {kept}, not {other} {dropped}"
