"""Draw `show --plot`: for each row the kernels' times over the fastest one's, on common axes, with one legend."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from moesort_tune.cli.colours import WARNING, Colours
from moesort_tune.cli.panels import (
    RATIO_TICKS,
    TOKEN_TICKS,
    Panel,
    build_title,
    choose_panel_colours,
    find_ratio_limits,
)
from moesort_tune.cli.row_text import list_measured_steps, list_measured_ties
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.aiter_rule import AITER_RULE

_PANEL_INCHES: Final = (4.4, 2.9)
_FRAME_INCHES: Final = (0.8, 1.5)
_SMALLEST_INCHES: Final = (10.0, 5.6)
_IN_ONE_LINE: Final = 4
"""Panels that stand side by side before a second line begins."""

_LABEL: Final = {"ha": "right", "va": "top", "fontsize": "x-small"}


def draw(panels: Sequence[Panel], picture: Path, picture_format: str | None = None) -> None:
    """Draw the panels, at least one. picture_format: None for that of the name's ending. Raise MoesortTuneError."""
    figure = draw_figure(panels)
    try:
        figure.savefig(picture, dpi=120, format=picture_format)
    except (OSError, ValueError) as error:
        raise MoesortTuneError(f"cannot draw into {picture}: {error}") from error


def draw_figure(panels: Sequence[Panel]) -> Any:
    """Return the matplotlib figure of the panels, at least one. Raise MoesortTuneError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MoesortTuneError("--plot needs matplotlib; pip install matplotlib") from error
    columns = len(panels) if len(panels) <= _IN_ONE_LINE else math.ceil(math.sqrt(1.3 * len(panels)))
    lines = -(-len(panels) // columns)
    counts = zip((columns, lines), _PANEL_INCHES, _FRAME_INCHES, _SMALLEST_INCHES, strict=True)
    width, height = (max(least, count * inches + frame) for count, inches, frame, least in counts)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    colours = choose_panel_colours(panels)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(axis, panel, colours)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("tokens")
        axis.tick_params(labelbottom=True)
    _scale_axes(axes.flat[0], panels)
    figure.supylabel("time over that of the fastest kernel", fontsize="medium")
    figure.suptitle(build_title(panels), fontsize="x-large")
    figure.legend(handles=_build_legend(colours, panels), loc="outside lower center", ncols=8, frameon=False)
    return figure


def _draw_panel(axis: Any, panel: Panel, colours: Colours) -> None:
    _shade_choices(axis, panel, colours)
    for kernel, points in panel.curves.items():
        tokens = [point.tokens for point in points]
        axis.plot(tokens, [point.ratio.median for point in points], marker=".", markersize=4, color=colours[kernel])
        low, high = [point.ratio.low for point in points], [point.ratio.high for point in points]
        axis.fill_between(tokens, low, high, color=colours[kernel], alpha=0.3, linewidth=0)
    _mark_aiter_rule(axis, panel)
    axis.set_title(panel.title, fontsize="medium", pad=17 if panel.aiter_curve else None)


def _shade_choices(axis: Any, panel: Panel, colours: Colours) -> None:
    """Shade the ground of each choice, hatch the ties, and mark the switches with their token counts."""
    for first, last, kernel in list_measured_steps(panel.row):
        axis.axvspan(first, last + 1, color=colours[kernel], alpha=0.13, linewidth=0)
    for first, last, _ in list_measured_ties(panel.row):
        axis.axvspan(first, last + 1, facecolor="none", edgecolor="gray", alpha=0.5, hatch="////", linewidth=0)
    for first, _, _ in list_measured_steps(panel.row)[1:]:
        axis.axvline(first, color="black", linestyle="--", linewidth=0.9)
    for first in panel.list_labelled_switches():
        axis.text(first, 0.97, f"{first}", rotation=90, transform=axis.get_xaxis_transform(), **_LABEL)


def _mark_aiter_rule(axis: Any, panel: Panel) -> None:
    """Mark the switch of AITER's rule, what it costs at each measured token count, and at worst in words."""
    loss = panel.row.evidence.rule_loss
    if loss is None:
        return
    tokens, ratios = [tokens for tokens, _ in panel.aiter_curve], [ratio for _, ratio in panel.aiter_curve]
    axis.fill_between(tokens, 1, ratios, color=WARNING, alpha=0.25, linewidth=0)
    if panel.aiter_switch is not None:
        axis.axvline(panel.aiter_switch, color=WARNING, linewidth=1.4)
    words = f"{AITER_RULE} takes up to {loss - 1:.0%} longer"
    axis.text(0.5, 1.02, words, transform=axis.transAxes, ha="center", va="bottom", color=WARNING, fontsize="small")


def _scale_axes(axis: Any, panels: Sequence[Panel]) -> None:
    """Scale the axes that all panels share, with plain numbers as ticks."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set(xscale="log", yscale="log", ylim=find_ratio_limits(panels))
    axis.set_xlim(min(panel.row.swept_range[0] for panel in panels), max(panel.row.swept_range[1] for panel in panels))
    for scale, ticks in ((axis.xaxis, TOKEN_TICKS), (axis.yaxis, RATIO_TICKS)):
        scale.set_major_locator(FixedLocator(ticks))
        scale.set_minor_locator(NullLocator())
        scale.set_major_formatter("{x:g}")


def _build_legend(colours: Colours, panels: Sequence[Panel]) -> list[Any]:
    """Return a handle for each thing that a panel may show."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=colour, marker=".", label=name) for name, colour in colours.items()]
    handles += [
        Patch(facecolor="gray", alpha=0.2, label="ground: the table's choice"),
        Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="switch"),
        Patch(facecolor="none", edgecolor="gray", hatch="////", label="tie"),
    ]
    if any(panel.aiter_curve for panel in panels):
        handles += [
            Line2D([], [], color=WARNING, linewidth=1.4, label=f"switch of {AITER_RULE}"),
            Patch(facecolor=WARNING, alpha=0.25, label="its cost"),
        ]
    return handles
