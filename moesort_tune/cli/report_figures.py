"""Draw a row for a browser: times and ratios with their intervals, over the ground of the choices."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moesort_tune.cli.colours import WARNING, Colours
from moesort_tune.cli.panels import RATIO_TICKS, TOKEN_TICKS, CurvePoint, Panel, Range, find_ratio_limits
from moesort_tune.cli.row_text import list_measured_steps, list_measured_ties
from moesort_tune.domain.vocabulary import KernelName

_HEIGHT: Final = 340
_TIME_TICKS: Final = tuple(number * 10**power for power in range(-1, 7) for number in (1, 2, 5))

_TIMES: Final = ("x", "y")
_RATIOS: Final = ("x2", "y2")
"""Names of the axes of the left and the right plot."""


@dataclass(frozen=True)
class Axes:
    """The ranges that the figures of all rows share: tokens, microseconds, and the ratio to the fastest kernel."""

    tokens: tuple[float, float]
    time_us: tuple[float, float]
    ratio: tuple[float, float]

    @classmethod
    def fit(cls, panels: Sequence[Panel]) -> "Axes":
        """Return ranges that hold every time of `panels`, at least one."""
        points = [point for panel in panels for curve in panel.curves.values() for point in curve]
        return cls(
            tokens=(min(point.tokens for point in points), max(point.tokens for point in points)),
            time_us=(min(point.time_us.low for point in points), max(point.time_us.high for point in points)),
            ratio=find_ratio_limits(panels),
        )


def build_figure(panel: Panel, axes: Axes, colours: Colours) -> Any:
    """Return a plotly figure of the row: its times at the left, their ratios at the right."""
    from plotly.graph_objects import Figure

    layout = {
        "template": "none",
        "height": _HEIGHT,
        "margin": {"l": 60, "r": 25, "t": 36, "b": 45},
        "showlegend": False,
        "hovermode": "x",
        "shapes": [shape for names in (_TIMES, _RATIOS) for shape in _shade_choices(panel, colours, *names)],
        "annotations": list(_label_switches(panel)),
        "xaxis": _scale("tokens", axes.tokens, TOKEN_TICKS) | {"domain": [0, 0.47], "anchor": "y"},
        "xaxis2": _scale("tokens", axes.tokens, TOKEN_TICKS) | {"domain": [0.55, 1], "anchor": "y2"},
        "yaxis": _scale("time (us)", axes.time_us, _TIME_TICKS),
        "yaxis2": _scale("time over that of the fastest kernel", axes.ratio, RATIO_TICKS) | {"anchor": "x2"},
    }
    return Figure(data=list(_draw_curves(panel, colours)), layout=layout)


def _draw_curves(panel: Panel, colours: Colours) -> Iterator[dict[str, Any]]:
    """Yield the traces: the cost of AITER's rule below, then each kernel's intervals and medians in both plots."""
    if cost := panel.aiter_curve:
        tokens, ratios = [tokens for tokens, _ in cost], [ratio for _, ratio in cost]
        yield _fill(tokens, [1.0] * len(cost), ratios, WARNING, _RATIOS)
    for kernel, points in panel.curves.items():
        yield from _draw_curve(kernel, points, [point.time_us for point in points], colours[kernel], _TIMES)
        yield from _draw_curve(kernel, points, [point.ratio for point in points], colours[kernel], _RATIOS)


def _draw_curve(
    kernel: KernelName, points: Sequence[CurvePoint], values: Sequence[Range], colour: str, axes: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    tokens = [point.tokens for point in points]
    yield _fill(tokens, [value.low for value in values], [value.high for value in values], colour, axes)
    unit = " us" if axes == _TIMES else ""
    yield {
        "type": "scatter",
        "mode": "lines+markers",
        "name": kernel,
        "x": tokens,
        "y": [value.median for value in values],
        "text": [f"{value.median:.5g}{unit} ({value.low:.5g} to {value.high:.5g})" for value in values],
        "hovertemplate": "%{x} tokens: %{text}",
        "line": {"color": colour, "width": 1.5},
        "marker": {"size": 4},
        "xaxis": axes[0],
        "yaxis": axes[1],
    }


def _fill(
    tokens: Sequence[int], low: Sequence[float], high: Sequence[float], colour: str, axes: tuple[str, str]
) -> dict[str, Any]:
    """Return the area between two curves."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*tokens, *reversed(tokens)],
        "y": [*low, *reversed(high)],
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.3,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "xaxis": axes[0],
        "yaxis": axes[1],
    }


def _shade_choices(panel: Panel, colours: Colours, x: str, y: str) -> Iterator[dict[str, Any]]:
    """Yield the ground of each choice, the ties, and the switches of the table and of AITER's rule."""
    everywhere = {"xref": x, "yref": f"{y} domain", "y0": 0, "y1": 1, "layer": "below"}
    steps = list_measured_steps(panel.row)
    for first, last, kernel in steps:
        ground = {"fillcolor": colours[kernel], "opacity": 0.15, "line": {"width": 0}}
        yield {"type": "rect", "x0": first, "x1": last + 1} | ground | everywhere
    for first, last, _ in list_measured_ties(panel.row):
        yield {"type": "rect", "x0": first, "x1": last + 1, "fillcolor": "gray", "opacity": 0.35, **everywhere} | {
            "line": {"width": 0}
        }
    for first, _, _ in steps[1:]:
        dashed = {"color": "black", "width": 1, "dash": "dash"}
        yield {"type": "line", "x0": first, "x1": first, "line": dashed} | everywhere
    if (switch := panel.aiter_switch) is not None:
        yield {"type": "line", "x0": switch, "x1": switch, "line": {"color": WARNING, "width": 2}} | everywhere


def _label_switches(panel: Panel) -> Iterator[dict[str, Any]]:
    """Yield the token counts of the switches, above the right plot."""
    for first in panel.list_labelled_switches():
        position = {"x": math.log10(first), "y": 1, "xref": _RATIOS[0], "yref": f"{_RATIOS[1]} domain"}
        yield {"text": str(first), "showarrow": False, "yanchor": "bottom", "font": {"size": 10}} | position


def _scale(title: str, limits: tuple[float, float], ticks: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis with plain numbers."""
    return {
        "type": "log",
        "title": {"text": title},
        "range": [math.log10(limit) for limit in limits],
        "tickvals": list(ticks),
        "ticktext": [f"{tick:g}" for tick in ticks],
        "zeroline": False,
        "ticks": "outside",
    }
