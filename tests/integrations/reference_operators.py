"""An operator of torch's that aligns by the reference, in the place of the frameworks' compiled ones on the CPU."""

from dataclasses import dataclass, field

import numpy as np
import torch

from moesort_tune.sorting.align import AlignInputs, AlignProblem, align_block_size

SCHEMA = (
    "moe_align_block_size(Tensor topk_ids, int num_experts, int block_size, Tensor(a!) sorted_token_ids, "
    "Tensor(b!) experts_ids, Tensor(c!) num_tokens_post_pad, Tensor? expert_map, Tensor(d!)? scatter_idx) -> ()"
)
"""vLLM's operator."""


@dataclass
class Runs:
    """The pairs of each call that reached a framework's own kernel."""

    pairs: list[int] = field(default_factory=list)


runs = Runs()


def define(namespace: str) -> torch.library.Library:
    """Define the operator in a namespace of torch's, as long as the result is kept."""
    library = torch.library.Library(namespace, "FRAGMENT")
    library.define(SCHEMA)
    library.impl("moe_align_block_size", align, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{namespace}::moe_align_block_size", lambda *_: None, lib=library)
    return library


def align(  # noqa: PLR0917 - vLLM's signature
    topk_ids: torch.Tensor,
    num_experts: int,
    block_size: int,
    sorted_token_ids: torch.Tensor,
    experts_ids: torch.Tensor,
    num_tokens_post_pad: torch.Tensor,
    expert_map: torch.Tensor | None = None,
    scatter_idx: torch.Tensor | None = None,
    *,
    first_id: int = 0,
) -> None:
    """Do as the frameworks' compiled kernels do. num_experts: without the id -1."""
    runs.pairs.append(topk_ids.numel())
    rows, topk = topk_ids.shape
    problem = AlignProblem(
        rows,
        topk,
        num_experts,
        block_size,
        framework="vllm" if first_id == 0 else "sglang",
        ignore_invalid_experts=expert_map is not None,
    )
    inputs = AlignInputs(topk_ids.cpu().numpy(), None if expert_map is None else expert_map.cpu().numpy())
    expected = align_block_size(inputs, problem)
    for given, values, rest in (
        (sorted_token_ids, expected.sorted_token_ids, topk_ids.numel()),
        (experts_ids, expected.expert_ids, -1),
        (num_tokens_post_pad, expected.num_tokens_post_pad, 0),
        (scatter_idx, expected.scatter_idx, 0),
    ):
        if given is not None and values is not None:
            length = min(given.numel(), len(values))
            filled = np.full(given.numel(), rest, np.int32)
            filled[:length] = values[:length]
            given.view(-1).copy_(torch.from_numpy(filled))


_library = define("moesort_stand_in")
