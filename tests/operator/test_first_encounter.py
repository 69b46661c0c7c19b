"""on_miss='measure': what AITER's pull request 3525 set out to do, and a test for each flaw of its diff."""

import contextlib
import logging
import threading
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.timers import Stopwatch, Work
from moesort_tune.operator.first_encounter import (
    LAUNCHES,
    RULE,
    Encounter,
    FirstEncounters,
    OpenTimer,
    ShapeKey,
    make_replaying_timer,
)
from moesort_tune.operator.planned_sort import PlannedSort
from moesort_tune.operator.policies import KERNELS
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.torch_operator import learned, moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from tests.operator.operator_tables import Launches, write_table
from tests.operator.torch_cases import make_arguments, sort_and_check
from tests.sorting import cases
from tests.tables import examples

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors", "nothing_learned", "no_table")]

MEASURE: dict[str, Any] = {"on_miss": "measure"}
TWO: tuple[KernelName, ...] = ("oneshot", "multiphase")
THREE: tuple[KernelName, ...] = ("wave", *TWO)
KEY = ShapeKey(tokens=8, num_experts=64, topk=4)


@pytest.fixture
def nothing_learned(torch_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory of the test's own."""
    of_device = get_sorting_device(torch_device)
    monkeypatch.setattr(of_device, "encounters", FirstEncounters(of_device.encounters.open_timer))


@pytest.fixture
def launches(nothing_learned: None, monkeypatch: pytest.MonkeyPatch) -> Launches:
    """Return the operator's recorded launches."""
    del nothing_learned
    return Launches(monkeypatch)


class FakeTimer:
    """Take the same time for every sort by a kernel; note what is sampled."""

    def __init__(self, times_us: Mapping[KernelName, float], refused: tuple[KernelName, ...] = ()) -> None:
        self.times_us = times_us
        self.refused = refused
        self.sampled: list[KernelName] = []
        self.closed = False

    def prepare(self, name: KernelName, variant: int) -> None:
        assert variant == 0
        if name in self.refused:
            raise hip.HipError("hipModuleLaunchKernel", 719, "hipErrorLaunchFailure")

    def sample(self, name: KernelName, variant: int) -> float:
        assert variant == 0
        self.sampled.append(name)
        return self.times_us[name]

    def sample_sentinel(self) -> None:
        """There is none."""

    def close(self) -> None:
        self.closed = True

    def make_opener(self) -> OpenTimer:
        """Return a function that opens this timer for any works."""
        return lambda _works, _stream: contextlib.closing(self)


def make_encounter(otherwise: KernelName = "oneshot", kernels: tuple[KernelName, ...] = TWO) -> Encounter:
    """Return a call that could be measured, with sorts that do nothing."""
    return Encounter(KEY, dict.fromkeys(kernels, do_nothing), otherwise, 32, 4096, "bfloat16")


def do_nothing(_stream: hip.Stream) -> None:
    """Enqueue nothing."""


def ignore(_result: object) -> None:
    """For calls whose launches alone matter."""


def make_memory(oneshot_us: float, multiphase_us: float) -> FirstEncounters:
    """Return a memory whose timer knows the times beforehand."""
    return FirstEncounters(FakeTimer({"oneshot": oneshot_us, "multiphase": multiphase_us}).make_opener())


def get_stream() -> hip.Stream:
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
    encounters = make_memory(oneshot_us, multiphase_us)
    assert encounters.meet(make_encounter(otherwise="multiphase"), get_stream()) == kernel
    assert encounters.get_kernel(KEY) == kernel
    assert encounters.get_learned()[KEY].winner == winner


@pytest.mark.parametrize(
    ("times_us", "otherwise", "kernel", "winner"),
    [
        ((4.0, 6.0, 5.0), "multiphase", "wave", "wave"),
        ((6.0, 4.0, 4.01), "multiphase", "multiphase", None),
        ((6.0, 4.0, 4.01), "wave", "oneshot", None),  # what would have run is slower than both that tie
        ((4.0, 4.01, 3.99), "oneshot", "oneshot", None),
    ],
)
def test_any_number_of_kernels_is_compared(
    times_us: tuple[float, ...], otherwise: str, kernel: str, winner: str | None
) -> None:
    """Protects a third kernel: it may win, and a tie keeps what would have run if that is tied, else its first."""
    encounters = FirstEncounters(FakeTimer(dict(zip(THREE, times_us, strict=True))).make_opener())
    assert encounters.meet(make_encounter(otherwise, THREE), get_stream()) == kernel
    learned = encounters.get_learned()[KEY]
    assert learned.winner == winner
    assert {name: len(samples) for name, samples in learned.samples_us.items()} == dict.fromkeys(THREE, 8)


def test_kernels_that_are_left_are_compared() -> None:
    """Protects the choice among several: one that refuses to launch costs itself, not the comparison."""
    timer = FakeTimer({"wave": 1.0, "oneshot": 6.0, "multiphase": 4.0}, refused=("wave",))
    encounters = FirstEncounters(timer.make_opener())
    assert encounters.meet(make_encounter("wave", THREE), get_stream()) == "multiphase"
    assert list(encounters.get_learned()[KEY].samples_us) == ["oneshot", "multiphase"]


def test_kernels_are_timed_in_turn_and_none_always_first() -> None:
    """Protects the choice from a drifting clock: no kernel always runs last."""
    timer = FakeTimer({"oneshot": 4.0, "multiphase": 4.0})
    FirstEncounters(timer.make_opener()).meet(make_encounter(), get_stream())
    rounds = [tuple(timer.sampled[start : start + 2]) for start in range(0, len(timer.sampled), 2)]
    counted = rounds[1:]  # one warms up
    assert len(counted) == RULE.max_rounds
    assert set(counted) == {TWO, TWO[::-1]}
    assert 3 <= counted.count(TWO) <= 5


def test_one_disturbed_sample_does_not_undo_a_win() -> None:
    """Protects a choice from a hiccup, of which there are many while a process starts: few rounds must do."""

    class Disturbed(FakeTimer):
        """Has a hiccup in one round."""

        def sample(self, name: KernelName, variant: int) -> float:
            return super().sample(name, variant) * (9.0 if len(self.sampled) == 7 else 1.0)

    for times_us, winner in (((4.0, 5.0), "oneshot"), ((5.0, 4.0), "multiphase")):
        encounters = FirstEncounters(Disturbed(dict(zip(TWO, times_us, strict=True))).make_opener())
        encounters.meet(make_encounter(), get_stream())
        assert encounters.get_learned()[KEY].winner == winner


def test_measured_call_is_exact_and_the_next_one_launches_once(torch_device: torch.device, launches: Launches) -> None:
    """Protects the outputs of the call that measures, and the speed of those after it."""
    case = cases.make_uniform(30, 4, 64)
    sort_and_check(case, torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    assert launches.kernels[-1] == choice.kernel
    assert set(launches.kernels) == set(THREE)
    launches.clear()
    sort_and_check(case, torch_device, **MEASURE)
    assert launches.kernels == [choice.kernel]


def test_every_measured_launch_has_its_workspace(torch_device: torch.device, launches: Launches) -> None:
    """Flaw 1: the workspace's size was asked for before the choice, so that multiphase could run without one."""
    sort_and_check(cases.make_uniform(40, 4, 64), torch_device, **MEASURE)
    needed = get_sorting_device(torch_device).get_plan(40, 4, 64).workspace_bytes
    assert {nbytes for kernel, nbytes in launches if kernel == "multiphase"} == {needed}


def test_cold_first_runs_do_not_count(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flaw 2: one cold call of each kernel was compared, oneshot first, so that oneshot paid for the warm-up."""
    graphs: list[Any] = []
    runs: dict[Any, int] = {}

    def measure_us(_stopwatch: Stopwatch, work: Work) -> float:
        """Take long for the first two runs of anything; oneshot is captured first."""
        runs[work] = runs.get(work, 0) + 1
        graph = getattr(work, "__self__", None)
        if graph is not None and graph not in graphs:
            graphs.append(graph)
        return 1000.0 if runs[work] < 3 else 200.0 if graph is graphs[0] else 400.0

    monkeypatch.setattr(Stopwatch, "measure_us", measure_us)
    encounters = FirstEncounters(make_replaying_timer(device))
    assert encounters.meet(make_encounter(otherwise="multiphase"), get_stream()) == "oneshot"
    assert len(graphs) == 2


def test_first_call_is_short(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a serving process, which waits for it: few rounds of few sorts, even where a sort takes no time."""
    sorts = 0

    def measure_us(stopwatch: Stopwatch, work: Work) -> float:
        """Take a microsecond for any work."""
        work(stopwatch.stream)
        return 1.0

    def count(_stream: hip.Stream) -> None:
        nonlocal sorts
        sorts += 1

    monkeypatch.setattr(Stopwatch, "measure_us", measure_us)
    on = device.create_stream()
    FirstEncounters(make_replaying_timer(device)).meet(
        Encounter(KEY, {"oneshot": count, "multiphase": count}, "oneshot", 32, 0, "bfloat16"), on
    )
    assert sorts <= 2 * 3 * LAUNCHES.most  # enqueued or captured, but not replayed


def test_nothing_is_learned_under_capture(
    device: hip.Device, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flaw 3: errors of events under capture were ignored, so that both times read 0 and oneshot was kept for good."""
    case = cases.make_uniform(40, 4, 64)
    arguments = make_arguments(case, torch_device) | MEASURE
    sort_and_check(case, torch_device)
    launched = Launches(monkeypatch)
    on = device.create_stream()
    with torch_streams.use(on, torch_device):
        device.capture(on, lambda _: ignore(moe_sorting(**arguments))).destroy()
    assert len(launched) == 1
    assert learned(torch_device) == {}
    moe_sorting(**arguments)
    assert list(learned(torch_device)) == [ShapeKey(40, 64, 4, moe_buf=False)]


@pytest.mark.parametrize("time_us", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_time_is_no_win(caplog: pytest.LogCaptureFixture, time_us: float) -> None:
    """Flaw 3 again: a time that cannot be true decides nothing and is said aloud."""
    encounters = make_memory(time_us, 5.0)
    with caplog.at_level(logging.WARNING):
        assert encounters.meet(make_encounter(otherwise="multiphase"), get_stream()) == "multiphase"
    assert encounters.get_learned()[KEY].samples_us == {}
    assert "could not be timed" in caplog.text


@pytest.mark.parametrize("refusing", [*combinations(THREE, 1), *combinations(THREE, 2)], ids=" and ".join)
def test_kernel_that_refuses_to_launch_loses(
    torch_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refusing: tuple[KernelName, ...],
) -> None:
    """Flaw 4: a kernel that did not launch took no time and won. Those that are left are compared, a last one runs."""
    plain = PlannedSort.launch

    def launch(planned: PlannedSort, kernel: Any, on: hip.Stream, **tensors: Any) -> None:
        if kernel in refusing:
            raise hip.HipError("hipModuleLaunchKernel", 9, "hipErrorInvalidConfiguration")
        plain(planned, kernel, on, **tensors)

    monkeypatch.setattr(PlannedSort, "launch", launch)
    sort_and_check(cases.make_uniform(30, 4, 64), torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    left = [kernel for kernel in THREE if kernel not in refusing]
    assert choice.kernel in left
    assert choice.winner in ([*left, None] if len(left) > 1 else [None])
    assert list(choice.samples_us) == (left if len(left) > 1 else [])
    assert [kernel for kernel in THREE if f"{kernel} is not used" in caplog.text] == list(refusing)
    assert "hipErrorInvalidConfiguration" in caplog.text


def test_error_is_raised_where_no_kernel_launches() -> None:
    """Flaw 4 again: with no kernel left, the reason reaches the caller, and nothing is remembered."""
    timer = FakeTimer({}, refused=TWO)
    encounters = FirstEncounters(timer.make_opener())
    with pytest.raises(hip.HipError, match="hipErrorLaunchFailure"):
        encounters.meet(make_encounter(), get_stream())
    assert encounters.get_learned() == {}
    assert timer.closed


def test_threads_measure_a_shape_once() -> None:
    """Flaw 5: the map had no lock, so that threads measured at once, disturbed each other and raced."""
    opened: list[FakeTimer] = []

    def open_timer(_works: Mapping[KernelName, Work], _stream: hip.Stream) -> contextlib.closing[FakeTimer]:
        assert not opened
        opened.append(FakeTimer({"oneshot": 4.0, "multiphase": 5.0}))
        return contextlib.closing(opened[-1])

    encounters = FirstEncounters(open_timer)
    results: list[KernelName] = []
    everyone = threading.Barrier(8)

    def meet() -> None:
        everyone.wait()
        results.append(encounters.meet(make_encounter(), get_stream()))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["oneshot"] * 8
    assert [timer.closed for timer in opened] == [True]


def test_shapes_that_differ_in_topk_alone_are_measured_each(torch_device: torch.device) -> None:
    """Flaw 6: the key had no topk, so that one model's choice was another's."""
    for topk in (2, 6):
        sort_and_check(cases.make_uniform(40, topk, 64), torch_device, **MEASURE)
    assert list(learned(torch_device)) == [
        ShapeKey(40, 64, 2, moe_buf=False),
        ShapeKey(40, 64, 6, moe_buf=False),
    ]


def test_shape_with_a_row_is_not_measured(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects the table's say: measuring is for what it does not know."""
    table = write_table(tmp_path, kernels, examples.row(64, 4, switch=2))
    sort_and_check(cases.make_uniform(40, 4, 64), torch_device, table=table, **MEASURE)
    assert launches.kernels == ["multiphase"]


def test_row_comes_before_what_was_learned(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects the table's say again: what was learned without a table does not outlive the arrival of a row."""
    sort_and_check(cases.make_uniform(40, 4, 64), torch_device, **MEASURE)
    (choice,) = learned(torch_device).values()
    switch = 2 if choice.kernel == "oneshot" else 1000
    table = write_table(tmp_path, kernels, examples.row(64, 4, switch=switch))
    launches.clear()
    sort_and_check(cases.make_uniform(40, 4, 64), torch_device, table=table, **MEASURE)
    assert launches.kernels == ["multiphase" if choice.kernel == "oneshot" else "oneshot"]


@pytest.mark.parametrize(
    ("tokens", "options"), [(0, {}), *((40, {"dispatch_policy": policy}) for policy in KERNELS), (2000, {})]
)
def test_nothing_is_measured_without_a_choice(
    torch_device: torch.device, launches: Launches, tokens: int, options: dict[str, int]
) -> None:
    """Protects calls that have one kernel only: no tokens, a caller's own policy, more tokens than oneshot takes."""
    sort_and_check(cases.make_uniform(tokens, 2, 1024), torch_device, **options, **MEASURE)
    assert len(launches) == 1
    assert learned(torch_device) == {}
