"""MoE token sorting in numpy, the reference that every kernel's defined output equals bit for bit."""

from dataclasses import dataclass

import numpy as np

from moesort_tune.sorting.inputs import Float32Array, Int32Array, SortingInputs

SLOT_SHIFT = 24
"""sorted_token_ids holds `token | slot << SLOT_SHIFT`."""


@dataclass(frozen=True)
class SortedOutputs:
    """The outputs of one sort, truncated to their defined elements. R = num_valid_ids[0] rows, P = rows * topk pairs.

    sorted_token_ids int32 [R], sorted_weights float32 [R], sorted_expert_ids int32 [R / unit_size],
    num_valid_ids int32 [2], m_indices int32 [R], reverse_sorted int32 [P], local_topk_ids int32 [P].
    The optional ones are None unless requested.
    """

    sorted_token_ids: Int32Array
    sorted_weights: Float32Array
    sorted_expert_ids: Int32Array
    num_valid_ids: Int32Array
    m_indices: Int32Array | None = None
    reverse_sorted: Int32Array | None = None
    local_topk_ids: Int32Array | None = None


def moe_sorting(inputs: SortingInputs, *, num_experts: int, unit_size: int) -> SortedOutputs:
    """Sort the (token, slot) pairs by expert and pad every expert that has any to whole tiles of unit_size rows.

    Ids outside [0, num_experts), ids of masked experts and rows from num_local_tokens on get no row. Padding is
    marked with `rows | topk << 24` and weight 0, whatever number of rows is read.
    An expert that a token names in several slots gets a row for each of them, in the order of the slots.
    """
    rows, topk = inputs.topk_ids.shape
    tokens = rows if inputs.num_local_tokens is None else min(max(inputs.num_local_tokens, 0), rows)
    enabled = np.ones(num_experts, bool) if inputs.local_expert_mask is None else inputs.local_expert_mask != 0
    local_ids = np.cumsum(enabled) - enabled

    experts = inputs.topk_ids.reshape(-1)
    taken = (experts >= 0) & (experts < num_experts) & (np.arange(rows * topk) < tokens * topk)
    taken[taken] = enabled[experts[taken]]
    pairs = np.flatnonzero(taken)
    pairs = pairs[np.argsort(experts[pairs], kind="stable")]

    counts = np.bincount(experts[pairs], minlength=num_experts)
    tiles = -(-counts // unit_size)
    first_rows = np.cumsum(tiles) * unit_size - tiles * unit_size
    ranks = np.arange(len(pairs)) - (np.cumsum(counts) - counts)[experts[pairs]]
    place = first_rows[experts[pairs]] + ranks
    padded = int(tiles.sum()) * unit_size

    token_ids = np.full(padded, rows | topk << SLOT_SHIFT, np.uint32)
    token_ids[place] = pairs // topk | pairs % topk << SLOT_SHIFT
    weights = np.zeros(padded, np.float32)
    weights[place] = inputs.topk_weights.reshape(-1)[pairs]
    m_indices = np.full(padded, rows, np.int32)
    m_indices[place] = pairs // topk
    reverse_sorted = np.full(rows * topk, -1, np.int32)
    reverse_sorted[pairs] = place
    local_topk_ids = np.full(rows * topk, -1, np.int32)
    local_topk_ids[pairs] = local_ids[experts[pairs]]
    return SortedOutputs(
        sorted_token_ids=token_ids.view(np.int32),
        sorted_weights=weights,
        sorted_expert_ids=np.repeat(local_ids, tiles).astype(np.int32),
        num_valid_ids=np.array([padded, tokens], np.int32),
        m_indices=m_indices,
        reverse_sorted=reverse_sorted,
        local_topk_ids=local_topk_ids,
    )
