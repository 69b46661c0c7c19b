"""Format a table as lines and columns."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from moesort_tune.cli.row_text import format_choice, format_launch_gaps, format_ties
from moesort_tune.device.products import format_product
from moesort_tune.domain.candidates import Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.providers.facts.base import Facts
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.runtime.dispatcher import limits_of
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.schema import Device, Entry, Evidence, Kind, Row, Sweep, Table

_LEFT_COLUMNS: Final = ("choice by tokens", "ties")

_KINDS: Final[dict[Kind, str]] = {
    "learned": "learned by a serving process",
    "modelled": "computed by a model, not measured",
}
"""Notes on rows whose figures are no sweep's."""


def print_table(console: Console, path: Path, table: Table, digest: str) -> None:
    """Print every entry: where and how it was measured, then a line a row. digest: SHA-256 of the file."""
    entries = format_count(len(table.tables), "entry", "entries")
    console.print(f"{format_path(path)}: {table.arch}, {entries}, sha256 {digest}", style="bold", soft_wrap=True)
    for entry in table.tables:
        console.print()
        for line in describe_entry(entry):
            console.print(line, soft_wrap=True)
        console.print(_build_grid(table.arch, entry))
        for row in entry.rows:
            for note in _list_notes(entry, row):
                console.print(f"{row.num_experts}/{row.topk}: {note}", soft_wrap=True)


def describe_entry(entry: Entry) -> Iterator[str]:
    """Yield lines on the device, the kernels, the settings and the software of an entry."""
    device, kernels = entry.device, entry.kernels
    yield (
        f"{_format_product(device)}: {device.compute_units} compute units, wave{device.wavefront_size},"
        f" {device.lds_bytes // 1024} KiB of LDS"
    )
    if entry.sweep is None:
        yield f"{kernels.provider} kernels, figures published by others: used only where this file is named"
    else:
        named = ", computed by a model: used only where this file is named" if entry.evidence == "modelled" else ""
        yield f"{kernels.provider} kernels, revision {kernels.revision}{named}"
        yield describe_sweep(entry.sweep, entry.evidence)
    if entry.software:
        yield "with " + ", ".join(f"{name} {version}" for name, version in entry.software.items())
    if entry.launch_gap_us:
        yield f"each further launch costs {format_launch_gaps(entry.launch_gap_us)}"


def _format_product(device: Device) -> str:
    """Return the device's name, and the product behind it where its id is known and no other name for the same."""
    product = format_product(device.id or "")
    return f"{device.name}, {product}" if product not in ("", device.name) else device.name


def describe_sweep(sweep: Sweep, kind: Kind = "measured") -> str:
    """Return when and how rows were measured, or modelled."""
    timed = "as replayed graphs" if sweep.timing == "graph" else "launched one by one"
    spread = f", experts over {sweep.ep} ranks" if sweep.ep > 1 else ""
    cache = ", cold cache" if sweep.cold else ""
    verb = "modelled" if kind == "modelled" else "measured"
    return (
        f"{verb} {sweep.date} {timed}, unit_size {sweep.unit_size}, model_dim {sweep.model_dim} {sweep.dtype},"
        f" {sweep.routing} routing, {sweep.condition}{spread}{cache}, seed {sweep.seed}"
    )


def _build_grid(arch: str, entry: Entry) -> Grid:
    facts, limited = find_facts(entry.kernels.provider), list_names(entry)[:-1]
    device = limits_of(arch, entry.device.compute_units, entry)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ("experts", "topk", *_LEFT_COLUMNS, *(f"{kernel} up to" for kernel in limited))
    for heading in (
        *headings,
        facts.rule_name if facts else "own rule",
        "rule_loss",
        "points",
        "noise",
        "may lose",
    ):
        grid.add_column(heading, justify="left" if heading in _LEFT_COLUMNS else "right", overflow="fold")
    for row in entry.rows:
        rule = facts.rule(row.num_experts, row.topk, device, entry.condition) if facts else ()
        grid.add_row(*_format_cells(row, _list_legal_tokens(row, limited, facts, device), rule))
    return grid


def _list_legal_tokens(row: Row, kernels: Sequence[KernelName], facts: Facts | None, device: DeviceLimits) -> list[int]:
    """Return the largest token count at which a dispatcher takes each kernel: the row's, limited to what is legal."""
    legal = facts.limits(row.num_experts, row.topk, device) if facts else dict.fromkeys(kernels, MAX_TOKENS)
    return [max(0, min(row.get_limit(kernel), legal[kernel])) for kernel in kernels]


def _format_cells(row: Row, legal: Sequence[int], rule: Steps) -> tuple[str, ...]:
    evidence = row.evidence
    return (
        str(row.num_experts),
        str(row.topk),
        format_choice(row),
        format_ties(row),
        *("any" if tokens >= MAX_TOKENS else str(tokens) for tokens in legal),
        _format_rule(rule),
        "" if evidence.rule_loss is None else f"{evidence.rule_loss - 1:.0%}",
        _format_points(evidence),
        "" if evidence.noise is None else f"{evidence.noise:.1%}",
        "" if evidence.expected_loss is None else f"{evidence.expected_loss:.2%}",
    )


def _format_rule(steps: Steps) -> str:
    """Return the end of a rule's range for each kernel but the last, or its only kernel."""
    ends = [f"{kernel} to {following[0] - 1}" for (_, kernel), following in pairwise(steps)]
    return ", ".join(ends) or (steps[0][1] if steps else "")


def _format_points(evidence: Evidence) -> str:
    points = "" if evidence.points is None else str(evidence.points)
    return f"{points} in {evidence.tokens[0]}-{evidence.tokens[1]}" if evidence.tokens else points


def _list_notes(entry: Entry, row: Row) -> Iterator[str]:
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
        yield describe_sweep(row.sweep, entry.get_kind(row))
    if row.software is not None:
        yield "with " + ", ".join(f"{name} {version}" for name, version in row.software.items())


def format_count(number: int, one: str, several: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{number} {one if number == 1 else several}"
