"""Draw `show --plot`: the kernels' measured times, a panel a row, with the switches and ties of the table."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from moesort_tune.cli.row_text import list_measured_steps, list_measured_ties
from moesort_tune.domain.vocabulary import MULTIPHASE, ONESHOT, KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.records import select_samples
from moesort_tune.sweep.samples import Sample, get_samples_path, read_samples
from moesort_tune.tables.schema import Entry, Row, Table

_FAMILIAR: Final = {ONESHOT.name: "tab:orange", MULTIPHASE.name: "tab:blue"}
_OTHER_COLOURS: Final = ("tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")
_COLUMNS: Final = 3
_PANEL_INCHES: Final = (4.6, 3.2)


@dataclass(frozen=True)
class Panel:
    """The content of one panel. times_us: {kernel: [(tokens, median, low, high), ...]}, ascending by tokens."""

    title: str
    row: Row
    times_us: dict[str, list[tuple[int, float, float, float]]]


def draw(path: Path, table: Table, picture: Path) -> None:
    """Draw the samples beside the table in `path`. Raise MoesortTuneError without samples or without matplotlib."""
    panels = build_panels(path, table)
    pyplot = _import_pyplot()
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * lines)
    figure, axes = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(axis, panel)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    try:
        figure.savefig(picture, dpi=120)
    except (OSError, ValueError) as error:
        raise MoesortTuneError(f"cannot draw into {picture}: {error}") from error
    finally:
        pyplot.close(figure)


def build_panels(path: Path, table: Table) -> list[Panel]:
    """Return a panel for each measured row that has samples. Raise MoesortTuneError where none has."""
    sidecar = get_samples_path(path)
    if not sidecar.exists():
        raise MoesortTuneError(
            f"{sidecar} does not exist, and the picture is drawn from it; a sweep writes it beside the table"
        )
    samples = read_samples(sidecar)
    panels = [
        Panel(_format_title(entry, row), row, times)
        for entry in table.tables
        for row in entry.rows
        if (times := _collect_times(samples, table.arch, entry, row))
    ]
    if not panels:
        raise MoesortTuneError(f"{sidecar} holds no samples of the rows in {path}; sweep again to measure them")
    return panels


def _format_title(entry: Entry, row: Row) -> str:
    key = entry.key
    parts = (f"{key.compute_units} CUs", key.provider, key.timing, *key.condition.list_unusual())
    return f"{row.num_experts} experts, topk {row.topk}\n{', '.join(map(str, parts))}"


def _collect_times(
    samples: Iterable[Sample], arch: str, entry: Entry, row: Row
) -> dict[str, list[tuple[int, float, float, float]]]:
    """Return the latest sample of each kernel and token count that was taken for this row."""
    latest = {
        (sample.kernel, sample.tokens): (sample.tokens, sample.median_us, sample.low_us, sample.high_us)
        for sample in select_samples(row, arch=arch, entry=entry, samples=samples)
    }
    times: dict[str, list[tuple[int, float, float, float]]] = {}
    for (kernel, _), point in sorted(latest.items()):
        times.setdefault(kernel, []).append(point)
    return times


def _import_pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MoesortTuneError("--plot needs matplotlib; pip install matplotlib") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def choose_colours(kernels: Iterable[KernelName]) -> dict[KernelName, str]:
    """Return a colour for each kernel; the familiar two keep theirs."""
    others = cycle(_OTHER_COLOURS)
    return {kernel: _FAMILIAR.get(kernel) or next(others) for kernel in kernels}


def _draw_panel(axis: Any, panel: Panel) -> None:
    colours = choose_colours(panel.times_us)
    for kernel, points in panel.times_us.items():
        tokens, median, low, high = zip(*points, strict=True)
        axis.plot(tokens, median, marker=".", color=colours[kernel], label=kernel)
        axis.fill_between(tokens, low, high, color=colours[kernel], alpha=0.25, linewidth=0)
    for index, (first, last, _) in enumerate(list_measured_ties(panel.row)):
        span = {"color": "tab:gray", "alpha": 0.2, "linewidth": 0}
        axis.axvspan(first, max(last, first * 1.02), label="tie" if index == 0 else None, **span)
    for index, (first, _, _) in enumerate(list_measured_steps(panel.row)[1:]):
        axis.axvline(first, label="switch" if index == 0 else None, color="black", linestyle="--", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel="time (us)")
    _label_plainly(axis)
    axis.set_title(panel.title, fontsize=9)
    axis.legend(fontsize=8)


def _label_plainly(axis: Any) -> None:
    """Set ticks at 1, 2, 5, 10, ... microseconds and at powers of ten of tokens, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
