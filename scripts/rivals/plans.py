"""Plan what each rival launches for a shape, by the arithmetic of its host code.

Ids are int32, there is no expert map, and moe_buf is nobody's here: these operators write no weights and zero nothing.
None of the host codes sets memory beforehand; the kernels fill sorted_token_ids themselves.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

from rivals.sources import RivalsError

WARP = 32
FILL_THREADS = 256
"""Threads of vLLM's small-batch kernel that only fill sorted_token_ids; a template argument of theirs."""

STABLE_PAIRS = 256
"""Most pairs of vLLM's stable one-block path; a template argument of theirs."""

PAIR_AXIS_PAIRS = 64
"""Most pairs of SGLang's pair-axis kernels."""

Argument = ctypes.c_void_p | ctypes.c_int32 | ctypes.c_size_t | ctypes.c_bool | ctypes.Structure


@dataclass(frozen=True)
class Sizes:
    """Sizes of one problem."""

    tokens: int
    topk: int
    num_experts: int
    unit_size: int = 32

    @property
    def pairs(self) -> int:
        """(token, slot) pairs, which the rivals call numel or routes."""
        return self.tokens * self.topk

    @property
    def vllm_padded(self) -> int:
        """Rows of sorted_token_ids that vLLM's Python wrapper allocates."""
        padded = self.pairs + self.num_experts * (self.unit_size - 1)
        return min(self.pairs * self.unit_size, padded) if self.pairs < self.num_experts else padded

    @property
    def sglang_padded(self) -> int:
        """Rows of sorted_token_ids that SGLang's Python wrapper allocates."""
        buckets = self.num_experts + 1
        few = self.pairs < buckets
        return self.pairs * self.unit_size if few else self.pairs + buckets * (self.unit_size - 1)


@dataclass(frozen=True)
class Pointers:
    """Addresses of the device buffers that a rival reads and writes. scratch: num_experts + 2 words."""

    topk_ids: int
    sorted_token_ids: int
    expert_ids: int
    total: int
    scratch: int


@dataclass(frozen=True)
class RivalLaunch:
    """One launch. kernel: its name in the rival's source; grid: x and y."""

    kernel: str
    grid: tuple[int, int]
    block: int
    lds_bytes: int
    arguments: tuple[Argument, ...]


Plan = Callable[[Sizes, Pointers], list[RivalLaunch]]
"""Return the launches of a shape, none where the rival does not take it."""


