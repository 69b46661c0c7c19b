"""Compare the times of two sweeps, point by point: every kernel at every token count that both have measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Final, NamedTuple

from moesort_tune.domain.pairing import pair_keys
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, Condition, KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.change import Change, judge_change
from moesort_tune.measure.statistics import Interval, compute_interval_rank, compute_ratio_interval
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.sweep.cards import Card, format_card
from moesort_tune.sweep.environment import Environment, collect_environment
from moesort_tune.sweep.records import get_settings, select_samples
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.samples import Sample, get_samples_path, read_samples
from moesort_tune.tables.files import load

SAMPLES_SUFFIX: Final = ".csv"


class Series(NamedTuple):
    """Lines that were measured alike, whatever the kernels' revision. device: architecture, compute units, id."""

    provider: str
    timing: str
    condition: Condition
    settings: str
    device: tuple[str, int, str]

    def __str__(self) -> str:
        operation = find_operation(self.provider)
        return f"{self.provider}, {self.timing}, {self.condition if operation == SORTING else operation}"


class Place(NamedTuple):
    """Identifies a line in its series."""

    shape: Shape
    tokens: int
    kernel: KernelName


Places = Mapping[Place, Mapping[Card, Sample]]
"""The last line of each card at each place."""


@dataclass(frozen=True)
class ComparedPoint:
    """The time of a kernel at one token count in both sweeps. ratio: that of the second over that of the first.

    card: on which the second was measured.
    """

    provider: str
    row: RowKey
    tokens: int
    kernel: KernelName
    card: Card
    before_us: Interval
    after_us: Interval
    ratio: Interval
    change: Change

    def __str__(self) -> str:
        return f"{self.row}, {self.tokens} tokens, {self.kernel}"


@dataclass(frozen=True)
class Missing:
    """Rows and points of one sweep alone. points: those of rows that both have, whose token counts differ."""

    rows: Mapping[str, tuple[Shape, ...]]
    points: int


