"""Collect what `show --plot` and `report` draw of each row: measured curves, choices, and the cost of AITER's rule."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from moesort_tune.cli.colours import Colours, choose_colours
from moesort_tune.cli.row_text import list_measured_steps
from moesort_tune.domain.candidates import choose_legal
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.aiter_rule import compute_aiter_oneshot_max_tokens
from moesort_tune.sweep.records import select_samples
from moesort_tune.sweep.rows import choose_by_aiter_rule
from moesort_tune.sweep.samples import Sample, get_samples_path, read_samples
from moesort_tune.tables.candidates import list_names
from moesort_tune.tables.schema import Entry, Row, Table

TOKEN_TICKS: Final = tuple(4**power for power in range(13))
RATIO_TICKS: Final = (1, 1.2, 1.5, 2, 3, 4, 6, 8)

_LOWEST: Final = 0.93
_HIGHEST: Final = 3.0
"""Ratio at which the common axis ends, unless AITER's rule costs more; a kernel that lost by more leaves the panel."""

_LABEL_APART: Final = 1.3
"""Ratio of the token counts of two switches from which their labels do not overlap."""


class Range(NamedTuple):
    """A median and its interval."""

    median: float
    low: float
    high: float


class CurvePoint(NamedTuple):
    """A kernel at one token count. ratio: its time over that of the fastest kernel there."""

    tokens: int
    time_us: Range
    ratio: Range


@dataclass(frozen=True)
class Panel:
    """A row with its curves: {kernel: points ascending by tokens}, in the candidates' order."""

    entry: Entry
    row: Row
    curves: dict[KernelName, list[CurvePoint]]

    @property
    def title(self) -> str:
        """The shape, and what sets its entry apart from the usual one."""
        key = self.entry.key
        unusual = [*key.list_unusual(), *(["launched one by one"] if key.timing == "eager" else [])]
        return ", ".join([f"{self.row.num_experts} experts, topk {self.row.topk}", *unusual])

    @property
    def aiter_last_oneshot(self) -> int | None:
        """The last token count for which AITER's rule takes oneshot, 0 for none; None where the rule is not judged."""
        return None if self.row.evidence.rule_loss is None else compute_aiter_oneshot_max_tokens(self.row.num_experts)

    @property
    def aiter_switch(self) -> int | None:
        """The first token count for which AITER's rule takes multiphase; None if that was not swept."""
        last, (begin, end) = self.aiter_last_oneshot, self.row.swept_range
        return last + 1 if last is not None and begin <= last < end else None

    def list_labelled_switches(self) -> Iterator[int]:
        """Yield the table's switches, without those whose labels would cover the one before."""
        labelled = 0
        for first, _, _ in list_measured_steps(self.row)[1:]:
            if first > _LABEL_APART * labelled:
                yield first
                labelled = first

    @cached_property
    def aiter_curve(self) -> list[tuple[int, float]]:
        """The cost of AITER's rule by measured token count: the time of its choice over that of the fastest kernel."""
        if self.aiter_last_oneshot is None:
            return []
        limits = {name: self.row.get_limit(name) for name in list_names(self.entry)}
        ratios = {(name, point.tokens): point.ratio.median for name, points in self.curves.items() for point in points}
        shape = Shape(self.row.num_experts, self.row.topk)
        choices = {
            tokens: choose_legal(choose_by_aiter_rule(shape, tokens), tokens, limits)
            for tokens in sorted({tokens for _, tokens in ratios})
        }
        return [(tokens, ratios[name, tokens]) for tokens, name in choices.items() if (name, tokens) in ratios]


def read_panels(path: Path, table: Table) -> list[Panel]:
    """Return a panel for each row that has samples beside the table. Raise MoesortTuneError where none has."""
    sidecar = get_samples_path(path)
    if not sidecar.exists():
        raise MoesortTuneError(
            f"{sidecar} does not exist, and the curves are drawn from it; a sweep writes it beside the table"
        )
    samples = read_samples(sidecar)
    panels = [
        Panel(entry, row, curves)
        for entry in table.tables
        for row in entry.rows
        if (curves := build_curves(select_samples(row, arch=table.arch, entry=entry, samples=samples), entry))
    ]
    if not panels:
        raise MoesortTuneError(f"{sidecar} holds no samples of the rows in {path}; sweep again to measure them")
    return panels


def build_title(panels: Sequence[Panel]) -> str:
    """Return device, dates and revisions of the entries that are drawn."""
    entries = list({panel.entry.key: panel.entry for panel in panels}.values())
    devices = dict.fromkeys(entry.device.name for entry in entries)
    dates = sorted({str(sweep.date) for panel in panels if (sweep := panel.row.sweep or panel.entry.sweep)})
    kernels = dict.fromkeys(_describe_kernels(entry) for entry in entries)
    return " · ".join((", ".join(devices), " to ".join(dict.fromkeys((dates[0], dates[-1]))), ", ".join(kernels)))


def _describe_kernels(entry: Entry) -> str:
    operation = "" if entry.operation == SORTING else f" for {entry.operation}"
    return f"{entry.kernels.provider} kernels {entry.kernels.revision}{operation}"


def choose_panel_colours(panels: Iterable[Panel]) -> Colours:
    """Return a colour for each kernel that has a curve or is chosen."""
    chosen = ((*panel.curves, *(kernel for _, _, kernel in list_measured_steps(panel.row))) for panel in panels)
    return choose_colours(dict.fromkeys(name for names in chosen for name in names))


def find_ratio_limits(panels: Iterable[Panel]) -> tuple[float, float]:
    """Return the ends of the axis that the ratios of all panels share."""
    return _LOWEST, max([_HIGHEST, *(1.1 * (panel.row.evidence.rule_loss or 1.0) for panel in panels)])


def build_curves(samples: Iterable[Sample], entry: Entry) -> dict[KernelName, list[CurvePoint]]:
    """Return the latest point of each kernel and token count."""
    order = list_names(entry)
    by_tokens: dict[int, dict[KernelName, Sample]] = {}
    for sample in samples:
        by_tokens.setdefault(sample.tokens, {})[sample.kernel] = sample
    curves: dict[KernelName, list[CurvePoint]] = {name: [] for name in order}
    for _, lines in sorted(by_tokens.items()):
        for point, name in _build_points(lines, order):
            curves[name].append(point)
    return {name: points for name, points in curves.items() if points}


def _build_points(
    lines: dict[KernelName, Sample], order: Sequence[KernelName]
) -> Iterator[tuple[CurvePoint, KernelName]]:
    fastest = min(lines.values(), key=lambda line: (bool(line.against), line.median_us))
    for name, line in lines.items():
        ratio = Range(1.0, 1.0, 1.0) if line is fastest else _compute_ratio(line, fastest, order)
        yield CurvePoint(line.tokens, Range(line.median_us, line.low_us, line.high_us), ratio), name


def _compute_ratio(line: Sample, fastest: Sample, order: Sequence[KernelName]) -> Range:
    """Return the time of a line over that of the fastest kernel: as it was compared, else from both intervals."""
    if line.against != fastest.kernel or line.ratio is None or line.ratio_low is None or line.ratio_high is None:
        return Range(line.median_us / fastest.median_us, line.low_us / fastest.high_us, line.high_us / fastest.low_us)
    if order.index(line.kernel) < order.index(fastest.kernel):
        return Range(line.ratio, line.ratio_low, line.ratio_high)
    return Range(1 / line.ratio, 1 / line.ratio_high, 1 / line.ratio_low)
