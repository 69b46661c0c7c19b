"""Between what the engine measured and the lines of the samples file."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from moesort_tune import __version__
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.statistics import Interval, rounded
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict, agreed
from moesort_tune.sorting.problem import KERNELS
from moesort_tune.sweep.samples import Sample
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import Entry, Row
from moesort_tune.tables.schema import Sweep as SweepRecord


@dataclass(frozen=True)
class MeasuredPoint:
    """What a row of the table is made from.

    times_us: median time of each kernel. noise: relative deviation of one round's ratio. settled: the stopping rule
    got its answer before a limit. rounds: those that counted; dropped: those in which the device's clock moved.
    confirmed: measured a second time, the verdict being what both agree on. day: when, None for this very sweep.
    """

    times_us: dict[KernelName, float]
    verdict: Verdict
    noise: float
    settled: bool = True
    rounds: int = 0
    dropped: int = 0
    confirmed: bool = False
    day: datetime.date | None = None

    @property
    def ratio(self) -> float | None:
        """oneshot's time over multiphase's, None where one kernel alone was timed."""
        if len(self.times_us) < len(KERNELS):
            return None
        return self.times_us[ONESHOT] / self.times_us[MULTIPHASE]


class Origin(NamedTuple):
    """What samples have in common that may stand in one row; settings: without seed and margin."""

    arch: str
    compute_units: int
    provider: str
    revision: str | None
    timing: str | None
    settings: str
    device: str
    software: str


@dataclass(frozen=True)
class Conditions:
    """Under what a point was measured; samples of other conditions are not taken for it."""

    facts: DeviceFacts
    settings: Settings
    margin: float

    def signature(self) -> str:
        """The text of the samples' column `settings`."""
        return f"{self.settings.signature()};margin={self.margin:g}"

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
        """What these conditions share with samples that count beside them."""
        facts = self.facts
        return Origin(
            facts.arch,
            facts.compute_units,
            facts.provider,
            facts.revision,
            self.settings.timing,
            self.settings.without_seed(),
            facts.name,
            software_text(self.software),
        )


def software_text(software: Mapping[str, str]) -> str:
    """The text of the samples' column `software`."""
    return ";".join(f"{name}={version}" for name, version in sorted(software.items()))


def origin_of(sample: Sample) -> Origin:
    """Where a line comes from."""
    return Origin(
        sample.arch,
        sample.compute_units,
        sample.provider,
        sample.revision,
        sample.timing,
        sample.settings.partition(";seed=")[0],
        sample.device,
        sample.software,
    )


def settings_of(sweep: SweepRecord, *, seed: int) -> Settings:
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
    )


def origin_behind(row: Row, *, arch: str, entry: Entry) -> Origin | None:
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
        settings_of(sweep, seed=0).without_seed(),
        (row.device or entry.device).name,
        software_text(row.software or entry.software),
    )


