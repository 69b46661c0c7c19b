"""A table in words and columns."""

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from moesort_tune.device.architectures import usable_lds_bytes
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.providers.facts.aiter_rule import aiter_forced_oneshot_max_tokens, aiter_oneshot_max_tokens
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.tables.errors import path_text
from moesort_tune.tables.schema import Entry, Evidence, Row, Sweep, Table

_RIGHT_COLUMNS = ("experts", "topk", "oneshot up to", "AITER's rule", "its worst loss", "points", "noise")


def print_table(console: Console, path: Path, table: Table) -> None:
    """Every entry: where and how it was measured, then a line a row."""
    console.print(f"{path_text(path)}: {table.arch}, {counted(len(table.tables), 'entry', 'entries')}", style="bold")
    for entry in table.tables:
        console.print()
        for line in about_entry(entry):
            console.print(line, soft_wrap=True)
        console.print(_grid(table.arch, entry))
        for row in entry.rows:
            for note in _notes(row):
                console.print(f"{row.num_experts}/{row.topk}: {note}", soft_wrap=True)


def about_entry(entry: Entry) -> Iterator[str]:
    """The device, the kernels, the settings and the software of an entry."""
    device, kernels = entry.device, entry.kernels
    yield (
        f"{device.name}: {device.compute_units} compute units, wave{device.wavefront_size},"
        f" {device.lds_bytes // 1024} KiB of LDS"
    )
    if entry.sweep is None:
        yield f"{kernels.provider} kernels, figures published by others: used only where this file is named"
    else:
        yield f"{kernels.provider} kernels, revision {kernels.revision}"
        yield about_sweep(entry.sweep)
    if entry.software:
        yield "with " + ", ".join(f"{name} {version}" for name, version in entry.software.items())


def about_sweep(sweep: Sweep) -> str:
    """When and how rows were measured."""
    timed = "as replayed graphs" if sweep.timing == "graph" else "launched one by one"
    spread = f", experts over {sweep.ep} ranks" if sweep.ep > 1 else ""
    cache = ", cold cache" if sweep.cold else ""
    return (
        f"measured {sweep.date} {timed}, unit_size {sweep.unit_size}, model_dim {sweep.model_dim} {sweep.dtype},"
        f" {sweep.routing} routing{spread}{cache}, seed {sweep.seed}"
    )


def choice_in_words(row: Row) -> str:
    """The policy by token ranges: 'oneshot to 24, multiphase from 25'."""
    return ", ".join(_steps_in_words(row))


def _steps_in_words(row: Row) -> Iterator[str]:
    for index, (first, kernel) in enumerate(row.policy):
        last = row.policy[index + 1][0] - 1 if index + 1 < len(row.policy) else None
        if last is None:
            yield f"{kernel} always" if first == 1 else f"{kernel} from {first}"
        else:
            yield f"{kernel} to {last}"


def ties_in_words(row: Row) -> str:
    """The token ranges in which neither kernel won: '19-24, 30'."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in row.tie) or "none"


def _grid(arch: str, entry: Entry) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("experts", "topk", "choice by tokens", "ties", *_RIGHT_COLUMNS[2:]):
        grid.add_column(name, justify="right" if name in _RIGHT_COLUMNS else "left", overflow="fold")
    for row in entry.rows:
        grid.add_row(*_cells(row, _legal_tokens(arch, entry, row)))
    return grid


def _legal_tokens(arch: str, entry: Entry, row: Row) -> int:
    """Up to how many tokens a dispatcher takes oneshot: as the row says, and no further than its shape allows."""
    if entry.kernels.provider == "aiter":
        legal = aiter_forced_oneshot_max_tokens(row.num_experts)
    else:
        legal = oneshot_max_tokens(row.num_experts, row.topk, usable_lds_bytes(arch, entry.device.lds_bytes))
    return max(0, min(row.oneshot_max_tokens, legal))


def _cells(row: Row, legal: int) -> tuple[str, ...]:
    evidence = row.evidence
    rule = aiter_oneshot_max_tokens(row.num_experts)
    return (
        str(row.num_experts),
        str(row.topk),
        choice_in_words(row),
        ties_in_words(row),
        "any" if legal >= MAX_TOKENS else str(legal),
        f"oneshot to {rule}" if rule else "multiphase",
        "" if evidence.rule_loss is None else f"{evidence.rule_loss - 1:.0%}",
        _points_in_words(evidence),
        "" if evidence.noise is None else f"{evidence.noise:.1%}",
    )


def _points_in_words(evidence: Evidence) -> str:
    points = "" if evidence.points is None else str(evidence.points)
    return f"{points} in {evidence.tokens[0]}-{evidence.tokens[1]}" if evidence.tokens else points


def _notes(row: Row) -> Iterator[str]:
    """What is special about a row."""
    if row.evidence.learned:
        yield "learned by a serving process"
    if row.evidence.source:
        yield f"source: {row.evidence.source}"
    if row.device is not None:
        yield f"measured on {row.device.name}"
    if row.evidence.since is not None:
        yield f"some of its points were measured earlier, from {row.evidence.since} on"
    if row.sweep is not None:
        yield about_sweep(row.sweep)
    if row.software is not None:
        yield "with " + ", ".join(f"{name} {version}" for name, version in row.software.items())


def counted(number: int, one: str, several: str) -> str:
    """A number with its noun in the right form."""
    return f"{number} {one if number == 1 else several}"
