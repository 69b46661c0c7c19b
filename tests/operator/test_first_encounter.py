"""on_miss='measure': what AITER's pull request 3525 set out to do, and a test for each flaw of its diff."""

import functools
import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.operator.first_encounter import (
    ROUNDS,
    Encounter,
    FirstEncounters,
    ReplayTimer,
    ShapeKey,
    Stopwatch,
    Work,
)
from moesort_tune.operator.planned_sort import PlannedSort
from moesort_tune.operator.sorting_device import sorting_device
from moesort_tune.operator.torch_operator import learned, moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.problem import KERNELS
from tests.operator.operator_tables import Launches, table_for
from tests.operator.torch_cases import arguments_of, sort_and_check
from tests.sorting import cases
from tests.tables import examples

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors", "nothing_learned", "no_table")]

MEASURE: dict[str, Any] = {"on_miss": "measure"}
KEY = ShapeKey(tokens=8, num_experts=64, topk=4)


@pytest.fixture
def nothing_learned(torch_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory of the test's own."""
    of_device = sorting_device(torch_device)
    monkeypatch.setattr(of_device, "encounters", FirstEncounters(of_device.encounters.timer_of))


@pytest.fixture
def launches(nothing_learned: None, monkeypatch: pytest.MonkeyPatch) -> Launches:
    """What the operator launches."""
    del nothing_learned
    return Launches(monkeypatch)


class FakeTimer:
    """Takes the same time for every sort."""

    def __init__(self, microseconds: float) -> None:
        self.microseconds = microseconds
        self.closed = False

    def sample_us(self) -> float:
        return self.microseconds

    def close(self) -> None:
        self.closed = True


def encounter(otherwise: KernelName = "oneshot") -> Encounter:
    """A call that could be measured, with sorts that do nothing."""
    return Encounter(KEY, {"oneshot": nothing, "multiphase": nothing}, otherwise, 32, 4096, "bfloat16")


def nothing(_stream: hip.Stream) -> None:
    """Gives nothing to the stream."""


def ignored(_result: object) -> None:
    """For calls whose launches alone matter."""


def timed(oneshot_us: float, multiphase_us: float) -> FirstEncounters:
    """A memory whose timers know the times beforehand; kernels are timed oneshot first."""
    times = itertools.cycle([oneshot_us, multiphase_us])
    return FirstEncounters(lambda _work, _stream: FakeTimer(next(times)))


def stream() -> hip.Stream:
    return hip.BorrowedStream(0)


@pytest.mark.parametrize(
    ("oneshot_us", "multiphase_us", "kernel", "winner"),
    [
        (4.0, 6.0, "oneshot", "oneshot"),
        (6.0, 4.0, "multiphase", "multiphase"),
        (4.0, 4.07, "multiphase", None),
        (4.07, 4.0, "multiphase", None),
    ],
)
def test_faster_kernel_is_remembered_and_a_tie_changes_nothing(
    oneshot_us: float, multiphase_us: float, kernel: str, winner: str | None
) -> None:
    """Protects the choice: a difference within the margin leaves what would have run anyway, the same on every rank."""
    encounters = timed(oneshot_us, multiphase_us)
    assert encounters.meet(encounter(otherwise="multiphase"), stream()) == kernel
    assert encounters.kernel(KEY) == kernel
    assert encounters.learned()[KEY].winner == winner


def test_kernels_are_timed_in_turn_and_each_round_in_the_other_order() -> None:
    """Protects the choice from a drifting clock: neither kernel always runs second."""
    order: list[KernelName] = []

    class NotedTimer(FakeTimer):
        """Notes whose turn it is."""

        def __init__(self, kernel: KernelName) -> None:
            super().__init__(4.0)
            self.kernel = kernel

        def sample_us(self) -> float:
            order.append(self.kernel)
            return super().sample_us()

    kernels = iter(KERNELS)
    FirstEncounters(lambda _work, _stream: NotedTimer(next(kernels))).meet(encounter(), stream())
    rounds = [tuple(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert rounds == [("multiphase", "oneshot") if turn % 2 else ("oneshot", "multiphase") for turn in range(ROUNDS)]


def test_measured_call_is_exact_and_the_next_one_launches_once(torch_device: torch.device, launches: Launches) -> None:
    """Protects the outputs of the call that measures, and the speed of those after it."""
    case = cases.uniform(40, 4, 64)
    sort_and_check(case, torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    assert launches.kernels[-1] == choice.kernel
    assert set(launches.kernels) == {"oneshot", "multiphase"}
    launches.clear()
    sort_and_check(case, torch_device, **MEASURE)
    assert launches.kernels == [choice.kernel]


def test_every_measured_launch_has_its_workspace(torch_device: torch.device, launches: Launches) -> None:
    """Flaw 1: the workspace's size was asked for before the choice, so that multiphase could run without one."""
    sort_and_check(cases.uniform(40, 4, 64), torch_device, **MEASURE)
    needed = sorting_device(torch_device).planned(40, 4, 64).workspace_bytes
    assert {nbytes for kernel, nbytes in launches if kernel == "multiphase"} == {needed}


def test_cold_first_runs_do_not_count(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flaw 2: one cold call of each kernel was compared, oneshot first, so that oneshot paid for the warm-up."""
    cold_oneshot, cold_multiphase = [1000.0, 1000.0], [400.0, 400.0]  # by itself, then the first replay
    rounds = itertools.chain.from_iterable([(10.0, 400.0), (400.0, 10.0)] * ROUNDS)  # in turn first and second
    times = itertools.chain(cold_oneshot, cold_multiphase, rounds)
    monkeypatch.setattr(Stopwatch, "elapsed_us", lambda _stopwatch, _work, _stream: next(times))
    encounters = FirstEncounters(functools.partial(ReplayTimer, Stopwatch(device)))
    assert encounters.meet(encounter(otherwise="multiphase"), stream()) == "oneshot"


def test_nothing_is_learned_under_capture(
    device: hip.Device, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flaw 3: errors of events under capture were ignored, so that both times read 0 and oneshot was kept for good."""
    case = cases.uniform(40, 4, 64)
    arguments = arguments_of(case, torch_device) | MEASURE
    sort_and_check(case, torch_device)
    launched = Launches(monkeypatch)
    on = device.stream()
    with torch_streams.using(on, torch_device):
        device.capture(on, lambda _: ignored(moe_sorting(**arguments))).destroy()
    assert len(launched) == 1
    assert learned(torch_device) == {}
    moe_sorting(**arguments)
    assert list(learned(torch_device)) == [ShapeKey(40, 64, 4)]


@pytest.mark.parametrize("time_us", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_time_is_no_win(caplog: pytest.LogCaptureFixture, time_us: float) -> None:
    """Flaw 3 again: a time that cannot be true decides nothing and is said aloud."""
    encounters = timed(time_us, 5.0)
    with caplog.at_level(logging.WARNING):
        assert encounters.meet(encounter(otherwise="multiphase"), stream()) == "multiphase"
    assert encounters.learned()[KEY].samples_us == {}
    assert "could not be timed" in caplog.text


@pytest.mark.parametrize("refusing", ["oneshot", "multiphase"])
def test_kernel_that_refuses_to_launch_loses(
    torch_device: torch.device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refusing: str
) -> None:
    """Flaw 4: a kernel that did not launch took no time and won."""
    plain = PlannedSort.launch

    def launch(planned: PlannedSort, kernel: Any, on: hip.Stream, **tensors: Any) -> None:
        if kernel == refusing:
            raise hip.HipError("hipModuleLaunchKernel", 9, "hipErrorInvalidConfiguration")
        plain(planned, kernel, on, **tensors)

    monkeypatch.setattr(PlannedSort, "launch", launch)
    sort_and_check(cases.uniform(40, 4, 64), torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    assert (choice.kernel, choice.winner) == ("multiphase" if refusing == "oneshot" else "oneshot", None)
    assert f"{refusing} is not used" in caplog.text
    assert "hipErrorInvalidConfiguration" in caplog.text


def test_error_is_raised_where_neither_kernel_launches() -> None:
    """Flaw 4 again: with no kernel left, the reason reaches the caller, and nothing is remembered."""

    def refused(_work: Work, _stream: hip.Stream) -> FakeTimer:
        raise hip.HipError("hipModuleLaunchKernel", 719, "hipErrorLaunchFailure")

    encounters = FirstEncounters(refused)
    with pytest.raises(hip.HipError, match="hipErrorLaunchFailure"):
        encounters.meet(encounter(), stream())
    assert encounters.learned() == {}


def test_threads_measure_a_shape_once() -> None:
    """Flaw 5: the map had no lock, so that threads measured at once, disturbed each other and raced."""
    opened: list[FakeTimer] = []
    measuring = threading.Semaphore(1)

    def timer_of(_work: Work, _stream: hip.Stream) -> FakeTimer:
        assert measuring.acquire(blocking=False) or len(opened) % 2 == 1
        opened.append(FakeTimer(4.0 + len(opened)))
        return opened[-1]

    encounters = FirstEncounters(timer_of)
    results: list[KernelName] = []
    everyone = threading.Barrier(8)

    def meet() -> None:
        everyone.wait()
        results.append(encounters.meet(encounter(), stream()))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["oneshot"] * 8
    assert [timer.closed for timer in opened] == [True, True]


def test_shapes_that_differ_in_topk_alone_are_measured_each(torch_device: torch.device) -> None:
    """Flaw 6: the key had no topk, so that one model's choice was another's."""
    for topk in (2, 6):
        sort_and_check(cases.uniform(40, topk, 64), torch_device, **MEASURE)
    assert list(learned(torch_device)) == [ShapeKey(40, 64, 2), ShapeKey(40, 64, 6)]


def test_shape_with_a_row_is_not_measured(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects the table's say: measuring is for what it does not know."""
    table = table_for(tmp_path, kernels, examples.row(64, 4, switch=2))
    sort_and_check(cases.uniform(40, 4, 64), torch_device, table=table, **MEASURE)
    assert launches.kernels == ["multiphase"]


def test_row_comes_before_what_was_learned(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects the table's say again: what was learned without a table does not outlive the arrival of a row."""
    sort_and_check(cases.uniform(40, 4, 64), torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    switch = 2 if choice.kernel == "oneshot" else 1000
    table = table_for(tmp_path, kernels, examples.row(64, 4, switch=switch))
    launches.clear()
    sort_and_check(cases.uniform(40, 4, 64), torch_device, table=table, **MEASURE)
    assert launches.kernels == ["multiphase" if choice.kernel == "oneshot" else "oneshot"]


@pytest.mark.parametrize(
    ("tokens", "options"), [(0, {}), (40, {"dispatch_policy": 1}), (40, {"dispatch_policy": 2}), (2000, {})]
)
def test_nothing_is_measured_without_a_choice(
    torch_device: torch.device, launches: Launches, tokens: int, options: dict[str, int]
) -> None:
    """Protects calls that have one kernel only: no tokens, a caller's own policy, more tokens than oneshot takes."""
    sort_and_check(cases.uniform(tokens, 2, 1024), torch_device, **options, **MEASURE)
    assert len(launches) == 1
    assert learned(torch_device) == {}
