"""The second reference to moe_sorting, taken when this module is imported."""

from typing import Any

import torch

from aiter.fused_moe import moe_sorting


def get_dp_shared_expert_stage2_moe_sorting_result(
    token_num: int, share_expert_num: int, device: torch.device, block_size: int
) -> Any:
    """Call it as AITER does for shared experts: the policy by keyword, no moe_buf columns."""
    topk_ids = torch.arange(share_expert_num, dtype=torch.int32, device=device).repeat(token_num, 1)
    topk_weights = torch.ones(token_num, share_expert_num, dtype=torch.float32, device=device)
    return moe_sorting(
        topk_ids,
        topk_weights,
        share_expert_num,
        model_dim=0,
        moebuf_dtype=torch.float32,
        block_size=block_size,
        expert_mask=None,
        num_local_tokens=None,
        dispatch_policy=0,
    )
