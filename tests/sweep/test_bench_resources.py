"""What measuring makes on the device: points, timers and benches leave nothing behind, nor does a failure half way."""

from collections.abc import Iterator

import pytest

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure import launch_gap
from moesort_tune.measure.engine import TimingError
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import Stopwatch, capture_long_graph
from moesort_tune.sorting.inputs import make_inputs
from moesort_tune.sorting.kernels import OPTIONAL_OUTPUTS, SortingKernels
from moesort_tune.sorting.problem import Problem
from moesort_tune.sweep.worker.bench import Bench
from moesort_tune.sweep.worker.messages import GapRequest, MeasureRequest, NoLaunchGaps, WorkerSpec
from tests.live_objects import count_live_objects
from tests.runtimes.host_process import Host, run_on_host
from tests.sweep.kernels import KERNELS

QUICK = StoppingRule(min_rounds=1, max_rounds=10_000, max_seconds=0.01, patience=10_000)
"""Ends with the first round that counts; a busy machine may disturb many."""

SHAPE = Shape(8, 2)


@pytest.fixture(scope="module")
def bench(device: hip.Device) -> Iterator[Bench]:
    """Yield the attached device, opened as a worker opens it."""
    bench = Bench(WorkerSpec(device.properties.runtime, None, device.ordinal, "builtin"))
    yield bench
    bench.close()


@pytest.mark.parametrize(
    "settings", [Settings(model_dim=8), Settings(timing="eager", model_dim=8)], ids=["graph", "eager"]
)
def test_point_leaves_nothing_on_the_device(bench: Bench, settings: Settings) -> None:
    """A sweep of thousands of points takes as much of the device as its largest point."""
    before = count_live_objects()
    bench.answer(MeasureRequest(SHAPE, 4, settings, KERNELS, QUICK))
    assert count_live_objects() == before


def test_launch_gap_that_cannot_be_timed_says_why_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the reader of a sweep's warning from a cause that is not the real one."""

    def refuse(*_: object) -> None:
        raise TimingError("the host is too busy")

    monkeypatch.setattr(launch_gap, "EagerTimer", refuse)
    before = count_live_objects()
    assert bench.answer(GapRequest()) == NoLaunchGaps("replay: the host is too busy; eager: the host is too busy")
    assert count_live_objects() == before


def test_flush_buffer_is_made_once_and_given_back(device: hip.Device) -> None:
    """Cold points share the memory that flushes the cache, and it goes with the bench."""
    before = count_live_objects()
    bench = Bench(WorkerSpec(device.properties.runtime, None, device.ordinal, "builtin"))
    cold = Settings(timing="eager", cold=True, model_dim=8)
    opened = count_live_objects()
    for tokens in (3, 4):
        bench.answer(MeasureRequest(SHAPE, tokens, cold, KERNELS, QUICK))
        assert count_live_objects()["memory"] == opened["memory"] + 1
    bench.close()
    assert count_live_objects() == before


def test_graph_whose_timing_fails_is_given_back(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that cannot be is refused; the graph that gave it must not stay for the rest of the sweep."""

    def refuse(*_: object) -> float:
        raise TimingError("a sample took -1 us")

    with device.create_stream() as stream:
        stopwatch, sentinel = Stopwatch(device, stream), Sentinel(device)
        before = count_live_objects()
        monkeypatch.setattr(Stopwatch, "measure_settled_us", refuse)
        with pytest.raises(TimingError):
            capture_long_graph(stopwatch, [sentinel.launch])
        assert count_live_objects() == before
        stopwatch.close()
        sentinel.close()


ALLOCATIONS = 11
"""Of a point with every optional output: two inputs, seven outputs, moe_buf and the workspace."""


def _prepare_again_and_again(host: Host) -> list[list[object]]:
    """Return the end of each of many attempts to prepare a point, and whether it leaks nothing."""
    del host
    kernels = SortingKernels(hip.open_device())
    problem = Problem(16, 2, 8, moe_buf_bytes=64)
    inputs = make_inputs(rows=16, topk=2, num_experts=8, seed=0)
    reported: list[list[object]] = []
    for _ in range(ALLOCATIONS + 1):
        before, end = count_live_objects(), "prepared"
        try:
            with kernels.prepare(problem, inputs, OPTIONAL_OUTPUTS):
                pass
        except hip.HipError as error:
            end = error.name
        reported.append([end, count_live_objects() == before])
    return reported


def test_allocation_that_fails_frees_those_before_it() -> None:
    """A point that is too large for the device costs itself, not all the smaller ones behind it."""
    # The n-th attempt meets its n-th allocation after all those of the attempts before it.
    failing = ",".join(f"hipMalloc:{n * (n + 1) // 2}:2" for n in range(1, ALLOCATIONS + 1))
    reported = run_on_host(_prepare_again_and_again, MOESORT_HOST_FAIL=failing)
    assert reported == [["hipErrorOutOfMemory", True]] * ALLOCATIONS + [["prepared", True]]


def _open_a_bench(host: Host) -> list[object]:
    """Return the error of opening a bench, and whether it leaks nothing."""
    del host
    before = count_live_objects()
    try:
        Bench(WorkerSpec("host", None, 0, "builtin"))
    except hip.HipError as error:
        return [error.call, count_live_objects() == before]
    return ["opened", False]


@pytest.mark.parametrize(
    "failing",
    ["hipModuleLoadData:2", "hipStreamCreateWithFlags:1", "hipEventCreate:2", "hipModuleLoadData:3", "hipMalloc:1"],
)
def test_bench_that_cannot_be_opened_leaves_nothing(failing: str) -> None:
    """Whichever call of opening fails, what the calls before it made is given back."""
    reported = run_on_host(_open_a_bench, MOESORT_HOST_FAIL=f"{failing}:2")
    assert reported == [failing.partition(":")[0], True]


def _instantiate(host: Host) -> list[object]:
    """Return the error of a graph, and whether it leaves nothing but its stream."""
    del host
    device = hip.open_device()
    stream = device.create_stream()
    before = count_live_objects()
    try:
        device.capture(stream, lambda _: None)
    except hip.HipError as error:
        return [error.call, count_live_objects() == before]
    return ["captured", False]


def test_graph_that_cannot_be_instantiated_leaves_no_capture() -> None:
    """What was captured is an object of its own, and goes although there is nothing to replay."""
    failing = "hipGraphInstantiateWithFlags:1:2"
    assert run_on_host(_instantiate, MOESORT_HOST_FAIL=failing) == ["hipGraphInstantiateWithFlags", True]
