"""A whole comparison by replay, from a model's name to intervals: what `moesort-tune ab` runs. Needs torch."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import torch

from moesort_tune.device import libraries
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT
from moesort_tune.replay.graphs import SortGraphs, Step
from moesort_tune.replay.steps import (
    ServedModel,
    Times,
    Way,
    WayResult,
    arrival_trace,
    best_constant,
    first_encounter,
    graph_sizes,
    oracle,
    results_of,
)
from moesort_tune.sweep.rows import aiter_rule

BASELINE: Final = "AITER's rule"

TIMED: Final = 5
"""Interleaved replays of both kernels at one size, of which the medians make the oracle and the constant."""


@dataclass(frozen=True)
class Load:
    """What clients ask for. requests: of each client, one after another."""

    requests: int
    input_tokens: int
    output_tokens: int


HOST_LOAD: Final = Load(requests=1, input_tokens=64, output_tokens=8)
GPU_LOAD: Final = Load(requests=4, input_tokens=1000, output_tokens=100)


@dataclass(frozen=True)
class ReplayJob:
    """What a person asked for; None stands for a default that depends on the device. trace: instead of a load."""

    model: ServedModel
    concurrency: tuple[int, ...]
    repeats: int
    seed: int
    ordinal: int = 0
    table: Path | None = None
    trace: list[int] | None = None
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    layers: int | None = None

    def load(self, default: Load) -> Load:
        """What was asked for, completed by the default."""
        return Load(
            self.requests or default.requests,
            self.input_tokens or default.input_tokens,
            self.output_tokens or default.output_tokens,
        )


@dataclass(frozen=True)
class Run:
    """One trace: its steps, the sizes of graphs, and what each way to choose came to."""

    title: str
    steps: list[int]
    sizes: list[int]
    results: list[WayResult]


@dataclass(frozen=True)
class ReplayResult:
    """The device, the model as it was replayed, and a run for each trace. table: None where there was no usable one."""

    device: str
    arch: str
    compute_units: int
    model: ServedModel
    table: Path | None
    runs: list[Run]


def run_replay(job: ReplayJob, tell: Callable[[str], None]) -> ReplayResult:
    """Captures, times and replays. tell: takes a line on what is being done. Raises MoesortTuneError."""
    device = _device(job.ordinal)
    on_host = device.type == "cpu"
    model = ServedModel(job.model.shape, job.layers or (1 if on_host else job.model.layers), job.model.model_dim)
    with closing(SortGraphs(device, model, job.seed)) as graphs:
        return _compared(job, graphs, tell)


def _compared(job: ReplayJob, graphs: SortGraphs, tell: Callable[[str], None]) -> ReplayResult:
    """What the job's traces come to on graphs that were made for its model."""
    model = graphs.model
    dispatcher = graphs.sorting.dispatcher(None if job.table is None else str(job.table))
    if job.table is not None and dispatcher.entry is None:
        reasons = "; ".join(dispatcher.not_used)
        raise MoesortTuneError(f"{job.table} has no entry for this device and these kernels: {reasons}")
    comparison = _Comparison(job, graphs, _by_policy(dispatcher.policy, model))
    runs = []
    for title, steps in _traces(job, HOST_LOAD if graphs.on_host else GPU_LOAD).items():
        tell(f"{title}: {len(steps)} steps, {len(set(graph_sizes(steps)))} graph sizes")
        with memory_at_stake(max(steps)):
            runs.append(comparison.run(title, steps))
    properties = graphs.sorting.kernels.device.properties
    table = dispatcher.table if dispatcher.entry else None
    return ReplayResult(properties.name, properties.arch, properties.compute_units, model, table, runs)


