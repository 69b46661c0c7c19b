"""Lay out the rows of an entry in columns: side by side where the terminal is wide, else the second half below."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from moesort_tune.cli.colours import WARNING, Colours, choose_colours
from moesort_tune.cli.row_text import format_range, list_measured_steps, list_measured_ties
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.providers.facts.aiter_rule import AITER_RULE
from moesort_tune.providers.facts.base import Facts
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.runtime.dispatcher import limits_of
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.schema import Entry, Evidence, Row

NOISY: Final = 0.05
"""Noise from which on a row is marked."""

NOISY_MARK: Final = "!"

_BETWEEN: Final = 2
"""Columns of the terminal between two columns of the grid."""

_WIDE: Final = 190
"""Columns of a terminal from which on everything about a row fits beside its choice."""


def is_noisy(row: Row) -> bool:
    """Return whether the noise of a row is so high that a reader has to know."""
    return row.evidence.noise is not None and row.evidence.noise > NOISY


@dataclass(frozen=True)
class Pieces:
    """A cell that wraps between its pieces and nowhere else; each ends with what separates it from the next."""

    pieces: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines."""
        line = Text()
        for piece in self.pieces:
            if line and line.cell_len + len(piece.plain.rstrip()) > options.max_width:
                yield _strip(line)
                line = Text()
            line += piece
        yield _strip(line)

    @property
    def length(self) -> int:
        """The width of all pieces in one line."""
        return sum(piece.cell_len for piece in self.pieces)

    @property
    def widest(self) -> int:
        """The width of the widest piece."""
        return max((len(piece.plain.rstrip()) for piece in self.pieces), default=0)


def _strip(line: Text) -> Text:
    line.rstrip()
    return line


@dataclass(frozen=True)
class Column:
    """A column: its heading, and the content of its cell for a row. Figures stand at the right."""

    heading: str
    format: Callable[[Row], RenderableType]
    is_figure: bool = False


def print_rows(console: Console, arch: str, entry: Entry) -> None:
    """Print the rows of an entry: in one grid where the console is wide, else in two, one below the other."""
    choice, limits = list_columns(arch, entry)
    halves = [[*choice, *limits]] if console.width >= _WIDE else [choice, [choice[0], *limits]]
    for columns in halves:
        console.print()
        console.print(_build_grid(entry.rows, columns, console.width))


def list_columns(arch: str, entry: Entry) -> tuple[list[Column], list[Column]]:
    """Return the columns of an entry that say something: of the choices, and of the limits, rules and losses."""
    choice, limits = (
        [column for column in columns if any(_has_text(column.format(row)) for row in entry.rows)]
        for columns in (_list_choice_columns(entry), _list_limit_columns(arch, entry))
    )
    return choice, limits


def _has_text(cell: RenderableType) -> bool:
    return bool(cell.pieces if isinstance(cell, Pieces) else str(cell))


