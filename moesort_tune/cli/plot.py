"""`show --plot`: the measured times of both kernels, a panel a row, with the switches and ties of the table."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.records import samples_behind
from moesort_tune.sweep.samples import Sample, read_samples, samples_path
from moesort_tune.tables.schema import Entry, Row, Table

COLOURS: Final = {"oneshot": "tab:orange", "multiphase": "tab:blue"}
_COLUMNS: Final = 3
_PANEL_INCHES: Final = (4.6, 3.2)


@dataclass(frozen=True)
class Panel:
    """What one panel shows. times_us: {kernel: [(tokens, median, low, high), ...]}, ascending by tokens."""

    title: str
    row: Row
    times_us: dict[str, list[tuple[int, float, float, float]]]


def draw(path: Path, table: Table, picture: Path) -> None:
    """Draws the samples beside the table in `path`. Raises MoesortTuneError without samples or without matplotlib."""
    panels = panels_of(path, table)
    pyplot = _matplotlib()
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


def panels_of(path: Path, table: Table) -> list[Panel]:
    """A panel for each measured row that has samples. Raises MoesortTuneError where none has."""
    sidecar = samples_path(path)
    if not sidecar.exists():
        raise MoesortTuneError(
            f"{sidecar} does not exist, and the picture is drawn from it; a sweep writes it beside the table"
        )
    samples = read_samples(sidecar)
    panels = [
        Panel(_title(entry, row), row, times)
        for entry in table.tables
        for row in entry.rows
        if (times := _times(samples, table.arch, entry, row))
    ]
    if not panels:
        raise MoesortTuneError(f"{sidecar} holds no samples of the rows in {path}; sweep again to measure them")
    return panels


def _title(entry: Entry, row: Row) -> str:
    key = entry.key
    return f"{row.num_experts} experts, topk {row.topk}\n{key.compute_units} CUs, {key.provider}, {key.timing}"


def _times(
    samples: Iterable[Sample], arch: str, entry: Entry, row: Row
) -> dict[str, list[tuple[int, float, float, float]]]:
    """The latest sample of each kernel and token count that was taken for this row."""
    latest = {
        (sample.kernel, sample.tokens): (sample.tokens, sample.median_us, sample.low_us, sample.high_us)
        for sample in samples_behind(row, arch=arch, entry=entry, samples=samples)
    }
    times: dict[str, list[tuple[int, float, float, float]]] = {}
    for (kernel, _), point in sorted(latest.items()):
        times.setdefault(kernel, []).append(point)
    return times


def _matplotlib() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MoesortTuneError("--plot needs matplotlib; pip install matplotlib") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _draw_panel(axis: Any, panel: Panel) -> None:
    for kernel, points in panel.times_us.items():
        tokens, median, low, high = zip(*points, strict=True)
        axis.plot(tokens, median, marker=".", color=COLOURS.get(kernel), label=kernel)
        axis.fill_between(tokens, low, high, color=COLOURS.get(kernel), alpha=0.25, linewidth=0)
    for index, (first, last) in enumerate(panel.row.tie):
        span = {"color": "tab:gray", "alpha": 0.2, "linewidth": 0}
        axis.axvspan(first, max(last, first * 1.02), label="tie" if index == 0 else None, **span)
    for index, (first, _) in enumerate(panel.row.policy[1:]):
        axis.axvline(first, label="switch" if index == 0 else None, color="black", linestyle="--", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel="time (us)")
    _label_plainly(axis)
    axis.set_title(panel.title, fontsize=9)
    axis.legend(fontsize=8)


def _label_plainly(axis: Any) -> None:
    """Ticks at 1, 2, 5, 10, ... microseconds and at powers of ten of tokens, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
