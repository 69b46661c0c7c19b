"""The matrix products of an MoE layer in plain torch, in the place of AITER's compiled ones."""

from typing import Any, NamedTuple

import torch

TOKEN_BITS = 24
"""A sorted id is the token in these bits, and the slot above them."""


class Layer(NamedTuple):
    """The inputs of AITER's fused_moe, in its order."""

    hidden_states: torch.Tensor
    w1: torch.Tensor
    w2: torch.Tensor
    topk_weight: torch.Tensor
    topk_ids: torch.Tensor


def make_layer(tokens: int, num_experts: int, topk: int, *, local_experts: int | None = None) -> Layer:
    """Return random inputs of a layer. local_experts: how many of the experts have weights here; by default all."""
    generator = torch.Generator().manual_seed(tokens)
    model_dim, inter_dim, local = 64, 32, local_experts or num_experts

    def make(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) / 4).to(torch.bfloat16)

    weights = torch.rand(tokens, topk, generator=generator)
    ids = torch.rand(tokens, num_experts, generator=generator).argsort(dim=1)[:, :topk].to(torch.int32)
    return Layer(
        make(tokens, model_dim), make(local, 2 * inter_dim, model_dim), make(local, model_dim, inter_dim), weights, ids
    )


def multiply(  # noqa: PLR0917 - the signature of AITER's fused_moe_2stages
    hidden_states: torch.Tensor,
    w1: torch.Tensor,
    w2: torch.Tensor,
    topk: int,
    sorted_ids: torch.Tensor,
    sorted_weights: torch.Tensor,
    sorted_expert_ids: torch.Tensor,
    num_valid_ids: torch.Tensor,
    moe_out: torch.Tensor,
    is_g1u1: bool,
    block_size: int,
    **_: Any,
) -> torch.Tensor:
    """Add each tile's products into `moe_out`, reading the sorted ids as the compiled kernels do."""
    assert is_g1u1
    total = torch.zeros(moe_out.shape)
    for first in range(0, int(num_valid_ids[0]), block_size):
        expert = int(sorted_expert_ids[first // block_size])
        packed = sorted_ids[first : first + block_size]
        real = (packed & (1 << TOKEN_BITS) - 1) < len(hidden_states)
        tokens = (packed[real] & (1 << TOKEN_BITS) - 1).long()
        assert (packed[real] >> TOKEN_BITS < topk).all()
        gate, up = (hidden_states[tokens].float() @ w1[expert].float().T).chunk(2, dim=1)
        product = (torch.nn.functional.silu(gate) * up) @ w2[expert].float().T
        total.index_add_(0, tokens, product * sorted_weights[first : first + block_size][real][:, None])
    return moe_out.add_(total.to(moe_out.dtype))


def skip(*inputs: Any, **_: Any) -> Any:
    """Return moe_out as it is, where nobody sorted."""
    return inputs[8]
