"""Which kernel the operator runs, and with what workspace."""

from pathlib import Path

import pytest
import torch

from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.torch_device import NotReadyError, refuse_under_capture
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from tests.operator.operator_tables import Launches, write_table
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]


@pytest.fixture
def launches(checked_tensors: None, monkeypatch: pytest.MonkeyPatch) -> Launches:
    """Return the operator's recorded launches."""
    del checked_tensors  # comes first, so that memory is known whatever is recorded
    return Launches(monkeypatch)


def sort(tokens: int, device: torch.device, **options: object) -> None:
    """One sort with 128 experts and topk 4."""
    moe_sorting(**make_arguments(cases.make_uniform(tokens, 4, 128), device), **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_table")
def test_table_of_the_environment_decides(
    torch_device: torch.device,
    kernels: SortingKernels,
    launches: Launches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects the product's point: the kernel changes where the table says, for the tensor's own device."""
    row = examples.row(128, 4, policy=((1, "wave"), (5, "oneshot"), (9, "multiphase")))
    table = write_table(tmp_path, kernels, row)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(table))
    for tokens in (4, 5, 8, 9):
        sort(tokens, torch_device)
    assert launches.kernels == ["wave", "oneshot", "oneshot", "multiphase"]
    assert get_sorting_device(torch_device).get_dispatcher().counts() == {"exact row": 4}


@pytest.mark.usefixtures("no_table")
def test_table_of_the_call_decides(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects callers with a table of their own; another call goes by the process's table again."""
    table = write_table(tmp_path, kernels, examples.row(128, 4, switch=2))
    sort(8, torch_device, table=table)
    sort(8, torch_device)
    assert launches.kernels == ["multiphase", "wave"]


def test_table_of_other_kernels_is_not_used(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects against a stale table: figures of kernels that have changed since decide nothing, and it is said why."""
    table = write_table(tmp_path, kernels, examples.row(128, 4, switch=2), revision="0123456789abcdef")
    sort(8, torch_device, table=table)
    assert launches.kernels == ["wave"]
    (sentence,) = get_sorting_device(torch_device).get_dispatcher(str(table)).not_used
    assert "its kernels have changed: revision 0123456789abcdef was measured" in sentence


def test_callers_policy_comes_before_the_table(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path
) -> None:
    """Protects a caller who asks for one kernel."""
    table = write_table(tmp_path, kernels, examples.row(128, 4, switch=2))
    sort(8, torch_device, table=table, dispatch_policy=1)
    sort(1, torch_device, table=table, dispatch_policy=2)
    sort(8, torch_device, table=table, dispatch_policy=3)
    assert launches.kernels == ["oneshot", "multiphase", "wave"]


def test_workspace_is_sized_for_the_kernel_that_was_chosen(torch_device: torch.device, launches: Launches) -> None:
    """Protects multiphase from a null or short workspace, and the others from allocating one."""
    for policy in (1, 2, 3):
        sort(30, torch_device, dispatch_policy=policy)
    needed = get_sorting_device(torch_device).get_plan(30, 4, 128).workspace_bytes
    assert needed > 0
    assert launches == [("oneshot", 0), ("multiphase", needed), ("wave", 0)]


@pytest.mark.parametrize("kernel", ["wave", "oneshot"])
def test_automatic_choice_is_never_an_illegal_kernel(
    torch_device: torch.device, kernels: SortingKernels, launches: Launches, tmp_path: Path, kernel: str
) -> None:
    """Protects against a table that was made where a workgroup has more LDS, or a wave more lanes."""
    row = examples.row(1024, 2, policy=((1, kernel),), limits={kernel: 10**6})
    table = write_table(tmp_path, kernels, row)
    longest = get_sorting_device(torch_device).get_plan(1, 2, 1024).limits[kernel]
    for tokens in (longest, longest + 1):
        moe_sorting(**make_arguments(cases.make_uniform(tokens, 2, 1024), torch_device), table=table)
    assert launches.kernels == [kernel, {"wave": "oneshot", "oneshot": "multiphase"}[kernel]]


def test_first_call_during_capture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a capture from kernels being compiled and loaded in its midst: the sentence says what to do."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(NotReadyError, match=r"first time on cuda:0 during graph capture.* call it once before"):
        refuse_under_capture(torch.device("cuda", 0), "moe_sorting")
