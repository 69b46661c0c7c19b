"""Convert measurements to lines of the samples file, and lines back to points of a row."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from moesort_tune import __version__
from moesort_tune.domain.candidates import Limits, list_legal_kernels
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.statistics import Interval, round_value
from moesort_tune.measure.stopping import Comparison, StoppingRule
from moesort_tune.measure.verdict import Verdict, agree
from moesort_tune.sweep.cards import Card, format_card
from moesort_tune.sweep.samples import COLUMNS, Sample
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import Entry, Row
from moesort_tune.tables.schema import Sweep as SweepRecord


@dataclass(frozen=True)
class MeasuredPoint:
    """A token count of a row, with the times and the verdict of its measurement.

    times_us: median time of each kernel, in the candidates' order. noise: relative deviation of one round's ratio.
    settled: the stopping rule got its answer before a limit. rounds: those that counted; dropped: those in which the
    device's clock moved. confirmed: measured a second time, the verdict being what both agree on. day: when, None for
    this very sweep. Of several cards together: cards: how many; since: the oldest day; spread: how much longer the
    slowest card takes than the fastest, as a share, of the kernel where this is most.
    """

    times_us: dict[KernelName, float]
    verdict: Verdict
    noise: float
    settled: bool = True
    rounds: int = 0
    dropped: int = 0
    confirmed: bool = False
    day: datetime.date | None = None
    since: datetime.date | None = None
    cards: int = 1
    spread: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Time of the fastest kernel that lost over that of the fastest of all; None where none lost."""
        lost = [time for kernel, time in self.times_us.items() if kernel not in self.verdict.best]
        if not lost:
            return None
        best = min(self.times_us[kernel] for kernel in self.verdict.best)
        return min(max(time / best, best / time) for time in lost)


CardPoints = Mapping[Card, MeasuredPoint]
"""The points of one token count, by card."""


class Origin(NamedTuple):
    """Fields that all samples of one row share; settings: without seed and margin."""

    arch: str
    compute_units: int
    provider: str
    revision: str | None
    timing: str | None
    settings: str
    moe_buf: bool
    masked: bool
    device: str
    software: str
    device_id: str


@dataclass(frozen=True)
class Conditions:
    """Conditions under which a point was measured; samples of others are not taken for it."""

    facts: DeviceFacts
    settings: Settings
    margin: float

    def format_signature(self) -> str:
        """Return the text of the samples' column `settings`."""
        return f"{self.settings.format_signature()};margin={self.margin:g}"

    @property
    def software(self) -> dict[str, str]:
        """Versions by name, as a table records them."""
        facts = self.facts
        return {
            "hip": facts.hip,
            "driver": facts.driver,
            "compiler": facts.compiler,
            "moesort_tune": __version__,
        }

    @property
    def origin(self) -> Origin:
        """Fields that these conditions share with samples that count beside them."""
        facts = self.facts
        return Origin(
            facts.arch,
            facts.compute_units,
            facts.provider,
            facts.revision,
            self.settings.timing,
            self.settings.format_without_seed(),
            self.settings.moe_buf,
            self.settings.masked,
            facts.name,
            format_software(self.software),
            facts.device_id,
        )


def format_software(software: Mapping[str, str]) -> str:
    """Return the text of the samples' column `software`."""
    return ";".join(f"{name}={version}" for name, version in sorted(software.items()))


def get_origin(sample: Sample) -> Origin:
    """Return the origin of a line."""
    return Origin(
        sample.arch,
        sample.compute_units,
        sample.provider,
        sample.revision,
        sample.timing,
        get_settings(sample),
        sample.moe_buf,
        sample.masked,
        sample.device,
        sample.software,
        sample.device_id,
    )


def get_settings(sample: Sample) -> str:
    """Return the settings of a line without seed and margin."""
    return sample.settings.partition(";seed=")[0]


def build_settings(sweep: SweepRecord, *, seed: int) -> Settings:
    """Return the settings that a table records of a sweep."""
    return Settings(
        timing=sweep.timing,
        unit_size=sweep.unit_size,
        model_dim=sweep.model_dim,
        dtype=sweep.dtype,
        ep=sweep.ep,
        routing=sweep.routing,
        cold=sweep.cold,
        seed=seed,
        moe_buf=sweep.moe_buf,
    )


def find_origin(row: Row, *, arch: str, entry: Entry) -> Origin | None:
    """Return where the samples of a row come from, None for published figures."""
    sweep, key = row.sweep or entry.sweep, entry.key
    if sweep is None:
        return None
    return Origin(
        arch,
        key.compute_units,
        key.provider,
        key.revision,
        key.timing,
        build_settings(sweep, seed=0).format_without_seed(),
        sweep.moe_buf,
        sweep.masked,
        (row.device or entry.device).name,
        format_software(row.software or entry.software),
        key.product or "",
    )


