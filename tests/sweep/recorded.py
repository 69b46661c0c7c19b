"""A worker whose kernels take the times that an H100 had, by a clock that only its work moves.

`python -m tests.sweep.recorded` prints the regret of a sweep of the default shapes after some seconds of that clock.
"""

import bisect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from statistics import mean
from typing import Final

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.presets import CONDITIONS, MASKED_RANKS, list_default_shapes
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import DEFAULT_TOKENS, Condition, KernelName
from moesort_tune.measure.engine import Engine
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.facts import registry
from moesort_tune.providers.work.base import limits_of
from moesort_tune.shipped import get_tables_folder
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.runner import Sweep, SweepResult
from moesort_tune.sweep.samples import read_samples
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.messages import CheckRequest, DeviceFacts, Measured, MeasureRequest
from moesort_tune.tables.schema import LaunchGaps
from tests.measure.synthetic import SyntheticTimer
from tests.sweep.fakes import ListListener, ListSink

POINT_SECONDS: Final = 0.01
"""What preparing and checking a point cost. Invented, as is the next: with both, the default shapes take about as long
as the H100 took, 73 s."""

SAMPLE_SECONDS: Final = 0.0003
"""A graph of 200 us, and what the host does around it."""

NOISE: Final = 0.005

FACTS: Final = DeviceFacts(
    name="NVIDIA H100 80GB HBM3",
    arch="sm_90",
    compute_units=132,
    wavefront_size=32,
    lds_bytes=232448,
    runtime="cuda",
    hip="13.0.0",
    driver="13.0.0",
    compiler="none",
    provider="builtin",
    revision="recorded",
)


@cache
def read_times() -> dict[tuple[Shape, Condition], dict[KernelName, dict[int, float]]]:
    """Return the recorded times by row, kernel and token count."""
    times: dict[tuple[Shape, Condition], dict[KernelName, dict[int, float]]] = {}
    for sample in read_samples(get_tables_folder() / "sm_90.samples.csv"):
        if (sample.timing, sample.provider) != ("graph", FACTS.provider):
            continue
        row = Shape(sample.num_experts, sample.topk), Condition(sample.moe_buf, sample.masked)
        times.setdefault(row, {}).setdefault(sample.kernel, {})[sample.tokens] = sample.median_us
    return times


def compute_times(shape: Shape, condition: Condition, tokens: int) -> dict[KernelName, float]:
    """Return the time of each legal kernel; between recorded token counts on a straight line of the logarithms."""
    legal = compute_limits(shape)
    recorded = read_times()[shape, condition]
    return {kernel: _interpolate(recorded[kernel], tokens) for kernel, last in legal.items() if tokens <= last}


@cache
def compute_limits(shape: Shape) -> Limits:
    """Return the limits of the kernels on that GPU."""
    return limits_of(registry.get_facts("builtin"), shape, FACTS.limits)


def _interpolate(times: Mapping[int, float], tokens: int) -> float:
    if tokens in times:
        return times[tokens]
    counts = sorted(times)
    place = min(max(bisect.bisect(counts, tokens), 1), len(counts) - 1)
    low, high = counts[place - 1 : place + 1]
    part = math.log(tokens / low) / math.log(high / low)
    return math.exp((1 - part) * math.log(times[low]) + part * math.log(times[high]))


@dataclass
class WorkClock:
    """A clock in seconds that work moves."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class WatchedTimer(SyntheticTimer):
    """A timer each of whose samples takes its time."""

    clock: WorkClock = field(default_factory=WorkClock)

    def sample(self, name: str, variant: int) -> float:
        """Return a sample."""
        self.clock.now += SAMPLE_SECONDS
        return super().sample(name, variant)


@dataclass
class RecordedWorker:
    """Measure what was recorded."""

    clock: WorkClock
    facts: DeviceFacts = FACTS
    points: int = 0

    def limits(self, shape: Shape) -> Limits:
        """Return those of that GPU."""
        return compute_limits(shape)

    def check(self, request: CheckRequest) -> None:
        """Take the time of a check."""
        del request
        self.clock.now += POINT_SECONDS

    def measure(self, request: MeasureRequest) -> Measured:
        """Run the real engine on recorded times."""
        self.clock.now += POINT_SECONDS
        self.points += 1
        all_us = compute_times(request.shape, request.settings.condition, request.tokens)
        times_us = {kernel: all_us[kernel] for kernel in request.kernels}
        seed = request.settings.seed * 1000 + request.tokens
        timer = WatchedTimer(times_us, noise=NOISE, seed=seed, clock=self.clock)
        engine = Engine(timer, request.kernels, seed=request.settings.seed, rule=request.rule, clock=self.clock)
        return Measured(engine.measure(), times_us)

    def measure_launch_gaps(self) -> LaunchGaps:
        """Return anything."""
        return LaunchGaps(graph=1.0, replay=1.5, eager=4.0)

    def close(self) -> None:
        """Hold nothing."""


def sweep_for(seconds: float | None) -> tuple[SweepResult, RecordedWorker]:
    """Sweep the default shapes for so many seconds of a clock that starts at 0."""
    worker = RecordedWorker(WorkClock())
    settings = tuple(Settings(moe_buf=one.moe_buf, ep=MASKED_RANKS if one.masked else 1) for one in CONDITIONS.values())
    plan = SweepPlan(
        list_default_shapes("sm_90"), TokenRange(*DEFAULT_TOKENS), settings, StoppingRule(), time_budget_s=seconds
    )
    sinks = [ListSink() for _ in settings]
    sweep = Sweep(plan, workers=[worker], sinks=sinks, listener=ListListener(), clock=worker.clock)
    return sweep.run(), worker


def compute_losses(result: SweepResult) -> dict[RowKey, float]:
    """Return by row what its choices lose in the mean over token counts, which every power of two weighs alike on.

    Where there is no row, the rule of the kernels decides, as it does in a serving process.
    """
    rule = registry.get_facts("builtin").rule
    losses = {}
    for shape, condition in read_times():
        row = result.written.get(RowKey(shape, condition))
        steps = rule(shape.num_experts, shape.topk, FACTS.limits, condition)
        losses[RowKey(shape, condition)] = mean(
            _compute_loss(
                compute_times(shape, condition, tokens),
                row.choose_kernel(tokens, tuple(compute_limits(shape)))
                if row
                else [kernel for first, kernel in steps if first <= tokens][-1],
            )
            for tokens in list_asked_tokens()
        )
    return losses


def _compute_loss(times_us: Mapping[KernelName, float], choice: KernelName) -> float:
    best = min(times_us.values())
    return times_us.get(choice, best) / best - 1


def list_asked_tokens() -> list[int]:
    """Return token counts a factor of the fourth root of two apart."""
    return sorted({round(2 ** (step / 4)) for step in range(4 * 14 + 1)})


def format_regret() -> Iterator[str]:
    """Yield a line for each number of seconds."""
    yield f"{'seconds':>7} {'rows':>4} {'points':>6} {'mean':>6} {'worst row':>9} {'expected':>8}"
    for seconds in (2, 5, 10, 20, 30, 60, 120, None):
        result, worker = sweep_for(seconds)
        losses = compute_losses(result).values()
        expected = [getattr(row.evidence, "expected_loss", None) or 0.0 for row in result.rows]
        yield (
            f"{worker.clock.now:7.1f} {len(result.rows):4} {worker.points:6} {1 + mean(losses):6.4f}"
            f" {1 + max(losses):9.3f} {1 + mean(expected or [0.0]):8.4f}"
        )


if __name__ == "__main__":
    print("\n".join(format_regret()))
