"""The align form, which vLLM and SGLang call moe_align_block_size: its problem, and its reference in numpy.

Beside moe_sorting's, a row is the flat place `token * topk + slot` of its pair, padding is the number of pairs, and the
outputs are filled up to their end. There are no weights, and nothing is zeroed. Batched and LoRA forms are not covered.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from moesort_tune.domain.vocabulary import DEFAULT_UNIT_SIZE
from moesort_tune.sorting.geometry import round_up
from moesort_tune.sorting.inputs import Int32Array
from moesort_tune.sorting.problem import Problem

FrameworkName = Literal["vllm", "sglang"]


@dataclass(frozen=True)
class AlignProblem:
    """Sizes and meaning of one alignment.

    framework: whose capacity rule holds. SGLang's experts begin with the id -1, for pairs of other ranks, which get
    rows like any others; with ignore_invalid_experts they get none.
    ignore_invalid_experts: whether pairs of experts that expert_map has -1 for get no row; else their blocks have the
    expert -1. Ids outside the experts never get one.
    pad_sorted_ids: whether the capacity is a multiple of block_size. tail_expert: in the blocks that are not used.
    Raises ProblemError.
    """

    rows: int
    topk: int
    num_experts: int
    block_size: int = DEFAULT_UNIT_SIZE
    framework: FrameworkName = "vllm"
    ignore_invalid_experts: bool = False
    pad_sorted_ids: bool = False
    tail_expert: int = -1

    def __post_init__(self) -> None:
        _ = self.sort

    @property
    def first_id(self) -> int:
        """The lowest id that is an expert's."""
        return -1 if self.framework == "sglang" and not self.ignore_invalid_experts else 0

    @property
    def sort(self) -> Problem:
        """The same for the kernels, whose experts include the id -1 if it is one."""
        return Problem(self.rows, self.topk, self.num_experts - self.first_id, self.block_size)

    @property
    def pairs(self) -> int:
        """(token, slot) pairs, which the frameworks call numel."""
        return self.rows * self.topk

    @property
    def capacity_rows(self) -> int:
        """Elements of sorted_token_ids that the framework allocates."""
        if self.framework == "sglang":
            buckets = self.num_experts + 1
            few = self.pairs < buckets
            return round_up(self.pairs * self.block_size if few else self.pairs + buckets * (self.block_size - 1), 4)
        padded = self.pairs + self.num_experts * (self.block_size - 1)
        padded = round_up(padded, self.block_size) if self.pad_sorted_ids else padded
        return min(self.pairs * self.block_size, padded) if self.pairs < self.num_experts else padded

    @property
    def capacity_blocks(self) -> int:
        """Elements of expert_ids that the framework allocates."""
        return -(-self.capacity_rows // self.block_size)


@dataclass(frozen=True)
class AlignInputs:
    """Inputs of one alignment.

    topk_ids: int32 or int64 [rows, topk], of which the low 32 bits count.
    expert_map: int32 [num_experts], the id of each expert on this rank or -1; None without expert parallelism.
    """

    topk_ids: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    expert_map: Int32Array | None = None

    @property
    def id_bits(self) -> int:
        """Bits of an id."""
        return 8 * self.topk_ids.itemsize


@dataclass(frozen=True)
class AlignedOutputs:
    """The outputs of one alignment, each defined up to its end.

    sorted_token_ids int32 [capacity_rows], expert_ids int32 [capacity_blocks], num_tokens_post_pad int32 [1],
    scatter_idx int32 [pairs], None unless requested.
    """

    sorted_token_ids: Int32Array
    expert_ids: Int32Array
    num_tokens_post_pad: Int32Array
    scatter_idx: Int32Array | None = None


def align_block_size(inputs: AlignInputs, problem: AlignProblem) -> AlignedOutputs:
    """Sort the pairs by expert, those of an expert by place, and pad every expert that has any to whole blocks.

    Blocks are in the order of the experts' ids in topk_ids, also where expert_map names them in another one.
    """
    experts = inputs.topk_ids.reshape(-1).astype(np.int32).astype(np.int64) - problem.first_id
    num_experts = problem.sort.num_experts
    names = np.arange(num_experts) + problem.first_id if inputs.expert_map is None else inputs.expert_map
    taken = (experts >= 0) & (experts < num_experts)
    if problem.ignore_invalid_experts:
        taken[taken] = names[experts[taken]] >= 0

    pairs = np.flatnonzero(taken)
    pairs = pairs[np.argsort(experts[pairs], kind="stable")]
    counts = np.bincount(experts[pairs], minlength=num_experts)
    blocks = -(-counts // problem.block_size)
    first_rows = np.cumsum(blocks) * problem.block_size - blocks * problem.block_size
    ranks = np.arange(len(pairs)) - (np.cumsum(counts) - counts)[experts[pairs]]

    sorted_token_ids = np.full(problem.capacity_rows, problem.pairs, np.int32)
    sorted_token_ids[first_rows[experts[pairs]] + ranks] = pairs
    expert_ids = np.full(problem.capacity_blocks, problem.tail_expert, np.int32)
    expert_ids[: blocks.sum()] = np.repeat(names, blocks)
    return AlignedOutputs(
        sorted_token_ids=sorted_token_ids,
        expert_ids=expert_ids,
        num_tokens_post_pad=np.array([blocks.sum() * problem.block_size], np.int32),
        scatter_idx=np.where(taken, np.arange(problem.pairs), -1).astype(np.int32),
    )
