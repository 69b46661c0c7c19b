"""The operator in captured graphs, one for each size and kernel, as a serving framework replays them."""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final

import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.timers import Stopwatch
from moesort_tune.operator.arguments import Request
from moesort_tune.operator.sorting_device import sorting_device
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.replay.steps import ServedModel
from moesort_tune.sorting.inputs import make_inputs

VARIANTS: Final = 3
"""Routings that the layers take in turn."""

_POLICIES: Final[dict[KernelName, int]] = {"oneshot": 1, "multiphase": 2}

Step = tuple[int, KernelName]
"""Size of a graph, and the kernel in it."""

Replay = Callable[[], None]


class SortGraphs:
    """Graphs of all of a model's sorts in one step. Raises HipError, CompileError, NotReadyError.

    What it has made on the device is given back by `close`.
    """

    def __init__(self, device: torch.device, model: ServedModel, seed: int) -> None:
        self.sorting = sorting_device(device)
        self.on_host = device.type == "cpu"
        self._device = device
        self.model = model
        self._seed = seed
        self._hip = self.sorting.kernels.device
        self._pool = None if self.on_host else torch.cuda.graph_pool_handle()
        with ExitStack() as resources:
            self._stream = resources.enter_context(self._hip.stream())
            self._stopwatch = resources.enter_context(closing(Stopwatch(self._hip, self._stream)))
            self._resources = resources.pop_all()
        self._inputs: dict[int, list[dict[str, Any]]] = {}
        self._graphs: dict[Step, Replay] = {}

    def close(self) -> None:
        """Free graphs, inputs, events and stream. Raise HipError."""
        self._graphs.clear()
        self._inputs.clear()
        self._resources.close()

    def legal(self, size: int) -> tuple[KernelName, ...]:
        """The kernels that may sort so many tokens."""
        shape = self.model.shape
        longest = self.sorting.planned(1, shape.topk, shape.num_experts).oneshot_max_tokens
        return ("oneshot", "multiphase") if size <= longest else ("multiphase",)

    def cold_us(self, size: int, kernel: KernelName) -> float:
        """The first sort of this size, launched by itself: what a measurement at the first encounter sees."""
        arguments, shape = self._inputs_of(size)[0], self.model.shape
        row_bytes = self.model.model_dim * torch.bfloat16.itemsize
        planned = self.sorting.planned(size, shape.topk, shape.num_experts, moe_buf_row_bytes=row_bytes)
        planned.prepare(kernel)
        request = Request(**arguments, model_dim=self.model.model_dim)
        outputs = planned.allocate(request, torch.empty(0, dtype=torch.bfloat16, device=self._device))
        workspace = torch.empty(planned.workspace_bytes, dtype=torch.uint8, device=self._device)
        return self._stopwatch.elapsed_us(
            lambda stream: planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)
        )

    def replay_us(self, steps: Sequence[Step]) -> float:
        """Microseconds of these steps, one after another."""
        replays = [self._graph(step) for step in steps]

        def all_of_them(stream: hip.Stream) -> None:
            with torch_streams.using(stream, self._device):
                for replay in replays:
                    replay()

        return self._stopwatch.elapsed_us(all_of_them)

    def _graph(self, step: Step) -> Replay:
        if step not in self._graphs:
            size, kernel = step
            self._sort(size, kernel, 0)  # what the first call makes is there before the capture
            layers = [functools.partial(self._sort, size, kernel, layer) for layer in range(self.model.layers)]
            self._graphs[step] = self._capture(layers)
        return self._graphs[step]

    def _capture(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        return self._captured_by_hip(sorts) if self._pool is None else self._captured_by_torch(sorts)

    def _captured_by_hip(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        """A graph of CPU tensors; it keeps what it writes to."""
        kept: list[Any] = []
        with torch_streams.using(self._stream, self._device) as workspaces:
            graph = self._hip.capture(self._stream, lambda _: kept.extend(sort() for sort in sorts))
        self._resources.push(graph)
        return functools.partial(_launch, graph, self._stream, (kept, workspaces))

    def _captured_by_torch(self, sorts: Sequence[Callable[[], Any]]) -> Replay:
        """A graph of GPU tensors, in the memory pool of all of them, as frameworks capture theirs."""
        graph = torch.cuda.CUDAGraph()
        self._resources.callback(graph.reset)
        with torch.cuda.graph(graph, pool=self._pool):
            for sort in sorts:
                sort()
        replay: Replay = graph.replay
        return replay

    def _sort(self, size: int, kernel: KernelName, layer: int) -> Any:
        arguments = self._inputs_of(size)[layer % VARIANTS]
        return moe_sorting(**arguments, model_dim=self.model.model_dim, dispatch_policy=_POLICIES[kernel])

    def _inputs_of(self, size: int) -> list[dict[str, Any]]:
        if size not in self._inputs:
            self._inputs[size] = [self._arguments(size, self._seed * VARIANTS + number) for number in range(VARIANTS)]
        return self._inputs[size]

    def _arguments(self, size: int, seed: int) -> dict[str, Any]:
        shape = self.model.shape
        inputs = make_inputs(rows=size, topk=shape.topk, num_experts=shape.num_experts, seed=seed)
        return {
            "topk_ids": torch.from_numpy(inputs.topk_ids).to(self._device),
            "topk_weights": torch.from_numpy(inputs.topk_weights).to(self._device),
            "num_experts": shape.num_experts,
        }


def _launch(graph: hip.Graph, stream: hip.Stream, _kept: object) -> None:
    graph.launch(stream)
