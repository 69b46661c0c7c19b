"""Print a table: lines on each entry, its rows in columns, and notes on them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from moesort_tune.cli.row_grid import NOISY, NOISY_MARK, is_noisy, print_rows
from moesort_tune.cli.row_text import format_launch_gaps
from moesort_tune.device.products import format_product
from moesort_tune.domain.vocabulary import SORTING, Operation
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.schema import Device, Entry, Kind, Row, Sweep, Table

_KINDS: Final[dict[Kind, str]] = {
    "learned": "learned by a serving process",
    "modelled": "computed by a model, not measured",
}
"""Notes on rows whose figures are no sweep's."""


def print_table(console: Console, path: Path, table: Table, digest: str) -> None:
    """Print every entry: where and how it was measured, then a line a row. digest: SHA-256 of the file."""
    entries = format_count(len(table.tables), "entry", "entries")
    _print_line(console, f"{format_path(path)}: {table.arch}, {entries}", style="bold")
    _print_line(console, f"sha256 {digest}")
    for entry in table.tables:
        console.print()
        for line in describe_entry(entry):
            _print_line(console, line)
        print_rows(console, table.arch, entry)
        for line in list_notes(entry):
            _print_line(console, line)


def _print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line, broken between words on a terminal and nowhere else."""
    console.print(line, style=style, soft_wrap=not console.is_terminal)


def describe_entry(entry: Entry) -> Iterator[str]:
    """Yield lines on the device, the kernels, the settings and the software of an entry."""
    device, kernels = entry.device, entry.kernels
    whose = f"{kernels.provider} kernels" + ("" if entry.operation == SORTING else f" for {entry.operation}")
    yield (
        f"{_format_product(device)}: {device.compute_units} compute units, wave{device.wavefront_size},"
        f" {device.lds_bytes // 1024} KiB of LDS"
    )
    if entry.sweep is None:
        yield f"{whose}, figures published by others: used only where this file is named"
    else:
        named = ", computed by a model: used only where this file is named" if entry.evidence == "modelled" else ""
        yield f"{whose}, revision {kernels.revision}{named}"
        yield describe_sweep(entry.sweep, entry.evidence, entry.operation)
    if entry.software:
        yield "with " + ", ".join(f"{name} {version}" for name, version in entry.software.items())
    if entry.launch_gap_us:
        yield f"each further launch costs {format_launch_gaps(entry.launch_gap_us)}"


def _format_product(device: Device) -> str:
    """Return the device's name, and the product behind it where its id is known and no other name for the same."""
    product = format_product(device.id or "")
    return f"{device.name}, {product}" if product not in ("", device.name) else device.name


def describe_sweep(sweep: Sweep, kind: Kind = "measured", operation: Operation = SORTING) -> str:
    """Return when and how rows were measured, or modelled."""
    timed = "as replayed graphs" if sweep.timing == "graph" else "launched one by one"
    spread = f", experts over {sweep.ep} ranks" if sweep.ep > 1 else ""
    cache = ", cold cache" if sweep.cold else ""
    sorting = operation == SORTING
    buffer, condition = (
        (f" model_dim {sweep.model_dim} {sweep.dtype},", f", {sweep.condition}") if sorting else ("", "")
    )
    verb = "modelled" if kind == "modelled" else "measured"
    return (
        f"{verb} {sweep.date} {timed}, unit_size {sweep.unit_size},{buffer}"
        f" {sweep.routing} routing{condition}{spread}{cache}, seed {sweep.seed}"
    )


def list_notes(entry: Entry) -> Iterator[str]:
    """Yield a line for whatever a reader of the rows has to know beside them."""
    if any(map(is_noisy, entry.rows)):
        yield (
            f"{NOISY_MARK} noise above {NOISY:.0%}: most likely the device had other work to do; sweep these shapes"
            " again with --replace when it has none"
        )
    for row in entry.rows:
        for note in _list_row_notes(entry, row):
            yield f"{row.num_experts}/{row.topk}: {note}"


def _list_row_notes(entry: Entry, row: Row) -> Iterator[str]:
    """Yield every property in which a row differs from its entry."""
    if (kind := entry.get_kind(row)) in _KINDS:
        yield _KINDS[kind]
    if row.evidence.source:
        yield f"source: {row.evidence.source}"
    if row.device is not None:
        yield f"measured on {_format_product(row.device)}"
    if row.evidence.since is not None:
        yield f"some of its points were measured earlier, from {row.evidence.since} on"
    if row.evidence.cards is not None:
        spread = "" if row.evidence.spread is None else f", the slowest of which takes {row.evidence.spread:.1%} longer"
        yield f"measured on {row.evidence.cards} cards{spread}"
    if row.sweep is not None:
        yield describe_sweep(row.sweep, entry.get_kind(row), entry.operation)
    if row.software is not None:
        yield "with " + ", ".join(f"{name} {version}" for name, version in row.software.items())


def format_count(number: int, one: str, several: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{number} {one if number == 1 else several}"