@contextmanager
def memory_at_stake(tokens: int) -> Iterator[None]:
    """Says in one sentence what torch's allocators say in many. Raises MoesortTuneError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MoesortTuneError(
            f"there is not enough memory for steps of {tokens} tokens; replay smaller ones"
        ) from error


def _device(ordinal: int) -> torch.device:
    runtime = libraries.choose().runtime
    if runtime == "host":
        if ordinal:
            raise MoesortTuneError(f"the host runtime has one device, number 0, so --device {ordinal} is not there")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MoesortTuneError(
            f"a GPU of the {runtime} runtime is attached, but this torch ({torch.__version__}) cannot use it; install "
            "the build for it, or set MOESORT_TUNE_RUNTIME=host"
        )
    return torch.device("cuda", ordinal)


def _traces(job: ReplayJob, default: Load) -> dict[str, list[int]]:
    if job.trace is not None:
        return {"trace": job.trace}
    load = job.load(default)
    return {
        f"concurrency {concurrency}": arrival_trace(
            concurrency=concurrency,
            requests=concurrency * load.requests,
            input_tokens=load.input_tokens,
            output_tokens=load.output_tokens,
        )
        for concurrency in job.concurrency
    }


def _by_policy(policy: Callable[[int, int, int], int], model: ServedModel) -> Callable[[int], KernelName]:
    shape = model.shape
    return lambda tokens: ONESHOT if policy(tokens, shape.num_experts, shape.topk) == 1 else MULTIPHASE


@dataclass
class _Comparison:
    """Replays the ways to choose, side by side. Times of a size are taken once, whatever trace it is in."""

    job: ReplayJob
    graphs: SortGraphs
    by_table: Callable[[int], KernelName]
    _first: dict[int, dict[KernelName, float]] = field(default_factory=dict)
    _times: dict[int, dict[KernelName, float]] = field(default_factory=dict)

    def run(self, title: str, steps: list[int]) -> Run:
        """One trace."""
        sizes = graph_sizes(steps)
        for size in sorted(set(sizes) - set(self._times)):
            kernels = self.graphs.legal(size)
            self._first[size] = {kernel: self.graphs.cold_us(size, kernel) for kernel in kernels}
            self._times[size] = self._timed(size, kernels)
        ways = self._ways({size: self._times[size] for size in sizes}, sizes)
        samples = self._replayed({way.name: self._plan(way, sizes) for way in ways})
        return Run(title, steps, sizes, results_of(samples, len(steps), BASELINE))

    def _ways(self, times: Times, sizes: Sequence[int]) -> list[Way]:
        shape = self.job.model.shape
        return [
            Way(BASELINE, lambda tokens: aiter_rule(shape, tokens)),
            best_constant(times, sizes, shape.num_experts),
            first_encounter(self._first),
            Way("table", self.by_table),
            oracle(times),
        ]

    def _plan(self, way: Way, sizes: Sequence[int]) -> list[Step]:
        """The graphs that the way replays; where oneshot is not legal, multiphase runs."""
        chosen = {size: way.choose(size) for size in set(sizes)}
        return [(size, chosen[size] if chosen[size] in self._times[size] else MULTIPHASE) for size in sizes]

    def _replayed(self, plans: dict[str, list[Step]]) -> dict[str, list[float]]:
        """Microseconds of each way in each repeat, in an order drawn anew."""
        order = random.Random(self.job.seed)
        samples: dict[str, list[float]] = {name: [] for name in plans}
        for plan in plans.values():
            self.graphs.replay_us(plan)  # graphs are captured, and uploaded by their first replay
        for _ in range(self.job.repeats):
            for name in order.sample(list(plans), len(plans)):
                samples[name].append(self.graphs.replay_us(plans[name]))
        return samples

    def _timed(self, size: int, kernels: Sequence[KernelName]) -> dict[KernelName, float]:
        samples: dict[KernelName, list[float]] = {kernel: [] for kernel in kernels}
        for turn in range(TIMED + 1):
            for kernel in kernels:
                elapsed = self.graphs.replay_us([(size, kernel)])
                samples[kernel] += [elapsed] if turn else []  # the first replay uploads the graph
        return {kernel: median(of_kernel) for kernel, of_kernel in samples.items()}