class MoEAlignParams(ctypes.Structure):
    """SGLang's struct of the same name."""

    _fields_ = (
        ("topk_ids", ctypes.c_void_p),
        ("sorted_token_ids", ctypes.c_void_p),
        ("expert_ids", ctypes.c_void_p),
        ("total_tokens_post_pad", ctypes.c_void_p),
        ("cumsum_buffer", ctypes.c_void_p),
        ("event", ctypes.c_void_p),
        ("numel", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("buffer_vecs", ctypes.c_uint32),
        ("num_buckets", ctypes.c_uint32),
        ("pad_sorted_token_ids", ctypes.c_bool),
    )


def plan_vllm(sizes: Sizes, pointers: Pointers) -> list[RivalLaunch]:
    """Plan vLLM's usual path: one kernel below 1024 pairs with up to 64 experts, else two."""
    if _round_up(sizes.num_experts, WARP) >= 1024:
        return []
    small = sizes.pairs < 1024 and sizes.num_experts <= 64
    return [_plan_small_batch(sizes, pointers)] if small else _plan_two_kernels(sizes, pointers)


def _plan_small_batch(sizes: Sizes, pointers: Pointers) -> RivalLaunch:
    threads = max(sizes.num_experts, WARP)
    words = (threads + 1) * sizes.num_experts + sizes.num_experts + 1
    arguments = (
        *_outputs(pointers),
        ctypes.c_void_p(None),  # expert_map
        ctypes.c_int32(sizes.num_experts),
        ctypes.c_int32(sizes.unit_size),
        ctypes.c_size_t(sizes.pairs),
        ctypes.c_int32(sizes.vllm_padded),
        ctypes.c_int32(sizes.topk),
        ctypes.c_bool(False),  # has_expert_map
        ctypes.c_void_p(None),  # scatter_idx
    )
    name = "moe_align_block_size_small_batch_expert_kernel"
    return RivalLaunch(name, (1, 1), FILL_THREADS + threads, 4 * words, arguments)


def _plan_two_kernels(sizes: Sizes, pointers: Pointers) -> list[RivalLaunch]:
    padded_experts = _round_up(sizes.num_experts, WARP)
    align = (
        *_outputs(pointers),
        ctypes.c_void_p(None),  # expert_map
        ctypes.c_int32(sizes.num_experts),
        ctypes.c_int32(padded_experts),
        ctypes.c_int32(WARP),  # experts_per_warp
        ctypes.c_int32(sizes.unit_size),
        ctypes.c_size_t(sizes.pairs),
        ctypes.c_void_p(pointers.scratch),
        ctypes.c_int32(sizes.vllm_padded),
        ctypes.c_int32(sizes.topk),
        ctypes.c_bool(False),  # has_expert_map
    )
    sort = (
        ctypes.c_void_p(pointers.topk_ids),
        ctypes.c_void_p(pointers.sorted_token_ids),
        ctypes.c_void_p(pointers.scratch),
        ctypes.c_void_p(None),  # expert_map
        ctypes.c_size_t(sizes.pairs),
        ctypes.c_int32(sizes.num_experts),
        ctypes.c_int32(sizes.vllm_padded),
        ctypes.c_int32(sizes.topk),
        ctypes.c_bool(False),  # has_expert_map
        ctypes.c_void_p(None),  # scatter_idx
    )
    blocks = min(_divide_up(sizes.pairs, 256), 65535)
    return [
        RivalLaunch("moe_align_block_size_kernel", (2, 1), 1024, 4 * padded_experts, align),
        RivalLaunch("count_and_sort_expert_tokens_kernel", (1, blocks), 256, 0, sort),
    ]


def plan_vllm_stable(sizes: Sizes, pointers: Pointers) -> list[RivalLaunch]:
    """Plan vLLM's stable path, one block of 1024 threads for up to 256 pairs."""
    if sizes.pairs > STABLE_PAIRS or _round_up(sizes.num_experts, WARP) >= 1024:
        return []
    arguments = (
        *_outputs(pointers),
        ctypes.c_void_p(None),  # expert_map
        ctypes.c_int32(sizes.num_experts),
        ctypes.c_int32(sizes.unit_size),
        ctypes.c_int32(sizes.pairs),
        ctypes.c_int32(sizes.vllm_padded),
        ctypes.c_int32(_divide_up(sizes.vllm_padded, sizes.unit_size)),
        ctypes.c_bool(False),  # has_expert_map
    )
    return [RivalLaunch("stable_small_route_align_kernel", (1, 1), 1024, 0, arguments)]


def plan_sglang(sizes: Sizes, pointers: Pointers) -> list[RivalLaunch]:
    """Plan SGLang's pair-axis kernels: a warp a pair up to 32 pairs, a warp for two up to 64."""
    if sizes.pairs > PAIR_AXIS_PAIRS:
        return []
    buckets = sizes.num_experts + 1
    rows = sizes.pairs + min(sizes.pairs, buckets) * (sizes.unit_size - 1)
    params = MoEAlignParams(
        pointers.topk_ids,
        pointers.sorted_token_ids,
        pointers.expert_ids,
        pointers.total,
        pointers.scratch,
        None,  # event: of kernels that these are not
        sizes.pairs,
        sizes.unit_size,
        rows // 4,
        buckets,
        True,
    )
    if sizes.pairs <= WARP:
        return [RivalLaunch("moe_align_small_kernel", (1, 1), sizes.pairs * WARP, 0, (params,))]
    return [RivalLaunch("moe_align_small_x2_kernel", (1, 1), _divide_up(sizes.pairs, 2) * WARP, 0, (params,))]


def match_parameters(launch: RivalLaunch, parameters: list[str]) -> RivalLaunch:
    """Return the launch with the arguments that the source at hand takes: older ones have no scatter_idx.

    Raise RivalsError for any other number of parameters.
    """
    arguments = launch.arguments
    if len(parameters) == len(arguments) - 1 and launch.kernel in SCATTERING and "scatter_idx" not in parameters:
        arguments = arguments[:-1]
    if len(parameters) != len(arguments):
        raise RivalsError(
            f"{launch.kernel} takes {len(parameters)} arguments ({', '.join(parameters)}), "
            f"but this script knows the one with {len(launch.arguments)}"
        )
    return RivalLaunch(launch.kernel, launch.grid, launch.block, launch.lds_bytes, arguments)


SCATTERING = ("moe_align_block_size_small_batch_expert_kernel", "count_and_sort_expert_tokens_kernel")


def _outputs(pointers: Pointers) -> tuple[Argument, ...]:
    """Return the four pointers that vLLM's kernels begin with."""
    return (
        ctypes.c_void_p(pointers.topk_ids),
        ctypes.c_void_p(pointers.sorted_token_ids),
        ctypes.c_void_p(pointers.expert_ids),
        ctypes.c_void_p(pointers.total),
    )


def _divide_up(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _round_up(value: int, multiple: int) -> int:
    return _divide_up(value, multiple) * multiple
