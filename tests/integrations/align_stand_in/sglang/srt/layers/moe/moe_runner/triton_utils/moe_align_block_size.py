"""SGLang's function, which allocates, and the two kernels between which it chooses."""

import torch

from tests.integrations import reference_operators

SMALL_NUMEL_LIMIT = 64


def sgl_moe_align_block_size(  # noqa: PLR0917 - SGLang's signature
    topk_ids: torch.Tensor,
    num_experts: int,
    block_size: int,
    sorted_token_ids: torch.Tensor,
    experts_ids: torch.Tensor,
    num_tokens_post_pad: torch.Tensor,
    cumsum_buffer: torch.Tensor,
    pad_sorted_token_ids: bool = False,
    ignore_invalid_expert: bool = False,
) -> None:
    """Sort into the caller's tensors. num_experts counts the bucket of the id -1."""
    del cumsum_buffer, pad_sorted_token_ids
    first_id = 0 if ignore_invalid_expert else -1
    outputs = (sorted_token_ids, experts_ids, num_tokens_post_pad)
    reference_operators.align(topk_ids, num_experts - 1, block_size, *outputs, first_id=first_id)


def moe_align_small_numel(  # noqa: PLR0917
    topk_ids: torch.Tensor,
    num_experts: int,
    block_size: int,
    sorted_token_ids: torch.Tensor,
    expert_ids: torch.Tensor,
    num_tokens_post_pad: torch.Tensor,
    *,
    write_inactive_prefix_count: bool = False,
) -> None:
    """Do the same for few pairs."""
    outputs = (sorted_token_ids, expert_ids, num_tokens_post_pad[:1])
    reference_operators.align(topk_ids, num_experts - 1, block_size, *outputs, first_id=-1)
    if write_inactive_prefix_count:
        num_tokens_post_pad[1] = 0


def moe_align_block_size(
    topk_ids: torch.Tensor,
    block_size: int,
    num_experts: int,
    ignore_invalid_expert: bool = False,
    *,
    return_inactive_prefix_count: bool = False,
    pad_expert_ids: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Allocate, and sort by one of the two."""
    del pad_expert_ids
    pairs, buckets = topk_ids.numel(), num_experts + 1
    rows = pairs * block_size if pairs < buckets else pairs + buckets * (block_size - 1)
    rows = (rows + 3) // 4 * 4
    sorted_ids = torch.empty((rows,), dtype=torch.int32, device=topk_ids.device)
    expert_ids = torch.empty((-(-rows // block_size),), dtype=torch.int32, device=topk_ids.device)
    post_pad = torch.empty((2 if return_inactive_prefix_count else 1,), dtype=torch.int32, device=topk_ids.device)
    if pairs <= SMALL_NUMEL_LIMIT and buckets > SMALL_NUMEL_LIMIT and not ignore_invalid_expert:
        moe_align_small_numel(
            topk_ids,
            buckets,
            block_size,
            sorted_ids,
            expert_ids,
            post_pad,
            write_inactive_prefix_count=return_inactive_prefix_count,
        )
    else:
        cumsum = torch.empty((num_experts + 2,), dtype=torch.int32, device=topk_ids.device)
        sgl_moe_align_block_size(
            topk_ids, buckets, block_size, sorted_ids, expert_ids, post_pad, cumsum, True, ignore_invalid_expert
        )
    return sorted_ids, expert_ids, post_pad
