"""Between what the engine measured and the lines of the samples file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from moesort_tune.sorting.problem import KERNELS, KernelName
from moesort_tune.tuning.messages import DeviceFacts
from moesort_tune.tuning.samples import Sample
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.timing import Measurement
from moesort_tune.tuning.verdict import MULTIPHASE, ONESHOT, Verdict

CONFIRMED: Final = "both times"
"""What the note of a point says that was measured a second time."""


@dataclass(frozen=True)
class MeasuredPoint:
    """What a row of the table is made from.

    times_us: median time of each kernel. noise: relative deviation of one round's ratio. settled: the stopping rule
    got its answer before a limit. rounds: those that counted; dropped: those in which the device's clock moved.
    confirmed: measured a second time, the verdict being what both agree on.
    """

    times_us: dict[KernelName, float]
    verdict: Verdict
    noise: float
    settled: bool = True
    rounds: int = 0
    dropped: int = 0
    confirmed: bool = False

    @property
    def ratio(self) -> float | None:
        """oneshot's time over multiphase's, None where one kernel alone was timed."""
        if len(self.times_us) < len(KERNELS):
            return None
        return self.times_us[ONESHOT] / self.times_us[MULTIPHASE]


@dataclass(frozen=True)
class Conditions:
    """Under what a point was measured; samples of other conditions are not taken for it."""

    facts: DeviceFacts
    settings: Settings
    margin: float

    def signature(self) -> str:
        """The text of the samples' column `settings`."""
        return f"{self.settings.signature()};margin={self.margin:g}"


def point_of(measurement: Measurement) -> MeasuredPoint:
    """The part of a measurement that the table needs."""
    times_us = {kernel: interval.median for kernel, interval in measurement.times_us.items()}
    return MeasuredPoint(
        times_us,
        measurement.verdict,
        measurement.noise,
        settled=measurement.stop is None or measurement.stop.decided,
        rounds=measurement.rounds,
        dropped=measurement.dropped,
        confirmed=CONFIRMED in measurement.reason,
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
            median_us=_rounded(interval.median),
            low_us=_rounded(interval.low),
            high_us=_rounded(interval.high),
            samples=measurement.rounds,
            note=_note(measurement),
            settings=conditions.signature(),
            verdict=measurement.verdict.value,
            noise=_rounded(measurement.noise),
            ratio=_rounded(ratio.median) if ratio else None,
            ratio_low=_rounded(ratio.low) if ratio else None,
            ratio_high=_rounded(ratio.high) if ratio else None,
        )
        for kernel, interval in measurement.times_us.items()
    ]


def points_in(
    samples: Iterable[Sample], *, conditions: Conditions, shape: Shape, oneshot_max_tokens: int
) -> dict[int, MeasuredPoint]:
    """Points of this shape that were measured whole under the same conditions, the latest of each token count."""
    lines: dict[int, dict[str, Sample]] = {}
    for sample in samples:
        if _is_under(sample, conditions) and (sample.num_experts, sample.topk) == (shape.num_experts, shape.topk):
            lines.setdefault(sample.tokens, {})[sample.kernel] = sample
    return {
        tokens: _point_of_lines(of_kernels)
        for tokens, of_kernels in lines.items()
        if len(of_kernels) == (2 if tokens <= oneshot_max_tokens else 1)
    }


def _is_under(sample: Sample, conditions: Conditions) -> bool:
    facts = conditions.facts
    return (sample.arch, sample.compute_units, sample.provider, sample.revision, sample.timing, sample.settings) == (
        facts.arch,
        facts.compute_units,
        facts.provider,
        facts.revision,
        conditions.settings.timing,
        conditions.signature(),
    )


def _point_of_lines(lines: Mapping[str, Sample]) -> MeasuredPoint:
    one = next(iter(lines.values()))
    times_us: dict[KernelName, float] = {}
    for sample in lines.values():
        times_us["oneshot" if sample.kernel == "oneshot" else "multiphase"] = sample.median_us
    return MeasuredPoint(times_us, Verdict(one.verdict), one.noise, confirmed=CONFIRMED in one.note)


def _note(measurement: Measurement) -> str:
    if not measurement.dropped:
        return measurement.reason
    return f"{measurement.reason}; {measurement.dropped} dropped: clock moved"


def _rounded(value: float) -> float:
    """Five significant digits: timings have no more, and files stay readable."""
    return float(f"{value:.5g}")
