"""One sorting problem: its sizes and which optional inputs and outputs it has."""

from dataclasses import dataclass

from moesort_tune.domain.vocabulary import DEFAULT_UNIT_SIZE, MAX_EXPERTS, MAX_TOKENS, MAX_TOPK, MAX_UNIT_SIZE
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sorting.geometry import compute_max_padded, compute_max_tiles


class ProblemError(MoesortTuneError):
    """A size outside what the kernels take."""


@dataclass(frozen=True)
class Problem:
    """Sizes of one sort.

    rows: rows of topk_ids, 0 to 2**24 - 1. moe_buf_bytes: bytes to zero, 0 where there is no moe_buf.
    Raises ProblemError naming the argument, what it was and what it must be.
    """

    rows: int
    topk: int
    num_experts: int
    unit_size: int = DEFAULT_UNIT_SIZE
    moe_buf_bytes: int = 0

    def __post_init__(self) -> None:
        _check_range("rows", self.rows, 0, MAX_TOKENS)
        _check_range("num_experts", self.num_experts, 1, MAX_EXPERTS)
        _check_range("topk", self.topk, 1, min(MAX_TOPK, self.num_experts))
        _check_range("unit_size", self.unit_size, 1, MAX_UNIT_SIZE)
        _check_range("moe_buf_bytes", self.moe_buf_bytes, 0, (1 << 63) - 1)
        if self.max_padded >= 1 << 31:
            raise ProblemError(
                f"rows * topk + num_experts * unit_size - topk must be below 2^31, got {self.max_padded} "
                f"(rows={self.rows}, topk={self.topk}, num_experts={self.num_experts}, unit_size={self.unit_size})"
            )

    @property
    def pairs(self) -> int:
        """(token, slot) pairs."""
        return self.rows * self.topk

    @property
    def max_padded(self) -> int:
        """Rows of the sorted outputs."""
        return compute_max_padded(self.rows, self.topk, self.num_experts, self.unit_size)

    @property
    def max_tiles(self) -> int:
        """Elements of sorted_expert_ids."""
        return compute_max_tiles(self.rows, self.topk, self.num_experts, self.unit_size)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ProblemError(f"{name} must be {low} to {high}, got {value}")