def samples_behind(row: Row, *, arch: str, entry: Entry, samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples that were taken for a row; those of old files, which know no device, count as its own."""
    origin = origin_behind(row, arch=arch, entry=entry)
    if origin is None:
        return []
    origins = {origin, origin._replace(device="", software="")}
    return [s for s in samples if (s.num_experts, s.topk) == row.shape and origin_of(s) in origins]


def point_of(measurement: Measurement) -> MeasuredPoint:
    """The part of a measurement that the table needs."""
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


def samples_of(
    measurement: Measurement, *, conditions: Conditions, shape: Shape, tokens: int, date: str
) -> list[Sample]:
    """One line for each kernel."""
    ratio = measurement.stop.ratio if measurement.stop else None
    return [
        Sample(
            date=date,
            arch=conditions.facts.arch,
            compute_units=conditions.facts.compute_units,
            provider=conditions.facts.provider,
            revision=conditions.facts.revision,
            timing=conditions.settings.timing,
            num_experts=shape.num_experts,
            topk=shape.topk,
            tokens=tokens,
            kernel=kernel,
            median_us=rounded(interval.median),
            low_us=rounded(interval.low),
            high_us=rounded(interval.high),
            samples=measurement.rounds,
            note=measurement.reason,
            settings=conditions.signature(),
            verdict=measurement.verdict.value,
            noise=rounded(measurement.noise),
            ratio=rounded(ratio.median) if ratio else None,
            ratio_low=rounded(ratio.low) if ratio else None,
            ratio_high=rounded(ratio.high) if ratio else None,
            settled=measurement.settled,
            dropped=measurement.dropped,
            confirmed=measurement.confirmed,
            device=conditions.facts.name,
            software=software_text(conditions.software),
        )
        for kernel, interval in measurement.times_us.items()
    ]


def points_in(
    samples: Iterable[Sample], *, conditions: Conditions, shape: Shape, oneshot_max_tokens: int, any_seed: bool = False
) -> dict[int, MeasuredPoint]:
    """Points of this shape that were measured whole under the same conditions, the latest of each token count.

    any_seed: also those that differ in seed or margin. Verdicts are those of the times, by the margin at hand.
    """
    signature = conditions.signature()
    taken = (sample for sample in samples if any_seed or sample.settings == signature)
    rule = StoppingRule(margin=conditions.margin)
    return points_from(conditions.origin, taken, shape=shape, oneshot_max_tokens=oneshot_max_tokens, rule=rule)


def points_from(
    origin: Origin, samples: Iterable[Sample], *, shape: Shape, oneshot_max_tokens: int, rule: StoppingRule
) -> dict[int, MeasuredPoint]:
    """Points of this shape and origin that were measured whole, the latest of each token count, judged by `rule`."""
    same = [
        sample
        for sample in samples
        if (sample.num_experts, sample.topk) == (shape.num_experts, shape.topk) and origin_of(sample) == origin
    ]
    points: dict[int, MeasuredPoint] = {}
    for lines in _measurements(same):
        tokens = lines[0].tokens
        if _is_whole(lines, oneshot_max_tokens):
            points[tokens] = _point_of_lines(lines, rule, before=points.get(tokens))
    return points


def _measurements(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Lines that stand together and differ in the kernel and its times alone: what was written as one measurement."""
    lines: list[Sample] = []
    for sample in samples:
        if lines and (_shared(lines[0]) != _shared(sample) or sample.kernel in {line.kernel for line in lines}):
            yield lines
            lines = []
        lines.append(sample)
    if lines:
        yield lines


def _shared(sample: Sample) -> Sample:
    return replace(sample, kernel="", median_us=0, low_us=0, high_us=0)


def _is_whole(lines: Sequence[Sample], oneshot_max_tokens: int) -> bool:
    """Whether every legal kernel has its line, and the ratio does not contradict the times."""
    of_kernel = {line.kernel: line for line in lines}
    legal = set(KERNELS) if lines[0].tokens <= oneshot_max_tokens else {MULTIPHASE}
    if set(of_kernel) != legal:
        return False
    ratio = _ratio(lines[0])
    if ratio is None or len(legal) == 1:
        return ratio is None and len(legal) == 1
    one, other = of_kernel[ONESHOT], of_kernel[MULTIPHASE]
    low, high = one.low_us / other.high_us, one.high_us / other.low_us
    return low <= ratio.high * ROUNDING and ratio.low <= high * ROUNDING


ROUNDING = 1.0001
"""What five digits of three numbers come to at most."""


def _ratio(line: Sample) -> Interval | None:
    if line.ratio is None or line.ratio_low is None or line.ratio_high is None:
        return None
    return Interval(line.ratio, line.ratio_low, line.ratio_high)


def _point_of_lines(lines: Sequence[Sample], rule: StoppingRule, before: MeasuredPoint | None) -> MeasuredPoint:
    """The point, judged by its times; what confirmed a measurement that is not there is one on its own."""
    one = lines[0]
    times_us: dict[KernelName, float] = {k: line.median_us for k in KERNELS for line in lines if line.kernel == k}
    ratio = _ratio(one)
    verdict, decided = (Verdict.MULTIPHASE, True) if ratio is None else rule.weigh(ratio, one.noise, one.samples)
    confirmed = one.confirmed and before is not None and not before.confirmed
    if confirmed and before is not None:
        verdict = agreed(before.verdict, verdict)
    return MeasuredPoint(
        times_us,
        verdict,
        one.noise,
        settled=one.settled and decided,
        rounds=one.samples,
        dropped=one.dropped,
        confirmed=confirmed,
        day=datetime.date.fromisoformat(one.date),
    )
