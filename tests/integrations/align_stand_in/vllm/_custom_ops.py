"""vLLM's Python functions around its compiled operators."""

import torch

from tests.integrations import reference_operators

__all__ = ["moe_align_block_size", "reference_operators"]


def moe_align_block_size(  # noqa: PLR0917 - vLLM's signature
    topk_ids: torch.Tensor,
    num_experts: int,
    block_size: int,
    sorted_token_ids: torch.Tensor,
    experts_ids: torch.Tensor,
    num_tokens_post_pad: torch.Tensor,
    expert_map: torch.Tensor | None = None,
    scatter_idx: torch.Tensor | None = None,
) -> None:
    """Sort into the caller's tensors."""
    torch.ops.moesort_stand_in.moe_align_block_size(
        topk_ids,
        num_experts,
        block_size,
        sorted_token_ids,
        experts_ids,
        num_tokens_post_pad,
        expert_map,
        scatter_idx,
    )