@dataclass(frozen=True)
class KernelSummary:
    """All points of one kernel. mean: geometric mean of the ratios."""

    provider: str
    kernel: KernelName
    counts: Mapping[Change, int]
    mean: float

    @property
    def points(self) -> int:
        """Return the number of points."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class SweepComparison:
    """Two sweeps side by side. before, after: where the compared points were measured."""

    points: tuple[ComparedPoint, ...]
    before: Environment
    after: Environment
    only_before: Missing
    only_after: Missing

    def summarize(self) -> list[KernelSummary]:
        """Return a summary of each kernel, in the order in which they were measured."""
        of_kernel: dict[tuple[str, KernelName], list[ComparedPoint]] = {}
        for point in self.points:
            of_kernel.setdefault((point.provider, point.kernel), []).append(point)
        return [
            KernelSummary(
                *name,
                {change: sum(point.change is change for point in points) for change in Change},
                geometric_mean(point.ratio.median for point in points),
            )
            for name, points in of_kernel.items()
        ]

    def select(self, change: Change) -> list[ComparedPoint]:
        """Return the points of one answer, the largest difference first."""
        found = [point for point in self.points if point.change is change]
        return sorted(found, key=lambda point: -abs(math.log(point.ratio.median)))


def read_sweep(path: Path) -> list[Sample]:
    """Return the samples of a file of samples, or those on which the rows of a table rest.

    Of a file of samples that of the newest revision of each series count. Raise MoesortTuneError where there are none.
    """
    is_table = path.suffix != SAMPLES_SUFFIX
    file = get_samples_path(path) if is_table else path
    samples = read_samples(file)
    selected = _select_of_table(path, samples) if is_table else samples
    if not selected:
        of_rows = f" of the rows of {path}" if is_table else ""
        raise MoesortTuneError(
            f"there are no samples{of_rows} in {file}; name a file of samples, or a table with one beside it"
        )
    return selected


def _select_of_table(path: Path, samples: Sequence[Sample]) -> list[Sample]:
    table = load(path)
    return [
        sample
        for entry in table.tables
        for row in entry.rows
        for sample in select_samples(row, arch=table.arch, entry=entry, samples=samples)
    ]


def compare_samples(before: Iterable[Sample], after: Iterable[Sample], threshold: float) -> SweepComparison:
    """Compare the last measurement of each point on each card in both. threshold: relative difference to look for.

    Lines of other settings or of another device are compared where there are no others to choose from, and lines of
    different cards of one device where no card has measured the point in both.
    """
    old, new = _group(before), _group(after)
    partner = pair_keys(old.keys(), new.keys(), (_drop_device, _drop_settings, _drop_both))
    pairs = [
        (series, *lines)
        for series, places in old.items()
        if series in partner
        for place, cards in places.items()
        for lines in _pair_lines(cards, new[partner[series]].get(place, {}))
    ]
    backwards = {second: first for first, second in partner.items()}
    return SweepComparison(
        tuple(_compare_lines(series, first, second, threshold) for series, first, second in pairs),
        collect_environment(first for _, first, _ in pairs),
        collect_environment(second for _, _, second in pairs),
        _find_missing(old, new, partner),
        _find_missing(new, old, backwards),
    )


def _group(samples: Iterable[Sample]) -> dict[Series, Places]:
    """Return the last line of each card at each place, of the revision that each series ends with."""
    series: dict[Series, list[Sample]] = {}
    for sample in samples:
        series.setdefault(_get_series(sample), []).append(sample)
    return {key: _group_by_place(lines) for key, lines in series.items()}


def _group_by_place(lines: Sequence[Sample]) -> Places:
    places: dict[Place, dict[Card, Sample]] = {}
    for line in lines:
        if line.revision == lines[-1].revision:
            places.setdefault(_get_place(line), {})[_get_card(line)] = line
    return places


def _pair_lines(before: Mapping[Card, Sample], after: Mapping[Card, Sample]) -> list[tuple[Sample, Sample]]:
    """Return the lines of each card that both have, else one of each, where both have any."""
    shared = [(line, after[card]) for card, line in before.items() if card in after]
    return shared or list(zip(list(before.values())[:1], list(after.values())[:1], strict=False))


def _get_card(sample: Sample) -> Card:
    return format_card(sample.host, sample.pci_address)


def _get_series(sample: Sample) -> Series:
    return Series(
        sample.provider,
        sample.timing,
        Condition(sample.moe_buf, sample.masked),
        get_settings(sample),
        (sample.arch, sample.compute_units, sample.device_id),
    )


def _get_place(sample: Sample) -> Place:
    return Place(Shape(sample.num_experts, sample.topk), sample.tokens, sample.kernel)


def _drop_device(series: Series) -> Series:
    return series._replace(device=("", 0, ""))


def _drop_settings(series: Series) -> Series:
    return series._replace(settings="")


def _drop_both(series: Series) -> Series:
    return _drop_settings(_drop_device(series))


def _compare_lines(series: Series, before: Sample, after: Sample, threshold: float) -> ComparedPoint:
    before_us, after_us = (Interval(line.median_us, line.low_us, line.high_us) for line in (before, after))
    ratio = compute_ratio_interval(over=after_us, under=before_us)
    enough = all(map(_has_confidence, (before, after)))
    return ComparedPoint(
        series.provider,
        RowKey(_get_place(before).shape, series.condition, operation=find_operation(series.provider)),
        before.tokens,
        before.kernel,
        _get_card(after),
        before_us,
        after_us,
        ratio,
        judge_change(ratio, threshold) if enough else Change.AMBIGUOUS,
    )


def _has_confidence(sample: Sample) -> bool:
    """Return whether a line rests on so many rounds that its interval encloses the median with confidence."""
    return compute_interval_rank(sample.samples, StoppingRule().confidence) > 0


def _find_missing(
    here: Mapping[Series, Places],
    there: Mapping[Series, Places],
    partner: Mapping[Series, Series],
) -> Missing:
    """Return what is here and not there. A series without a partner is named with its settings."""
    rows: dict[str, tuple[Shape, ...]] = {}
    points = 0
    for series, lines in here.items():
        others = there[partner[series]] if series in partner else {}
        shapes = {place.shape for place in others}
        name = str(series) if series in partner else f"{series} ({series.settings})"
        if alone := {place.shape for place in lines} - shapes:
            rows[name] = tuple(sorted({*rows.get(name, ()), *alone}))
        points += sum(place.shape in shapes and place not in others for place in lines)
    return Missing(rows, points)
