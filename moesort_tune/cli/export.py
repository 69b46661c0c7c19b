"""`moesort-tune export`: write a table for programs that do not read YAML."""

from pathlib import Path

import click
import msgspec

from moesort_tune.cli.default_table import find_default_table
from moesort_tune.cli.output import print_json, print_result
from moesort_tune.cli.parameters import PROVIDER, FilePath, Parameter, parse_words
from moesort_tune.domain.vocabulary import DEFAULT_PROVIDER, DEFAULT_TIMING, TIMINGS, Timing
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.base import Facts
from moesort_tune.runtime.selection import Source, Wanted, find_usable, order_by_date, select_sources
from moesort_tune.tables.export.cpp import check_function_name, to_cpp
from moesort_tune.tables.files import load
from moesort_tune.tables.schema import Entry, Table

FUNCTION = Parameter("NAME", check_function_name)
FORMATS = ("cpp", "json")
REVISION = Parameter("TEXT", parse_words)

EPILOG = """\b
Examples:
  moesort-tune export tables/gfx950.yaml > moesort_policy.h
  moesort-tune export tables/gfx950.yaml --kernels aiter --name aiter_policy > aiter_policy.h
  moesort-tune export tables/gfx950.yaml --format json > gfx950.json
"""


@click.command(epilog=EPILOG)
@click.argument("table", type=FilePath(), required=False)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="cpp", show_default=True, help="C++17 header, or JSON."
)
@click.option(
    "--kernels", "facts", type=PROVIDER, default=DEFAULT_PROVIDER, show_default=True, help="builtin, aiter, ..."
)
@click.option("--timing", type=click.Choice(TIMINGS), default=DEFAULT_TIMING, show_default=True)
@click.option("--name", type=FUNCTION, default="moesort_policy", show_default=True, help="Of the C++ function.")
@click.option("--revision", type=REVISION, help="Of the kernels; by default that of the newest sweep.")
def export(*, table: Path | None, form: str, facts: Facts, timing: Timing, name: str, revision: str | None) -> None:
    """Write TABLE to stdout for other programs. Without TABLE the one that show takes is meant.

    cpp: one header without dependencies, `int moesort_policy(int tokens, int num_experts, int topk, int
    compute_units, bool moe_buf = true, bool masked = false)`, which decides as the Python runtime does, by all entries
    that were measured with these kernels and this timing. `moesort_policy_for` takes the PCI device id as well, before
    moe_buf, and prefers the entry of that product. A source file that includes headers of several tables needs a --name
    for each. json: the whole table, as docs/table.schema.json describes it.
    """
    path = table or find_default_table()
    loaded = load(path)
    if form == "json":
        print_json(msgspec.to_builtins(loaded))
        return
    entries = _select_entries(path, loaded, Wanted(loaded.arch, facts.name, timing, revision, named=True))
    if not entries:
        there = "; ".join(str(entry.key) for entry in loaded.tables)
        asked = ", ".join(filter(None, (facts.name, revision, timing)))
        raise MoesortTuneError(f"{path} has no entry for {asked}; it has entries for {there}")
    print_result(to_cpp(loaded.arch, entries, facts, name), end="")


def _select_entries(path: Path, table: Table, wanted: Wanted) -> list[Entry]:
    """Return for each number of compute units the entries that may serve a process on such a device."""
    usable, _ = find_usable(table, wanted)
    sources = [Source(path, "", entry) for entry in order_by_date(usable)]
    one_revision = wanted.revision is None
    selected: list[Entry] = []
    for units in sorted({entry.device.compute_units for entry in usable}):
        of_size = select_sources(table.arch, sources, units, one_revision=one_revision).sources
        selected += [source.entry for source in of_size if source.entry not in selected]
    return selected
