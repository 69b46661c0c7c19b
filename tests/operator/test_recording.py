"""The recorder of routing: which rows of which calls it keeps, and that it costs a call nothing it would notice."""

from pathlib import Path
from typing import Any

import pytest
import torch

import moesort_tune
from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.operator.recording import record_routing
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.traces import Trace, read_trace
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]


def sort(device: torch.device, ids: list[list[int]], num_experts: int = 8, **options: Any) -> None:
    """Sort rows of these experts."""
    topk_ids = torch.tensor(ids, dtype=torch.int32, device=device)
    moe_sorting(topk_ids, torch.ones(topk_ids.shape, device=device), num_experts, **options)


def read_rows(path: Path) -> tuple[list[list[int]], list[int]]:
    """Return the ids of a trace, and the rows of each call."""
    trace: Trace = read_trace(path)
    return trace.topk_ids.tolist(), trace.tokens.tolist()


def test_calls_are_recorded_in_order_and_only_inside(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects the trace: it holds what was routed while it was recorded, call by call."""
    path = tmp_path / "routing.npz"
    sort(torch_device, [[5, 6]])
    with moesort_tune.record_routing(path):
        sort(torch_device, [[0, 1], [2, 3]])
        sort(torch_device, [[7, 0]], dispatch_policy=2)
    sort(torch_device, [[5, 6]])
    assert read_rows(path) == ([[0, 1], [2, 3], [7, 0]], [2, 1])
    assert read_trace(path).shape == Shape(8, 2)


def test_ids_are_copied_when_they_are_sorted(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects against a framework's buffer of ids, which the next step overwrites."""
    ids = torch.tensor([[0, 1]], dtype=torch.int32, device=torch_device)
    with record_routing(tmp_path / "t.npz"):
        moe_sorting(ids, torch.ones((1, 2), device=torch_device), 8)
        ids.fill_(3)
    assert read_rows(tmp_path / "t.npz")[0] == [[0, 1]]


def test_rows_that_nobody_routed_are_left_out(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects figures from padding: rows behind num_local_tokens, and ids that are no expert's."""
    tokens = torch.tensor([2], dtype=torch.int32, device=torch_device)
    with record_routing(tmp_path / "t.npz"):
        sort(torch_device, [[0, 1], [2, -1], [4, 5]], num_local_tokens=tokens)
        sort(torch_device, [[8, 1], [-1, -1]])
        sort(torch_device, [[6, 7], [0, 8]])
    assert read_rows(tmp_path / "t.npz") == ([[0, 1], [6, 7]], [1, 1])


def test_recording_ends_at_its_limit(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects memory: so many rows are kept and no more."""
    with record_routing(tmp_path / "t.npz", max_rows=3):
        for row in range(4):
            sort(torch_device, [[row, 7], [row, 6]])
    assert read_rows(tmp_path / "t.npz") == ([[0, 7], [0, 6], [1, 7]], [2, 1])


def test_one_call_of_so_many_is_recorded(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects the choice of layers: the first call, and then each one after so many."""
    with record_routing(tmp_path / "t.npz", every=3):
        for row in range(7):
            sort(torch_device, [[row, 7]])
    assert read_rows(tmp_path / "t.npz")[0] == [[0, 7], [3, 7], [6, 7]]


def test_calls_of_another_shape_are_left_out(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects the trace from a draft model beside the served one: a trace is of one shape, that of the first call."""
    with record_routing(tmp_path / "t.npz"):
        sort(torch_device, [[0, 1]])
        sort(torch_device, [[0, 1, 2]])
        sort(torch_device, [[0, 1]], num_experts=16)
    assert read_rows(tmp_path / "t.npz")[0] == [[0, 1]]


def test_calls_under_capture_are_not_recorded(torch_device: torch.device, device: hip.Device, tmp_path: Path) -> None:
    """Protects a capture from a copy in the graph, and the trace from ids that were not there yet."""
    arguments = make_arguments(cases.make_uniform(5, 2, 8), torch_device)
    moe_sorting(**arguments)
    with record_routing(tmp_path / "t.npz"):
        sort(torch_device, [[0, 1]])
        results: list[Any] = []
        with device.create_stream() as stream, torch_streams.use(stream, torch_device):
            graph = device.capture(stream, lambda _: results.append(moe_sorting(**arguments)))
        with graph:
            pass
    assert read_rows(tmp_path / "t.npz")[0] == [[0, 1]]


def test_nothing_recorded_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    """Protects against a trace of nothing, as of a model that only replays graphs; a model's own error comes first."""
    with pytest.raises(MoesortTuneError, match="no call of moe_sorting was recorded"), record_routing(tmp_path / "t"):
        pass
    with pytest.raises(KeyError), record_routing(tmp_path / "t"):
        raise KeyError
    assert not (tmp_path / "t").exists()


def test_model_that_fails_leaves_what_was_recorded(torch_device: torch.device, tmp_path: Path) -> None:
    """Protects a long recording from the error that ends it."""

    def fail() -> None:
        sort(torch_device, [[0, 1]])
        raise KeyError

    with pytest.raises(KeyError), record_routing(tmp_path / "t"):
        fail()
    assert read_rows(tmp_path / "t")[0] == [[0, 1]]


def test_folder_that_does_not_exist_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    """Protects an hour of serving from a misspelt path, which used to be found out at its end."""
    with pytest.raises(MoesortTuneError, match="is no folder"), record_routing(tmp_path / "nowhere" / "t.npz"):
        pytest.fail("nothing may be recorded")


def test_second_recording_and_senseless_limits_are_refused(tmp_path: Path) -> None:
    """Protects the first recording from being lost."""
    with (
        pytest.raises(MoesortTuneError, match="already being recorded"),
        record_routing(tmp_path / "a"),
        record_routing(tmp_path / "b"),
    ):
        pass
    for options in ({"max_rows": 0}, {"every": 0}):
        with pytest.raises(ValueError, match="must be at least 1"), record_routing(tmp_path / "c", **options):
            pass
