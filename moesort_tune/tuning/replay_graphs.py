"""The operator in captured graphs, one for each size and kernel, as a serving framework replays them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

from moesort_tune.device import hip
from moesort_tune.sorting import torch_streams
from moesort_tune.sorting.inputs import make_inputs
from moesort_tune.sorting.operator import moe_sorting
from moesort_tune.sorting.problem import KernelName
from moesort_tune.sorting.torch_device import sorting_device
from moesort_tune.tuning.replay import ServedModel

VARIANTS: Final = 3
"""Routings that the layers take in turn."""

_POLICIES: Final[dict[KernelName, int]] = {"oneshot": 1, "multiphase": 2}

Step = tuple[int, KernelName]
"""Size of a graph, and the kernel in it."""

Replay = Callable[[], None]


class SortGraphs:
    """Graphs of all of a model's sorts in one step. Raises HipError, CompileError, NotReadyError."""

    def __init__(self, device: torch.device, model: ServedModel, seed: int) -> None:
        self.sorting = sorting_device(device)
        self._device = device
        self._model = model
        self._seed = seed
        self._hip = self.sorting.kernels.device
        self._capture = _capture_by_hip if device.type == "cpu" else _TorchCapture(device)
        self._stream = self._hip.stream()
        self._events = self._hip.event(), self._hip.event()
        self._inputs: dict[int, list[dict[str, Any]]] = {}
        self._graphs: dict[Step, Replay] = {}

    def legal(self, size: int) -> tuple[KernelName, ...]:
        """The kernels that may sort so many tokens."""
        shape = self._model.shape
        longest = self.sorting.planned(1, shape.topk, shape.num_experts).oneshot_max_tokens
        return ("oneshot", "multiphase") if size <= longest else ("multiphase",)

    def cold_us(self, size: int, kernel: KernelName) -> float:
        """One sort outside a graph, the first of its size: what a measurement at the first encounter sees."""
        return self._timed(lambda: self._sort(size, kernel, 0))

    def replay_us(self, steps: Sequence[Step]) -> float:
        """Microseconds of these steps, one after another."""
        replays = [self._graph(step) for step in steps]

        def all_of_them() -> None:
            for replay in replays:
                replay()

        return self._timed(all_of_them)

    def _timed(self, work: Callable[[], None]) -> float:
        start, stop = self._events
        with torch_streams.using(self._stream, self._device):
            start.record(self._stream)
            work()
            stop.record(self._stream)
            stop.synchronize()
        return hip.elapsed_us(start, stop)

    def _graph(self, step: Step) -> Replay:
        if step not in self._graphs:
            size, kernel = step
            self._sort(size, kernel, 0)  # plans are made and code is loaded before the capture

            def all_layers() -> list[Any]:
                return [self._sort(size, kernel, layer) for layer in range(self._model.layers)]

            self._graphs[step] = self._capture(self._hip, self._stream, all_layers)
        return self._graphs[step]

    def _sort(self, size: int, kernel: KernelName, layer: int) -> Any:
        arguments = self._inputs_of(size)[layer % VARIANTS]
        return moe_sorting(**arguments, model_dim=self._model.model_dim, dispatch_policy=_POLICIES[kernel])

    def _inputs_of(self, size: int) -> list[dict[str, Any]]:
        if size not in self._inputs:
            self._inputs[size] = [self._arguments(size, self._seed * VARIANTS + number) for number in range(VARIANTS)]
        return self._inputs[size]

    def _arguments(self, size: int, seed: int) -> dict[str, Any]:
        shape = self._model.shape
        inputs = make_inputs(rows=size, topk=shape.topk, num_experts=shape.num_experts, seed=seed)
        return {
            "topk_ids": torch.from_numpy(inputs.topk_ids).to(self._device),
            "topk_weights": torch.from_numpy(inputs.topk_weights).to(self._device),
            "num_experts": shape.num_experts,
        }


def _capture_by_hip(device: hip.Device, stream: hip.Stream, work: Callable[[], list[Any]]) -> Replay:
    """A graph of CPU tensors; it keeps what it writes to."""
    kept: list[Any] = []
    with torch_streams.using(stream, torch.device("cpu")) as workspaces:
        graph = device.capture(stream, lambda _: kept.extend(work()))
    kept.append(workspaces)

    def replay(_kept: list[Any] = kept) -> None:
        graph.launch(stream)

    return replay


class _TorchCapture:
    """Graphs of GPU tensors, all in one memory pool, as frameworks capture them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, _device: hip.Device, stream: hip.Stream, work: Callable[[], list[Any]]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with _side_stream(self._device), torch.cuda.graph(graph, pool=self._pool):
            work()
        del stream  # a graph is replayed on the current stream
        replay: Replay = graph.replay
        return replay


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    torch.cuda.synchronize(device)
    with torch.cuda.stream(torch.cuda.Stream(device)):
        yield
