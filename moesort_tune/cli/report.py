"""`moesort-tune report`: write a table, its curves and what verify found as one page for a browser."""

from pathlib import Path

import click

from moesort_tune.cli.default_table import find_default_table
from moesort_tune.cli.output import print_remark
from moesort_tune.cli.panels import read_panels
from moesort_tune.cli.parameters import MODEL_SHAPES, FilePath
from moesort_tune.cli.rows_shown import select_shapes
from moesort_tune.cli.verify_figures import read_verify_figures
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.runtime.search import compute_digest
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.files import load_bytes, read
from moesort_tune.whole_file import replace_file

EPILOG = """\b
The page needs no network and no other file, so it can be mailed or attached to a pull request.

\b
Examples:
  moesort-tune report tables/gfx950.yaml -o gfx950.html
  moesort-tune verify tables/gfx950.yaml --json > verify.json
  moesort-tune report tables/gfx950.yaml --verify verify.json -o gfx950.html
"""


@click.command(epilog=EPILOG)
@click.argument("table", type=FilePath(), required=False)
@click.option("-o", "--out", type=FilePath(dir_okay=False), default="report.html", show_default=True)
@click.option("--model", "models", type=MODEL_SHAPES, multiple=True, help="Only the rows of this preset. Repeatable.")
@click.option("--verify", "verified", type=FilePath(dir_okay=False), help="What `verify --json` printed for TABLE.")
def report(table: Path | None, out: Path, models: tuple[list[Shape], ...], verified: Path | None) -> None:
    """Write TABLE as one HTML page: every row's curves with their intervals, the choices, and where it all comes from.

    The curves come from the samples beside TABLE. Without TABLE the same is meant as by `show`.
    """
    from moesort_tune.cli.report_page import build_page

    path = table or find_default_table()
    data = read(path)
    loaded = load_bytes(path, data)
    if models:
        loaded = select_shapes(loaded, [shape for shapes in models for shape in shapes])
    figures = read_verify_figures(verified, loaded) if verified else []
    page = build_page(path, loaded, compute_digest(data), read_panels(path, loaded), figures)
    try:
        replace_file(out, page.encode(errors="backslashreplace"))
    except OSError as error:
        raise MoesortTuneError(f"cannot write {format_path(out)}: {error.strerror}") from error
    print_remark(f"written into {format_path(out)}")
