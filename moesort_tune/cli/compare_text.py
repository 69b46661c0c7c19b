"""Format the comparison of two sweeps: as text, and as Markdown for a pull request."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from moesort_tune.cli.output import print_result
from moesort_tune.cli.table_text import format_count
from moesort_tune.domain.vocabulary import SORTING
from moesort_tune.measure.change import Change
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.sweep.comparison import ComparedPoint, Missing, SweepComparison
from moesort_tune.sweep.environment import Environment, find_differences

MOST_POINTS: Final = 20
"""Points of one answer that are printed without --all."""

_NUMBERS: Final = ("tokens", "A us", "B us", "B / A", "low", "high", "points", "mean B / A", *map(str, Change))


@dataclass(frozen=True)
class Cells:
    """A part of the report in columns. title: the line above it, under which Markdown folds it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


Part = str | Cells


def build_report(
    compared: SweepComparison, names: tuple[str, str], threshold: float, *, show_all: bool
) -> Iterator[Part]:
    """Yield the answer, the two sides, their environments' differences, kernels, points, and what is missing."""
    yield _format_answer(compared, threshold)
    sides = zip("AB", names, (compared.before, compared.after), strict=True)
    yield "\n".join(f"{side}: {name}, {_describe(environment)}" for side, name, environment in sides)
    differences = find_differences(compared.before, compared.after)
    if differences:
        yield Cells(("environment", "A", "B"), [(one.name, one.before or "-", one.after or "-") for one in differences])
    else:
        yield "The environments are the same."
    yield _list_kernels(compared)
    several = len({point.card for point in compared.points}) > 1
    for change in Change if show_all else (Change.SLOWER, Change.FASTER):
        if points := compared.select(change):
            yield _list_points(change, points, most=len(points) if show_all else MOST_POINTS, name_cards=several)
    for side, missing in (("A", compared.only_before), ("B", compared.only_after)):
        if lines := list(_describe_missing(missing)):
            yield "\n".join(f"only in {side}: {line}" for line in lines)


def print_text(console: Console, report: Iterable[Part]) -> None:
    """Print a report for a terminal, its parts apart."""
    for index, part in enumerate(report):
        if index:
            console.print()
        if isinstance(part, str):
            console.print(part, style="" if index else "bold", soft_wrap=True)
            continue
        if part.title:
            console.print(part.title, soft_wrap=True)
        console.print(_build_grid(part))


def print_markdown(report: Iterable[Part]) -> None:
    """Print a report as Markdown: the answer in bold, the points folded."""
    for index, part in enumerate(report):
        if isinstance(part, str):
            text = _escape(part).replace("\n", "  \n")
            print_result(text if index else f"**{text}**", end="\n\n")
            continue
        table = "\n".join(_format_markdown_rows(part))
        folded = f"<details><summary>{part.title}</summary>\n\n{table}\n\n</details>"
        print_result(folded if part.title else table, end="\n\n")


def _build_grid(cells: Cells) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in cells.headings:
        grid.add_column(heading, justify="right" if heading in _NUMBERS else "left", overflow="fold")
    for row in cells.rows:
        grid.add_row(*row)
    return grid


def _format_markdown_rows(cells: Cells) -> Iterator[str]:
    aligned = ["--:" if heading in _NUMBERS else "---" for heading in cells.headings]
    for row in (cells.headings, aligned, *cells.rows):
        yield f"| {' | '.join(map(_escape, row))} |"


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for special in ("\\", "|", "<", "*", "_", "`"):
        text = text.replace(special, f"\\{special}")
    return text


def _format_answer(compared: SweepComparison, threshold: float) -> str:
    counts = ", ".join(f"{len(compared.select(change))} {change}" for change in Change)
    points = format_count(len(compared.points), "point", "points")
    return f"B against A: {counts} of {points}, looking for differences of {threshold:.3g}"


def _describe(environment: Environment) -> str:
    """Return device, kernels and days: '..., 132 compute units, builtin revision 5c1e, measured 2026-11-26'."""
    device = environment.get("device") or environment["architecture"]
    revisions = (f"{name} {value}" for name, value in environment.items() if name.endswith(" revision"))
    units = f"{environment['compute units']} compute units"
    return ", ".join((device, units, *revisions, f"measured {environment['date']}"))


def _list_kernels(compared: SweepComparison) -> Cells:
    rows = [
        (
            f"{one.provider} {one.kernel}{_describe_operation(one.provider)}",
            str(one.points),
            *(str(one.counts[change]) for change in Change),
            f"{one.mean:.3f}",
        )
        for one in compared.summarize()
    ]
    return Cells(("kernel", "points", *map(str, Change), "mean B / A"), rows)


def _describe_operation(provider: str) -> str:
    operation = find_operation(provider)
    return "" if operation == SORTING else f" ({operation})"


def _list_points(change: Change, points: Sequence[ComparedPoint], *, most: int, name_cards: bool) -> Cells:
    """Return the first points, all of one answer, with the 99 % intervals of their ratios."""
    number = len(points) if len(points) <= most else f"{most} of {len(points)}, --all prints them"
    headings = ("experts/topk", "tokens", "kernel", "A us", "B us", "B / A", "low", "high", "card")
    rows = [(*_format_point(point), point.card) for point in points[:most]]
    shown = slice(None) if name_cards else slice(-1)
    return Cells(headings[shown], [row[shown] for row in rows], title=f"{change}, the largest first ({number})")


def _format_point(point: ComparedPoint) -> tuple[str, ...]:
    ratio = point.ratio
    return (
        str(point.row),
        str(point.tokens),
        point.kernel,
        f"{point.before_us.median:.5g}",
        f"{point.after_us.median:.5g}",
        f"{ratio.median:.3f}",
        f"{ratio.low:.3f}",
        f"{ratio.high:.3f}",
    )


def _describe_missing(missing: Missing) -> Iterator[str]:
    for series, shapes in missing.rows.items():
        yield f"{format_count(len(shapes), 'row', 'rows')} of {series}: {' '.join(map(str, shapes))}"
    if missing.points:
        yield f"{format_count(missing.points, 'point', 'points')} of rows that both have"
