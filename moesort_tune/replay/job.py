"""Run a whole comparison by replay, from a model's name to intervals, for `moesort-tune ab`. Needs torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch

from moesort_tune.device import libraries
from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.settings import NamedRouting
from moesort_tune.errors import MoesortTuneError
from moesort_tune.operator.policies import FACTS
from moesort_tune.providers.facts.aiter_rule import AITER_RULE
from moesort_tune.replay.graphs import UNIFORM, SortGraphs, Step
from moesort_tune.replay.steps import PolicyResult, ServedModel, choose_graph_sizes, simulate_arrivals, summarize_runs
from moesort_tune.verify.policies import (
    Case,
    Policy,
    best_constant,
    by_aiter_rule,
    by_constant,
    by_first_encounter,
    by_oracle,
    by_rule,
    by_table,
)

TIMED: Final = 5
"""Interleaved replays of each kernel at one size, of which the medians make the oracle and the constant."""


@dataclass(frozen=True)
class Load:
    """The load that clients make. requests: of each client, one after another."""

    requests: int
    input_tokens: int
    output_tokens: int


HOST_LOAD: Final = Load(requests=1, input_tokens=64, output_tokens=8)
GPU_LOAD: Final = Load(requests=4, input_tokens=1000, output_tokens=100)


@dataclass(frozen=True)
class ReplayJob:
    """The options of one comparison; None stands for a default that depends on the device.

    trace: tokens of each step, instead of a load. routing: of the tokens.
    """

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
    routing: NamedRouting = UNIFORM

    def complete_load(self, default: Load) -> Load:
        """Return the load of these options, completed by the default."""
        return Load(
            self.requests or default.requests,
            self.input_tokens or default.input_tokens,
            self.output_tokens or default.output_tokens,
        )


@dataclass(frozen=True)
class Run:
    """One trace: its steps, the sizes of graphs, and the result of each policy."""

    title: str
    steps: list[int]
    sizes: list[int]
    results: list[PolicyResult]


@dataclass(frozen=True)
class ReplayResult:
    """The device, the model as it was replayed, and a run for each trace. table: None where there was no usable one."""

    device: str
    arch: str
    compute_units: int
    model: ServedModel
    table: Path | None
    runs: list[Run]


def run_replay(job: ReplayJob, report: Callable[[str], None]) -> ReplayResult:
    """Capture, time and replay. report: receives a line for each trace. Raise MoesortTuneError."""
    device = _choose_device(job.ordinal)
    on_host = device.type == "cpu"
    model = ServedModel(job.model.shape, job.layers or (1 if on_host else job.model.layers), job.model.model_dim)
    with closing(SortGraphs(device, model, job.seed, job.routing)) as graphs:
        return _compare(job, graphs, report)


def _compare(job: ReplayJob, graphs: SortGraphs, report: Callable[[str], None]) -> ReplayResult:
    """Compare the policies over the job's traces, on graphs that were made for its model."""
    model = graphs.model
    dispatcher = graphs.sorting.get_dispatcher(None if job.table is None else str(job.table))
    if job.table is not None and dispatcher.entry is None:
        reasons = "; ".join(dispatcher.not_used)
        raise MoesortTuneError(f"{job.table} has no entry for this device and these kernels: {reasons}")
    comparison = _Comparison(job, graphs, by_table(dispatcher.policy, FACTS, graphs.sorting.kernels.limits))
    runs = []
    for title, steps in _build_traces(job, HOST_LOAD if graphs.on_host else GPU_LOAD).items():
        report(f"{title}: {len(steps)} steps, {len(set(choose_graph_sizes(steps)))} graph sizes")
        with shorten_memory_errors(max(steps)):
            runs.append(comparison.run(title, steps))
    properties = graphs.sorting.kernels.device.properties
    table = dispatcher.table if dispatcher.entry else None
    return ReplayResult(properties.name, properties.arch, properties.compute_units, model, table, runs)


@contextmanager
def shorten_memory_errors(tokens: int) -> Iterator[None]:
    """Replace the long errors of torch's allocators by one sentence. Raise MoesortTuneError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MoesortTuneError(
            f"there is not enough memory for steps of {tokens} tokens; replay smaller ones"
        ) from error


def _choose_device(ordinal: int) -> torch.device:
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


def _build_traces(job: ReplayJob, default: Load) -> dict[str, list[int]]:
    if job.trace is not None:
        return {"trace": job.trace}
    load = job.complete_load(default)
    return {
        f"concurrency {concurrency}": simulate_arrivals(
            concurrency=concurrency,
            requests=concurrency * load.requests,
            input_tokens=load.input_tokens,
            output_tokens=load.output_tokens,
        )
        for concurrency in job.concurrency
    }


@dataclass
class _Comparison:
    """Replay the policies side by side. A size is timed once, whatever trace it is in."""

    job: ReplayJob
    graphs: SortGraphs
    table: Policy
    _cases: dict[int, Case] = field(default_factory=dict)

    def run(self, title: str, steps: list[int]) -> Run:
        """Return the result of one trace."""
        sizes = choose_graph_sizes(steps)
        for size in sorted(set(sizes) - set(self._cases)):
            self._cases[size] = self._time(size)
        cases = {size: replace(self._cases[size], weight=count) for size, count in Counter(sizes).items()}
        runs = {policy.name: _plan(policy, cases, sizes) for policy in self._list_contenders(list(cases.values()))}
        samples = self.graphs.measure(runs, self.job.repeats).samples_us
        return Run(title, steps, sizes, summarize_runs(samples, len(steps), AITER_RULE))

    def _list_contenders(self, cases: Sequence[Case]) -> list[Policy]:
        """Return the policies, the baseline of the speedups first."""
        constant = best_constant(cases, lambda case, choice: case.times_us[case.run(choice)])
        limits = self.graphs.sorting.kernels.limits
        return [
            by_aiter_rule(limits),
            by_rule(FACTS, limits),
            by_constant(constant, f"best constant ({constant})"),
            by_first_encounter(),
            self.table,
            by_oracle(),
        ]

    def _time(self, size: int) -> Case:
        kernels = list_legal_kernels(size, self.graphs.limits)
        first_us = {kernel: self.graphs.measure_cold_us(size, kernel) for kernel in kernels}
        measured = self.graphs.measure({kernel: [(size, kernel)] for kernel in kernels}, TIMED)
        times_us = {kernel: measured.times_us[kernel].median for kernel in kernels}
        return Case(
            self.job.model.shape,
            size,
            times_us,
            first_us,
            measured.verdict,
            candidates=tuple(self.graphs.limits),
        )


def _plan(policy: Policy, cases: Mapping[int, Case], sizes: Sequence[int]) -> list[Step]:
    """Return the graphs that a policy replays."""
    chosen = {size: case.run(policy.choose(case)) for size, case in cases.items()}
    return [(size, chosen[size]) for size in sizes]
