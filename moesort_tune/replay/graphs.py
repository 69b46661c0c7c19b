"""Capture the operator in graphs, one for each size and kernel, and replay them as a serving framework does."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.settings import NamedRouting
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import ONE_ROUND, Engine, Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import Stopwatch
from moesort_tune.operator.arguments import Request
from moesort_tune.operator.policies import FACTS
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.providers.facts.base import map_policies
from moesort_tune.replay.steps import ServedModel
from moesort_tune.sorting.inputs import Routing, make_inputs
from moesort_tune.sorting.traces import read_trace

UNIFORM: Final = NamedRouting()

VARIANTS: Final = 3
"""Number of routings, which the layers use in turn."""

_POLICIES: Final[dict[KernelName, int]] = map_policies(FACTS)

Step = tuple[int, KernelName]
"""Size of a graph, and the kernel in it."""

Replay = Callable[[], None]


class SortGraphs:
    """Hold graphs of all of a model's sorts in one step. Close it to free them."""

    def __init__(self, device: torch.device, model: ServedModel, seed: int, routing: NamedRouting = UNIFORM) -> None:
        """Load the kernels. Raise HipError, CompileError, NotReadyError, TraceError."""
        self.sorting = get_sorting_device(device)
        self.on_host = device.type == "cpu"
        self._device = device
        self.model = model
        self._seed = seed
        self._routing = Routing.parse(routing.routing)
        self._trace = None if routing.trace is None else read_trace(routing.trace)
        self._hip = self.sorting.kernels.device
        self._pool = None if self.on_host else torch.cuda.graph_pool_handle()
        with ExitStack() as resources:
            self._stream = resources.enter_context(self._hip.create_stream())
            self._stopwatch = resources.enter_context(closing(Stopwatch(self._hip, self._stream)))
            self._resources = resources.pop_all()
        self._inputs: dict[int, list[dict[str, Any]]] = {}
        self._graphs: dict[Step, Replay] = {}

    def close(self) -> None:
        """Free graphs, inputs, events and stream. Raise HipError."""
        self._graphs.clear()
        self._inputs.clear()
        self._resources.close()

    @property
    def limits(self) -> Limits:
        """The largest token count of each kernel."""
        shape = self.model.shape
        return FACTS.limits(shape.num_experts, shape.topk, self.sorting.kernels.limits)

    def measure_cold_us(self, size: int, kernel: KernelName) -> float:
        """Return the time of the first sort of this size, launched alone, as a cold comparison measures it."""
        arguments, shape = self._get_inputs(size)[0], self.model.shape
        row_bytes = self.model.model_dim * torch.bfloat16.itemsize
        planned = self.sorting.get_plan(size, shape.topk, shape.num_experts, moe_buf_row_bytes=row_bytes)
        planned.prepare(kernel)
        request = Request(**arguments, model_dim=self.model.model_dim)
        outputs = planned.allocate(request, torch.empty(0, dtype=torch.bfloat16, device=self._device))
        workspace = torch.empty(planned.workspace_bytes, dtype=torch.uint8, device=self._device)
        return self._stopwatch.measure_us(
            lambda stream: planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)
        )

    def measure(self, runs: Mapping[str, Sequence[Step]], rounds: int) -> Measurement:
        """Replay each of these runs once a round, in a new random order each time, for exactly `rounds` rounds.

        One more round comes first: graphs are captured, and uploaded by their first replay. Raise TimingError.
        """
        rule = StoppingRule.make_fixed(rounds)
        timer = _RunTimer(self, runs)
        return Engine(timer, tuple(runs), variants=1, seed=self._seed, rule=rule, warm_up=ONE_ROUND).measure()

    def measure_replay_us(self, steps: Sequence[Step]) -> float:
        """Return the microseconds of these steps, replayed one after another."""
        replays = [self._get_graph(step) for step in steps]

        def launch_all(stream: hip.Stream) -> None:
            with torch_streams.use(stream, self._device):
                for replay in replays:
                    replay()

        return self._stopwatch.measure_us(launch_all)

    def _get_graph(self, step: Step) -> Replay:
        if step not in self._graphs:
            size, kernel = step
            self._sort(size, kernel, 0)  # allocates before the capture what the first call allocates
            layers = [functools.partial(self._sort, size, kernel, layer) for layer in range(self.model.layers)]
            self._graphs[step] = self._capture(layers)
        return self._graphs[step]

    def _capture(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        return self._capture_by_hip(sorts) if self._pool is None else self._capture_by_torch(sorts)

    def _capture_by_hip(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        """Capture a graph of CPU tensors; it keeps the tensors that it writes to."""
        kept: list[Any] = []
        with torch_streams.use(self._stream, self._device) as workspaces:
            graph = self._hip.capture(self._stream, lambda _: kept.extend(sort() for sort in sorts))
        self._resources.push(graph)
        return functools.partial(_launch, graph, self._stream, (kept, workspaces))

    def _capture_by_torch(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        """Capture a graph of GPU tensors, in one shared memory pool, as serving frameworks do."""
        graph = torch.cuda.CUDAGraph()
        self._resources.callback(graph.reset)
        with torch.cuda.graph(graph, pool=self._pool):
            for sort in sorts:
                sort()
        replay: Replay = graph.replay
        return replay

    def _sort(self, size: int, kernel: KernelName, layer: int) -> Any:
        arguments = self._get_inputs(size)[layer % VARIANTS]
        return moe_sorting(**arguments, model_dim=self.model.model_dim, dispatch_policy=_POLICIES[kernel])

    def _get_inputs(self, size: int) -> list[dict[str, Any]]:
        if size not in self._inputs:
            self._inputs[size] = [
                self._make_arguments(size, self._seed * VARIANTS + number) for number in range(VARIANTS)
            ]
        return self._inputs[size]

    def _make_arguments(self, size: int, seed: int) -> dict[str, Any]:
        shape = self.model.shape
        inputs = make_inputs(
            rows=size,
            topk=shape.topk,
            num_experts=shape.num_experts,
            seed=seed,
            routing=self._routing,
            trace=self._trace,
        )
        return {
            "topk_ids": torch.from_numpy(inputs.topk_ids).to(self._device),
            "topk_weights": torch.from_numpy(inputs.topk_weights).to(self._device),
            "num_experts": shape.num_experts,
        }


@dataclass(frozen=True)
class _RunTimer:
    """Time whole runs of steps, each a candidate of its own."""

    graphs: SortGraphs
    runs: Mapping[str, Sequence[Step]]

    def sample(self, name: str, variant: int) -> float:  # noqa: ARG002
        """Return the microseconds of one run."""
        return self.graphs.measure_replay_us(self.runs[name])

    def sample_sentinel(self) -> None:
        """Return None, so that every run counts."""


def _launch(graph: hip.Graph, stream: hip.Stream, _kept: object) -> None:
    graph.launch(stream)
