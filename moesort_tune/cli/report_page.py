"""Build the page of `report`: a template filled with texts that `show` prints, and the curves of each row."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from moesort_tune import __version__
from moesort_tune.cli.colours import WARNING, Colours
from moesort_tune.cli.panels import Panel, build_title, choose_panel_colours
from moesort_tune.cli.report_figures import Axes, build_figure
from moesort_tune.cli.row_grid import Column, Pieces, list_columns
from moesort_tune.cli.table_text import describe_entry, list_notes
from moesort_tune.cli.verify_figures import VerifyFigures
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.samples import get_samples_path
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.schema import Entry, EntryKey, Table


@dataclass(frozen=True)
class Curves:
    """The figure of a row as HTML, and the row's names on the page."""

    anchor: str
    title: str
    figure: str


@dataclass(frozen=True)
class Line:
    """A row in words: by column the pieces between which a cell may wrap. anchor: of its curves, None without any."""

    anchor: str | None
    cells: list[list[str]]


@dataclass(frozen=True)
class EntrySection:
    """The texts, the rows and the curves of an entry."""

    title: str
    about: list[str]
    notes: list[str]
    columns: list[Column]
    lines: list[Line]
    curves: list[Curves]


def build_page(path: Path, table: Table, digest: str, panels: list[Panel], figures: list[VerifyFigures]) -> str:
    """Return the whole page. Raise MoesortTuneError without the libraries that draw it."""
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MoesortTuneError(f"report needs plotly and jinja2; pip install plotly jinja2 ({error})") from error
    template = resources.files("moesort_tune.cli").joinpath("report_page.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    colours = choose_panel_colours(panels)
    return page.from_string(template).render(
        title=build_title(panels),
        file=format_path(path),
        samples=format_path(get_samples_path(path)),
        arch=table.arch,
        digest=digest,
        version=__version__,
        colours=colours,
        warning=WARNING,
        sections=_build_sections(table, panels, colours),
        verified=figures,
        plotly=get_plotlyjs(),
    )


def _build_sections(table: Table, panels: list[Panel], colours: Colours) -> list[EntrySection]:
    axes = Axes.fit(panels)
    curves = {
        (panel.entry.key, panel.row.shape): Curves(
            f"row-{number}", panel.title, _render(build_figure(panel, axes, colours), number)
        )
        for number, panel in enumerate(panels)
    }
    return [_build_section(table.arch, entry, curves) for entry in table.tables]


def _build_section(arch: str, entry: Entry, curves: dict[tuple[EntryKey, tuple[int, int]], Curves]) -> EntrySection:
    columns = [column for half in list_columns(arch, entry) for column in half]
    of_rows = [curves.get((entry.key, row.shape)) for row in entry.rows]
    return EntrySection(
        title=str(entry.key),
        about=list(describe_entry(entry)),
        notes=list(list_notes(entry)),
        columns=columns,
        lines=[
            Line(drawn.anchor if drawn else None, [_list_pieces(column.format(row)) for column in columns])
            for row, drawn in zip(entry.rows, of_rows, strict=True)
        ],
        curves=[drawn for drawn in of_rows if drawn],
    )


def _list_pieces(cell: object) -> list[str]:
    """Return the texts of a cell of `show` between which it may wrap."""
    return [piece.plain.rstrip() for piece in cell.pieces] if isinstance(cell, Pieces) else [str(cell)]


def _render(figure: Any, number: int) -> str:
    """Return the figure as HTML that needs the library to be on the page already."""
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{number}",
        config={"displaylogo": False, "responsive": True},
    )
    return html
