"""The operator inside torch: opcheck, fake tensors, torch.compile."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moesort_tune.operator.policies import POLICIES
from moesort_tune.operator.torch_operator import SortedTokens, moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from tests.operator.torch_cases import check, fit, make_arguments
from tests.sorting import cases

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]

EVERYTHING: dict[str, Any] = {"model_dim": 24, "return_local_topk_ids": True, "output_aux": True}


@pytest.mark.parametrize("optional", [(None, False, False), (24, False, True), (24, True, True)])
def test_operator_passes_opcheck(torch_device: torch.device, optional: tuple[int | None, bool, bool]) -> None:
    """Protects torch.compile: schema, fake implementation and AOT tracing agree with what the operator does.

    opcheck compares whole tensors; with every expert chosen by every row and tiles of one row, all of them is defined.
    """
    arguments = make_arguments(cases.make_uniform(9, 4, 4, unit_size=1), torch_device)
    model_dim, return_local_topk_ids, output_aux = optional
    torch.library.opcheck(
        torch.ops.moesort_tune.moe_sorting.default,
        (
            *(arguments["topk_ids"], arguments["topk_weights"], 4, 1, model_dim, torch.bfloat16),
            *(None, None, 0, None, False, return_local_topk_ids, output_aux),
        ),
    )


def test_outputs_want_no_gradient(torch_device: torch.device) -> None:
    """Protects training code: sorting has no derivative, on the plain way as on torch's, where opcheck agrees."""
    arguments = make_arguments(cases.make_uniform(9, 4, 4, unit_size=1), torch_device)
    ids, weights = arguments["topk_ids"], arguments["topk_weights"].requires_grad_()
    asked = (ids, weights, 4, 1, None, torch.bfloat16, None, None, 0, None, False, False, False)
    results = [moe_sorting(ids, weights, 4, 1), torch.ops.moesort_tune.moe_sorting.default(*asked)]
    assert not any(result[1].requires_grad for result in results)
    torch.library.opcheck(torch.ops.moesort_tune.moe_sorting.default, asked)


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"model_dim": 0, "moe_buf_dtype": torch.float32}])
def test_fake_outputs_have_the_shapes_of_real_ones(torch_device: torch.device, options: dict[str, Any]) -> None:
    """Protects the compiler's memory planning: an output has the shape and dtype that the fake kernel declares."""
    arguments = make_arguments(cases.set_mask(cases.make_uniform(37, 3, 20, unit_size=16)), torch_device)
    real = moe_sorting(**arguments, **options)
    meta = {key: value.to("meta") if isinstance(value, torch.Tensor) else value for key, value in arguments.items()}
    fake = moe_sorting(**meta, **options)
    assert _describe(fake) == _describe(real)


def test_compiled_function_sorts_at_every_size(torch_device: torch.device) -> None:
    """Protects a compiled model: one graph without breaks, made for one size, sorts batches of others."""
    compiled = torch.compile(_double, backend="aot_eager", fullgraph=True, dynamic=True)
    for tokens in (5, 64, 130):
        case = cases.make_uniform(tokens, 4, 32)
        arguments = make_arguments(case, torch_device)
        result = compiled(arguments["topk_ids"], arguments["topk_weights"])
        check(_replace_weights(result, result.sorted_weights / 2), case)


def test_profiler_sees_the_operator(torch_device: torch.device) -> None:
    """Protects whoever looks for the sort in a profile: plain calls skip torch's dispatcher, watched ones do not."""
    arguments = make_arguments(cases.make_uniform(9, 2, 8), torch_device)
    with torch.profiler.profile() as profile:
        moe_sorting(**arguments)
    assert "moesort_tune::moe_sorting" in {event.name for event in profile.events()}


@pytest.mark.parametrize("policy", POLICIES)
def test_operator_in_the_dispatcher_sorts_too(torch_device: torch.device, kernels: SortingKernels, policy: int) -> None:
    """Protects compiled and traced calls: under a mode the call goes the long way, to the same outputs."""
    case = fit(cases.set_mask(cases.make_uniform(40, 4, 32)), policy, kernels)
    with FlopCounterMode(display=False):
        result = moe_sorting(**make_arguments(case, torch_device), dispatch_policy=policy, **EVERYTHING)
    check(result, case)


def _double(topk_ids: torch.Tensor, topk_weights: torch.Tensor) -> SortedTokens:
    result = moe_sorting(topk_ids, topk_weights, 32, model_dim=8)
    return _replace_weights(result, result.sorted_weights * 2)


def _replace_weights(result: SortedTokens, weights: torch.Tensor) -> SortedTokens:
    """Return the result with other weights; torch 2.11 cannot compile a named tuple's own `_replace`."""
    return SortedTokens(result.sorted_token_ids, weights, *result[2:])


def _describe(result: SortedTokens) -> list[tuple[torch.Size, torch.dtype] | None]:
    return [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in result]