def select_samples(row: Row, *, arch: str, entry: Entry, samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples that were taken for a row; those of old files, which know no device, count as its own."""
    origin = find_origin(row, arch=arch, entry=entry)
    if origin is None:
        return []
    origins = {origin, origin._replace(device="", software="", device_id="")}
    return [s for s in samples if (s.num_experts, s.topk) == row.shape and get_origin(s) in origins]


def build_point(measurement: Measurement) -> MeasuredPoint:
    """Return the part of a measurement that the table needs."""
    times_us = {kernel: interval.median for kernel, interval in measurement.times_us.items()}
    return MeasuredPoint(
        times_us,
        measurement.verdict,
        measurement.noise,
        settled=measurement.settled,
        rounds=measurement.rounds,
        dropped=measurement.dropped,
        confirmed=measurement.confirmed,
    )


def build_samples(
    measurement: Measurement,
    *,
    conditions: Conditions,
    shape: Shape,
    tokens: int,
    date: str,
    facts: DeviceFacts | None = None,
) -> list[Sample]:
    """Return one line for each kernel. facts: of the card, where it is another one than the conditions name."""
    facts, comparisons = facts or conditions.facts, measurement.stop.comparisons
    fastest = _choose_fastest(tuple(measurement.times_us), comparisons)
    shared = Sample(
        date=date,
        arch=facts.arch,
        compute_units=facts.compute_units,
        provider=facts.provider,
        revision=facts.revision,
        timing=conditions.settings.timing,
        num_experts=shape.num_experts,
        topk=shape.topk,
        tokens=tokens,
        kernel=fastest,
        median_us=0.0,
        low_us=0.0,
        high_us=0.0,
        samples=measurement.rounds,
        note=measurement.reason,
        settings=conditions.format_signature(),
        moe_buf=conditions.settings.moe_buf,
        masked=conditions.settings.masked,
        verdict="=".join(measurement.verdict.best),
        noise=round_value(measurement.noise),
        settled=measurement.settled,
        dropped=measurement.dropped,
        confirmed=measurement.confirmed,
        device=facts.name,
        device_id=facts.device_id,
        pci_address=facts.pci_address,
        host=facts.host,
        software=format_software(conditions.software),
    )
    timed = [_add_times(shared, kernel, interval) for kernel, interval in measurement.times_us.items()]
    return [line if line.kernel == fastest else _add_ratio(line, comparisons) for line in timed]


def _choose_fastest(order: Sequence[KernelName], comparisons: Sequence[Comparison]) -> KernelName:
    """Return the kernel that every comparison has; of the two in a single one that which took less time."""
    named = [name for one in comparisons for name in (one.first, one.second)]
    won = [one.first if one.ratio.median <= 1 else one.second for one in comparisons]
    return max(order, key=lambda name: (named.count(name), won.count(name)))


def _add_times(line: Sample, kernel: KernelName, times: Interval) -> Sample:
    times = times.round_values()
    return replace(line, kernel=kernel, median_us=times.median, low_us=times.low, high_us=times.high)


def _add_ratio(line: Sample, comparisons: Sequence[Comparison]) -> Sample:
    """Return the line with the comparison of its kernel and the fastest."""
    one = next(one for one in comparisons if line.kernel in (one.first, one.second))
    ratio = one.ratio.round_values()
    return replace(
        line,
        against=one.second if line.kernel == one.first else one.first,
        noise=round_value(one.noise),
        ratio=ratio.median,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
    )


def find_card_points(
    samples: Iterable[Sample], *, conditions: Conditions, shape: Shape, limits: Limits, any_seed: bool = False
) -> dict[int, dict[Card, MeasuredPoint]]:
    """Return the points of this shape that were measured whole under the same conditions, by token count and card.

    any_seed: also those that differ in seed or margin. Of each count a card has the latest, as find_points_of_origin
    says. Verdicts are those of the times, by the margin at hand.
    """
    signature = conditions.format_signature()
    by_card: dict[Card, list[Sample]] = {}
    for sample in samples:
        if any_seed or sample.settings == signature:
            by_card.setdefault(format_card(sample.host, sample.pci_address), []).append(sample)
    rule = StoppingRule(margin=conditions.margin)
    found: dict[int, dict[Card, MeasuredPoint]] = {}
    for card, taken in by_card.items():
        points = find_points_of_origin(conditions.origin, taken, shape=shape, limits=limits, rule=rule)
        for tokens, point in points.items():
            found.setdefault(tokens, {})[card] = point
    return found


def find_points_of_origin(
    origin: Origin, samples: Iterable[Sample], *, shape: Shape, limits: Limits, rule: StoppingRule
) -> dict[int, MeasuredPoint]:
    """Return the points of this shape and origin that were measured whole, judged by `rule`.

    Of each token count the latest that is settled, else the latest: one that ended at a limit, as in a sweep that had
    little time, says less than a settled one before it, unless it is that one's confirmation.
    """
    same = [
        sample
        for sample in samples
        if (sample.num_experts, sample.topk) == (shape.num_experts, shape.topk) and get_origin(sample) == origin
    ]
    points: dict[int, MeasuredPoint] = {}
    latest: dict[int, MeasuredPoint] = {}
    for lines in _group_measurements(same):
        tokens = lines[0].tokens
        of_kernel = {line.kernel: line for line in lines}
        order = list_legal_kernels(tokens, limits)
        if set(of_kernel) == set(order) and (comparisons := _build_comparisons(of_kernel, order)) is not None:
            inside = [of_kernel[kernel] for kernel in order]
            before, kept = latest.get(tokens), points.get(tokens)
            point = latest[tokens] = _build_point_of_lines(inside, comparisons, rule, before=before)
            confirms_kept = point.confirmed and before is kept
            if kept is None or point.settled or not kept.settled or confirms_kept:
                points[tokens] = point
    return points


def _group_measurements(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Yield lines that stand together and differ in the kernel alone: those that were written as one measurement."""
    lines: list[Sample] = []
    for sample in samples:
        if lines and (
            _get_shared_fields(lines[0]) != _get_shared_fields(sample)
            or sample.kernel in {line.kernel for line in lines}
        ):
            yield lines
            lines = []
        lines.append(sample)
    if lines:
        yield lines


_OWN: Final = ("kernel", "median_us", "low_us", "high_us", "noise", "against", "ratio", "ratio_low", "ratio_high")
"""Columns in which the lines of one measurement differ."""

_SHARED: Final = tuple(column for column in COLUMNS if column not in _OWN)


def _get_shared_fields(sample: Sample) -> tuple[object, ...]:
    return tuple(getattr(sample, column) for column in _SHARED)


def _build_comparisons(lines: Mapping[KernelName, Sample], order: Sequence[KernelName]) -> list[Comparison] | None:
    """Return the comparisons of the fastest kernel with each other one; None where the lines contradict each other."""
    alone = [line for line in lines.values() if not line.against]
    if len(alone) != 1:
        return None
    fastest = alone[0]
    comparisons = [_build_comparison(lines, line, order) for line in lines.values() if line is not fastest]
    found = [one for one in comparisons if one is not None and fastest.kernel in (one.first, one.second)]
    noise_fits = not found or fastest.noise == max(one.noise for one in found)
    return found if len(found) == len(comparisons) and fastest.ratio is None and noise_fits else None


def _build_comparison(
    lines: Mapping[KernelName, Sample], line: Sample, order: Sequence[KernelName]
) -> Comparison | None:
    """Return the comparison that a line holds; None where it has none or its times say otherwise."""
    if line.ratio is None or line.ratio_low is None or line.ratio_high is None or line.against not in lines:
        return None
    first, second = sorted((line.kernel, line.against), key=order.index)
    low, high = lines[first].low_us / lines[second].high_us, lines[first].high_us / lines[second].low_us
    if low > line.ratio_high * ROUNDING or line.ratio_low > high * ROUNDING:
        return None
    return Comparison(first, second, Interval(line.ratio, line.ratio_low, line.ratio_high), line.noise)


ROUNDING: Final = 1.0001
"""Largest error of three numbers of five digits."""


def _build_point_of_lines(
    lines: Sequence[Sample], comparisons: Sequence[Comparison], rule: StoppingRule, before: MeasuredPoint | None
) -> MeasuredPoint:
    """Return the point, judged by its times.

    lines: in the candidates' order. What confirmed a measurement that is not there is one on its own.
    """
    one, order = lines[0], tuple(line.kernel for line in lines)
    verdict, decided = rule.weigh(order, comparisons, one.samples)
    confirmed = one.confirmed and before is not None and not before.confirmed
    if confirmed and before is not None:
        verdict = agree(order, before.verdict, verdict)
    return MeasuredPoint(
        {line.kernel: line.median_us for line in lines},
        verdict,
        max(line.noise for line in lines),
        settled=one.settled and (decided or len(lines) == 1),
        rounds=one.samples,
        dropped=one.dropped,
        confirmed=confirmed,
        day=datetime.date.fromisoformat(one.date),
    )
