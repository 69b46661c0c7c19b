"""What the operator says about arguments that are not what they must be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from moesort_tune.operator.arguments import ArgumentError, Request, check
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import ProblemError
from moesort_tune.tables.errors import TableError
from tests.operator.torch_cases import make_arguments, sort_and_check
from tests.sorting import cases

Change = Callable[[torch.Tensor], object]

POLICIES = "0 .automatic., 1 .oneshot., 2 .multiphase. or 3 .wave."
"""The policies in a pattern of their message."""


@pytest.fixture
def arguments(torch_device: torch.device) -> dict[str, Any]:
    """Return a valid call: 6 rows, topk 2, 8 experts."""
    return make_arguments(cases.set_tokens(cases.set_mask(cases.make_uniform(6, 2, 8)), 6), torch_device)


def request(arguments: dict[str, Any]) -> Request:
    """Return the call as the operator sees it; what is not given is None."""
    return Request._make(arguments.get(field) for field in Request._fields)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("topk_ids", lambda t: t.long(), "contiguous int32 tensor of shape [rows, topk], got int64 of shape [6, 2]"),
        ("topk_ids", lambda t: t[0], "of shape [rows, topk], got int32 of shape [2]"),
        ("topk_ids", lambda t: t.t(), "got int32 of shape [2, 6] with strides [1, 2]"),
        ("topk_weights", lambda t: t.half(), "contiguous float32 tensor of shape [6, 2], got float16 of shape [6, 2]"),
        ("topk_weights", lambda t: t[:5], "of shape [6, 2], got float32 of shape [5, 2]"),
        ("topk_weights", lambda t: t.repeat(1, 2)[:, ::2], "got float32 of shape [6, 2] with strides [4, 2]"),
        ("local_expert_mask", lambda t: t[:7], "contiguous int32 tensor of shape [8], got int32 of shape [7]"),
        ("local_expert_mask", lambda t: t.bool(), "of shape [8], got bool of shape [8]"),
        ("num_local_tokens", lambda t: t.long(), "contiguous int32 tensor of shape [1], got int64 of shape [1]"),
        ("num_local_tokens", lambda t: t[0], "of shape [1], got int32 of shape []"),
    ],
)
def test_wrong_tensor_is_named_with_what_it_must_be(
    arguments: dict[str, Any], name: str, change: Change, words: str
) -> None:
    """Protects the caller: a tensor that a kernel would misread is refused before anything is launched."""
    with pytest.raises(ArgumentError) as caught:
        moe_sorting(**(arguments | {name: change(arguments[name])}))
    assert str(caught.value).startswith(f"{name} must be ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("topk_ids", [[0, 1]], "a tensor, got [[0, 1]] of type list"),
        ("topk_weights", None, "a tensor, got None of type NoneType"),
        ("local_expert_mask", [1] * 8, "a tensor, got [1, 1,"),
        ("num_local_tokens", 5, "a tensor, got 5 of type int"),
        ("num_experts", 8.0, "an integer, got 8.0 of type float"),
        ("num_experts", None, "an integer, got None"),
        ("num_experts", torch.tensor(8), "an integer, got tensor(8) of type Tensor"),
        ("unit_size", "32", "an integer, got '32' of type str"),
        ("model_dim", 8.0, "an integer, got 8.0 of type float"),
        ("moe_buf_dtype", "bfloat16", "a torch.dtype, got 'bfloat16' of type str"),
        ("dispatch_policy", True, "an integer, got True of type bool"),
        ("table", 5, "None or the path of a file or a folder, got 5"),
        ("table", "", "None or the path of a file or a folder, got ''"),
    ],
)
def test_wrong_type_is_named_with_what_it_must_be(
    arguments: dict[str, Any], name: str, value: object, words: str
) -> None:
    """Protects the caller from errors of the inside, which tell nobody which argument was wrong."""
    with pytest.raises(ArgumentError) as caught:
        moe_sorting(**(arguments | {name: value}))
    assert str(caught.value).startswith(f"{name} must be ")
    assert words in str(caught.value)


@pytest.mark.usefixtures("checked_tensors")
def test_wrong_number_leaves_later_calls_alone(arguments: dict[str, Any]) -> None:
    """Protects the plans: 24 and 24.0 are the same key, so a plan made from a float failed correct calls for good."""
    with pytest.raises(ArgumentError):
        moe_sorting(**arguments, model_dim=24.0)  # type: ignore[arg-type]
    result = moe_sorting(**arguments, model_dim=24)
    assert result.moe_buf is not None
    assert result.moe_buf.shape == (6, 24)


@pytest.mark.usefixtures("checked_tensors")
def test_integers_of_numpy_are_taken(arguments: dict[str, Any]) -> None:
    """Protects callers whose sizes come from arrays."""
    result = moe_sorting(**(arguments | {"num_experts": np.int32(8), "model_dim": np.int64(4)}))
    assert result.moe_buf is not None


@pytest.mark.parametrize("name", ["topk_weights", "local_expert_mask", "num_local_tokens"])
def test_tensor_on_another_device_is_named(arguments: dict[str, Any], name: str) -> None:
    """Protects against pointers of another memory; `meta` stands for any other device here."""
    with pytest.raises(ArgumentError) as caught:
        check(request(arguments | {name: arguments[name].to("meta")}))
    assert str(caught.value) == f"{name} must be on {arguments['topk_ids'].device} like topk_ids, got meta"


def test_tensors_of_an_unknown_kind_of_device_are_refused(arguments: dict[str, Any]) -> None:
    """Protects users of other accelerators: the sentence says which devices there are kernels for."""
    meta = {name: value.to("meta") for name, value in arguments.items() if isinstance(value, torch.Tensor)}
    with pytest.raises(ArgumentError, match="topk_ids must be on a CPU or on a CUDA or ROCm GPU, got meta"):
        check(request(arguments | meta))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_experts": 0, "local_expert_mask": None}, "num_experts must be 1 to 1024, got 0"),
        ({"num_experts": 1025, "local_expert_mask": None}, "num_experts must be 1 to 1024, got 1025"),
        ({"num_experts": 1, "local_expert_mask": None}, "topk must be 1 to 1, got 2"),
        ({"unit_size": 0}, "unit_size must be 1 to 1024, got 0"),
        ({"unit_size": 1025}, "unit_size must be 1 to 1024, got 1025"),
    ],
)
def test_size_outside_the_contract_is_named(arguments: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    """Protects against launches of sizes that no kernel was written for."""
    with pytest.raises(ProblemError, match=words):
        moe_sorting(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dispatch_policy": 4}, f"dispatch_policy must be {POLICIES}, got 4"),
        ({"dispatch_policy": -1}, f"dispatch_policy must be {POLICIES}, got -1"),
        ({"model_dim": -1}, "model_dim must be None or at least 0, got -1"),
        ({"on_miss": "guess"}, "on_miss must be None or 'measure', got 'guess'"),
    ],
)
def test_wrong_option_is_named(arguments: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    """Protects against a misspelt option that would silently do something else."""
    with pytest.raises(ArgumentError, match=words):
        moe_sorting(**(arguments | changes))


def test_forced_oneshot_past_its_limit_is_an_error(torch_device: torch.device) -> None:
    """Protects the outputs: a policy that cannot be followed is not silently replaced by another one."""
    case = cases.make_uniform(2000, 2, 1024)
    with pytest.raises(KernelTooLargeError, match=r"with 1024 experts .*\(got 2000\); use dispatch_policy=2 or 0"):
        moe_sorting(**make_arguments(case, torch_device), dispatch_policy=1)


@pytest.mark.usefixtures("checked_tensors")
def test_forced_wave_past_its_limit_is_an_error(torch_device: torch.device, kernels: SortingKernels) -> None:
    """Protects the outputs again: more pairs than wave has lanes are refused with the policies that take them."""
    last = compute_limits(8, 3, kernels.limits)["wave"]
    cut, whole = (cases.make_uniform(tokens, 3, 8) for tokens in (last, last + 1))
    with pytest.raises(KernelTooLargeError, match=rf"wave takes at most {last} tokens .*\(got {last + 1}\); use "):
        moe_sorting(**make_arguments(whole, torch_device), dispatch_policy=3)
    sort_and_check(cut, torch_device, dispatch_policy=3)


def test_missing_table_is_an_error(arguments: dict[str, Any]) -> None:
    """Protects a caller who names a table: its absence is not silently replaced by AITER's rule."""
    with pytest.raises(TableError, match=r"/nowhere/host.yaml does not exist"):
        moe_sorting(**arguments, table="/nowhere/host.yaml")