def _build_grid(rows: Sequence[Row], columns: Sequence[Column], width: int) -> Grid:
    """Return the rows in columns whose widths are chosen here: rich would cut figures off where texts can wrap."""
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    cells = [[column.format(row) for row in rows] for column in columns]
    widths = _share_width([_measure(*pair) for pair in zip(columns, cells, strict=True)], width)
    for column, chosen in zip(columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.is_figure else "left"
        grid.add_column(column.heading, justify=justify, no_wrap=column.is_figure, width=chosen)
    for row in zip(*cells, strict=True):
        grid.add_row(*row)
    return grid


def _measure(column: Column, cells: Sequence[RenderableType]) -> Measurement:
    """Return the least width of a column, at which nothing is broken, and that of its cells in one line."""
    heading = max(map(len, column.heading.split("\n")))
    least = max((cell.widest if isinstance(cell, Pieces) else len(str(cell)) for cell in cells), default=0)
    most = max((cell.length if isinstance(cell, Pieces) else len(str(cell)) for cell in cells), default=0)
    return Measurement(max(heading, least), max(heading, most))


def _share_width(columns: Sequence[Measurement], width: int) -> list[int]:
    """Return a width for each column: the least, and of what is left a share by what it could use."""
    left = width - sum(column.minimum + _BETWEEN for column in columns)
    wanted = sum(column.span for column in columns)
    share = min(1.0, max(0, left) / wanted) if wanted else 0.0
    return [column.minimum + int(column.span * share) for column in columns]


def _list_choice_columns(entry: Entry) -> list[Column]:
    """Return what is chosen, and how sure that is."""
    names = list_names(entry)
    colours = choose_colours(names)
    return [
        Column("shape", lambda row: f"{row.num_experts}/{row.topk}", is_figure=True),
        Column("choice by tokens", lambda row: _format_choice(row, colours)),
        Column("ties", lambda row: _format_ties(row, several=len(names) > 2)),
        Column("points", lambda row: _format_points(row.evidence), is_figure=True),
        Column("noise", _format_noise, is_figure=True),
    ]


def _list_limit_columns(arch: str, entry: Entry) -> list[Column]:
    """Return up to where kernels are taken, those limits apart that nobody measured, and what rules would choose."""
    facts, names = find_facts(entry.kernels.provider), list_names(entry)
    colours, limited = choose_colours(names), names[:-1]
    device = limits_of(arch, entry.device.compute_units, entry)

    def list_limits(row: Row, *, measured: bool) -> Pieces:
        """Return the limits within the measured range, or those beyond it."""
        legal = _list_legal_tokens(row, limited, facts, device)
        _, last = row.swept_range
        known = {kernel: tokens for kernel, tokens in legal.items() if (tokens <= last) == measured}
        return _join([Text(f"{kernel} {tokens}") for kernel, tokens in known.items() if tokens < MAX_TOKENS], ", ")

    def format_rule(row: Row) -> Pieces:
        if facts is None:
            return Pieces([])
        steps = facts.rule(row.num_experts, row.topk, device, entry.condition)
        ends = [*(first - 1 for first, _ in steps[1:]), None]
        return _format_steps(
            [(first, last, kernel) for (first, kernel), last in zip(steps, ends, strict=True)], colours
        )

    return [
        Column("limits", lambda row: list_limits(row, measured=True)),
        Column("limits,\nnot measured", lambda row: list_limits(row, measured=False)),
        Column(facts.rule_name if facts else "own rule", format_rule),
        Column("may\nlose", lambda row: _format_expected_loss(row.evidence), is_figure=True),
        Column(f"{AITER_RULE}\nat worst".replace(" ", "\n", 1), lambda row: _format_loss(row.evidence), is_figure=True),
    ]


def _join(pieces: Sequence[Text], separator: str) -> Pieces:
    return Pieces([*(piece + separator for piece in pieces[:-1]), *pieces[-1:]])


def _format_choice(row: Row, colours: Colours) -> Pieces:
    """Return the choices; the last one ends where the measured range does, which has a column of its own."""
    *steps, (first, _, kernel) = list_measured_steps(row)
    return _format_steps([*steps, (first, None, kernel)], colours)


def _format_steps(steps: Iterable[tuple[int, int | None, KernelName]], colours: Colours) -> Pieces:
    """Return '1-24 oneshot | 25+ multiphase'. steps: first token count, last one (None: open), kernel."""
    texts = [
        Text.assemble(f"{first}+" if last is None else format_range(first, last), " ", (kernel, colours[kernel]))
        for first, last, kernel in steps
    ]
    return _join(texts, " | ")


def _format_ties(row: Row, *, several: bool) -> Pieces:
    """Return the tied token ranges, those of the same kernels behind their names if there are more than two."""
    ranges: dict[tuple[KernelName, ...], list[str]] = {}
    for first, last, tied in list_measured_ties(row):
        ranges.setdefault(tied, []).append(format_range(first, last))
    pieces: list[Text] = []
    for tied, texts in ranges.items():
        names = [Text(f"{'='.join(tied)} ")] if several else []
        pieces += [*names, *(Text(f"{text}, ") for text in texts[:-1]), Text(f"{texts[-1]}; ")]
    return Pieces([*pieces[:-1], pieces[-1][:-2]] if pieces else [Text("none")])


def _format_noise(row: Row) -> Text:
    noise = row.evidence.noise
    if noise is None:
        return Text("")
    return Text(f"{NOISY_MARK} {noise:.1%}", style=f"bold {WARNING}") if is_noisy(row) else Text(f"{noise:.1%}")


def _format_points(evidence: Evidence) -> str:
    """Return the number of points and the range that they cover: '14 in 1-64'."""
    points = "" if evidence.points is None else str(evidence.points)
    tokens = [format_range(*evidence.tokens)] if evidence.tokens else []
    return " in ".join([*filter(None, [points]), *tokens])


def _format_loss(evidence: Evidence) -> str:
    """Return what AITER's rule costs at worst."""
    return "" if evidence.rule_loss is None else f"+{evidence.rule_loss - 1:.0%}"


def _format_expected_loss(evidence: Evidence) -> str:
    """Return what the row's own choices are expected to lose between the measured points."""
    return "" if evidence.expected_loss is None else f"{evidence.expected_loss:.2%}"


def _list_legal_tokens(
    row: Row, kernels: Sequence[KernelName], facts: Facts | None, device: DeviceLimits
) -> dict[KernelName, int]:
    """Return the largest token count at which a dispatcher takes each kernel: the row's, limited to what is legal."""
    legal = facts.limits(row.num_experts, row.topk, device) if facts else dict.fromkeys(kernels, MAX_TOKENS)
    return {kernel: max(0, min(row.get_limit(kernel), legal[kernel])) for kernel in kernels}
