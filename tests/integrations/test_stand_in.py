"""The stand-in against what is known of AITER as of its commit e4048607."""

import importlib
import inspect
from typing import Any

import pytest
import torch

from tests.integrations.conftest import StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases

SIGNATURES = {
    "aiter.fused_moe:moe_sorting": (
        "topk_ids, topk_weights, num_experts, model_dim, moebuf_dtype, block_size=32, expert_mask=None, "
        "num_local_tokens=None, dispatch_policy=0, return_local_topk_ids=False, accumulate=True, flat=False, "
        "output_aux=False"
    ),
    "aiter:moe_sorting_opus_get_workspace_size": "tokens, num_experts, topk, dispatch_policy=0",
    "aiter:moe_sorting_opus_fwd": "*args, **kwargs",
}

OPERATOR = (
    "topk_ids, topk_weights, sorted_token_ids, sorted_weights, sorted_expert_ids, num_valid_ids, moe_buf, "
    "num_experts, unit_size, local_expert_mask, num_local_tokens, workspace, dispatch_policy, local_topk_ids, "
    "m_indices, reverse_sorted"
)
"""Arguments of torch.ops.aiter.moe_sorting_opus_fwd, by position."""

NEWER = {"aiter.fused_moe:moe_sorting": SIGNATURES["aiter.fused_moe:moe_sorting"] + ", output=None"}
"""What differs after e4048607."""

ROWS, TOPK, EXPERTS, MODEL_DIM = 10, 2, 16, 8
PADDED = ROWS * TOPK + EXPERTS * 32 - TOPK
FIVE = [(PADDED,), (PADDED,), (-(-PADDED // 32),), (2,), (ROWS, MODEL_DIM)]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("generation", ["e4048607", "newer"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_stand_in_has_aiters_signatures(name: str, generation: str) -> None:
    """Protects every test against the stand-in: AITER takes the same arguments in the same order."""
    module, _, attribute = name.partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters.values()
    reported = ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)
    assert reported == (NEWER if generation == "newer" else {}).get(name, SIGNATURES[name])


@pytest.mark.usefixtures("stand_in")
def test_stand_in_names_the_kernels_arguments_in_its_schema_alone() -> None:
    """Protects the counting at the kernel: AITER's Python function takes *args, and its operator names them."""
    importlib.import_module("aiter")
    arguments = torch.ops.aiter.moe_sorting_opus_fwd.default._schema.arguments
    assert ", ".join(argument.name for argument in arguments) == OPERATOR


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, FIVE),
        ({"accumulate": False}, [*FIVE[:4], (0, 0)]),
        ({"return_local_topk_ids": True}, [*FIVE, (ROWS, TOPK)]),
        ({"output_aux": True}, [*FIVE, (PADDED,), (ROWS * TOPK,)]),
        ({"flat": True}, [(ROWS, TOPK), (ROWS, TOPK), (ROWS, TOPK), (ROWS, TOPK), (ROWS, MODEL_DIM)]),
    ],
)
def test_stand_in_returns_what_aiter_returns(
    stand_in: StandIn, torch_device: torch.device, options: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    """Protects callers that unpack by number: 5 tensors, 6 with local ids, 7 with aux, [0, 0] if not summed."""
    arguments = make_arguments(cases.make_uniform(ROWS, TOPK, EXPERTS), torch_device)
    result = stand_in.fused_moe.moe_sorting(
        arguments["topk_ids"], arguments["topk_weights"], EXPERTS, MODEL_DIM, torch.bfloat16, **options
    )
    assert [tuple(tensor.shape) for tensor in result] == shapes


def test_stand_in_by_itself_goes_by_aiters_rule(stand_in: StandIn, torch_device: torch.device) -> None:
    """Protects the comparison: what is not steered takes oneshot up to AITER's own limit, 56 tokens at 128 experts."""
    for tokens in (56, 57):
        arguments = make_arguments(cases.make_uniform(tokens, TOPK, 128), torch_device)
        stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 128)
    assert [(run.policy, run.kernel) for run in stand_in.runs] == [(0, "oneshot"), (0, "multiphase")]
