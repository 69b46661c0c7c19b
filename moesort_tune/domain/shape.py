"""A shape of the grid, the key of a table's row."""

from dataclasses import dataclass

from moesort_tune.domain.vocabulary import MAX_EXPERTS, MAX_TOPK


@dataclass(frozen=True, order=True)
class Shape:
    """Global experts and experts per token."""

    num_experts: int
    topk: int

    def __str__(self) -> str:
        return f"{self.num_experts}/{self.topk}"


def make_shape(num_experts: int, topk: int) -> Shape:
    """Return the shape. Raise ValueError where the kernels do not support it."""
    if not 1 <= num_experts <= MAX_EXPERTS:
        raise ValueError(f"expected 1 to {MAX_EXPERTS} experts, got {num_experts}")
    if not 1 <= topk <= MAX_TOPK:
        raise ValueError(f"expected topk from 1 to {MAX_TOPK}, got {topk}")
    if topk > num_experts:
        raise ValueError(f"topk must not exceed the number of experts, got topk {topk} with {num_experts} experts")
    return Shape(num_experts, topk)
