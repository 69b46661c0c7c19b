"""`show --plot`: a picture for a slide."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.cli.colours import WARNING
from moesort_tune.cli.main import run
from moesort_tune.cli.panels import read_panels
from moesort_tune.cli.plot import draw_figure
from moesort_tune.tables import store
from tests.cli.pictured import write_pictured_table

TABLE = Path("gfx942.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def draw_table(*experts: int) -> Any:
    """Return the figure of a table with rows of so many experts."""
    pytest.importorskip("matplotlib")
    write_pictured_table(TABLE, *experts)
    return draw_figure(read_panels(TABLE, store.load(TABLE)))


def list_vertical_lines(axis: Any, colour: str) -> list[float]:
    """Return the places of the vertical lines of a colour."""
    lines = [line for line in axis.lines if line.get_color() == colour]
    return [
        float(line.get_xdata()[0]) for line in lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]


def list_grounds(axis: Any) -> list[tuple[float, float]]:
    """Return the ranges of tokens that are shaded over the whole height, hatched ones apart."""
    spans = [patch for patch in axis.patches if patch.get_hatch() is None]
    return [(float(patch.get_x()), float(patch.get_x() + patch.get_width())) for patch in spans]


def test_panel_shows_choices_switches_ties_and_aiters_rule() -> None:
    """The table's switches are dashed, that of AITER's rule is red, and what that costs is said in red."""
    (axis,) = draw_table(128).axes
    assert list_grounds(axis) == [(1, 5), (5, 100), (100, 257)]
    assert [(patch.get_x(), patch.get_width()) for patch in axis.patches if patch.get_hatch()] == [(65, 35)]
    assert list_vertical_lines(axis, "black") == [5, 100]
    assert list_vertical_lines(axis, WARNING) == [57]
    in_red = [text.get_text() for text in axis.texts if text.get_color() == WARNING]
    assert in_red == ["AITER's rule takes up to 50% longer"]
    assert axis.get_title() == "128 experts, topk 4"
    curves = [list(line.get_ydata()) for line in axis.lines if line.get_marker() == "."]
    assert curves[0] == pytest.approx([1, 1, 1.5])
    assert curves[1] == pytest.approx([1.5, 1.5, 1, 1, 1.5])


@pytest.mark.parametrize("experts", [(128,), (8, 16, 32, 64, 128, 256, 512)])
def test_all_panels_share_axes_legend_and_title(experts: tuple[int, ...]) -> None:
    """Protects comparisons by eye: the same axes in each row, and everything that is common said once."""
    figure = draw_table(*experts)
    axes = [axis for axis in figure.axes if axis.get_visible()]
    assert len(axes) == len(experts)
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in axes}) == 1
    (legend,) = figure.legends
    assert not [axis for axis in axes if axis.get_legend()]
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:3] == ["wave", "oneshot", "multiphase"]
    assert len(names) == len(set(names)) == 8
    assert figure.get_suptitle() == "AMD Instinct MI300X · 2026-11-22 · builtin kernels 5c1e0f"


@pytest.mark.parametrize(
    ("name", "options", "begin"),
    [
        ("p.png", [], b"\x89PNG"),
        ("p.svg", [], b"<?xml"),
        ("p.pdf", [], b"%PDF"),
        ("picture", ["--format", "svg"], b"<?xml"),
        ("p.png", ["--format", "pdf"], b"%PDF"),
    ],
)
def test_picture_has_the_format_that_is_asked_for(name: str, options: list[str], begin: bytes) -> None:
    """By the option, else by the ending of the name."""
    pytest.importorskip("matplotlib")
    write_pictured_table(TABLE, 128)
    assert run(["show", str(TABLE), "--plot", name, *options]) == 0
    assert Path(name).read_bytes().startswith(begin)


def test_picture_that_cannot_be_written_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder, and an ending that no format has."""
    pytest.importorskip("matplotlib")
    write_pictured_table(TABLE, 128)
    for name in ("none/p.png", "p.xyz"):
        assert run(["show", str(TABLE), "--plot", name]) == 1
        assert f"cannot draw into {name}" in capsys.readouterr().err


def test_format_without_a_picture_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from the belief that something was drawn."""
    write_pictured_table(TABLE, 128)
    assert run(["show", str(TABLE), "--format", "svg"]) == 2
    assert "--format is of --plot" in capsys.readouterr().err


def test_plot_without_matplotlib_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra, so that a GPU machine need not have it."""
    write_pictured_table(TABLE, 128)
    real = builtins.__import__

    def miss(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", miss)
    assert run(["show", str(TABLE), "--plot", "p.png"]) == 1
    assert capsys.readouterr().err == "Error: --plot needs matplotlib; pip install matplotlib\n"
