"""The kernels' argument blocks, as hip_kernels/arguments.h and hip_kernels/align/arguments.h declare them."""

import ctypes


class Divisor(ctypes.Structure):
    """A divisor fixed at launch, with multiplier and shift that replace the division; see `compute_divisor`."""

    _fields_ = (
        ("divisor", ctypes.c_uint32),
        ("multiplier", ctypes.c_uint32),
        ("shift", ctypes.c_uint32),
    )


def compute_divisor(value: int) -> Divisor:
    """Return the Divisor for exact division of any n < 2**31 by `value`, as `mulhi(2 * n, multiplier) >> shift`.

    value: 1 to 2**31 - 1.
    Source: Granlund and Montgomery, Division by Invariant Integers using Multiplication (1994), section 4, N = 31.
    """
    shift = (value - 1).bit_length()
    return Divisor(value, -(-(1 << (31 + shift)) // value), shift)


_SIZES_AND_LAUNCH = (
    ("rows", ctypes.c_int32),
    ("num_experts", Divisor),
    ("topk", Divisor),
    ("unit_size", Divisor),
    ("sorting_workgroups", ctypes.c_int32),
    ("chunk_tokens", ctypes.c_int32),
    ("pass_tokens", ctypes.c_int32),
    ("chunks", ctypes.c_int32),
    ("chunk_groups", ctypes.c_int32),
    ("chunks_per_group", ctypes.c_int32),
)
"""The last fields of both forms."""


class SortingArguments(ctypes.Structure):
    """One launch's arguments; the meaning of each field is in hip_kernels/arguments.h."""

    _fields_ = (
        ("topk_ids", ctypes.c_void_p),
        ("topk_weights", ctypes.c_void_p),
        ("local_expert_mask", ctypes.c_void_p),
        ("num_local_tokens", ctypes.c_void_p),
        ("sorted_token_ids", ctypes.c_void_p),
        ("sorted_weights", ctypes.c_void_p),
        ("sorted_expert_ids", ctypes.c_void_p),
        ("num_valid_ids", ctypes.c_void_p),
        ("moe_buf", ctypes.c_void_p),
        ("local_topk_ids", ctypes.c_void_p),
        ("m_indices", ctypes.c_void_p),
        ("reverse_sorted", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("moe_buf_bytes", ctypes.c_uint64),
        *_SIZES_AND_LAUNCH,
    )


class AlignArguments(ctypes.Structure):
    """One launch's arguments in the align form; the meaning of each field is in hip_kernels/align/arguments.h."""

    _fields_ = (
        ("topk_ids", ctypes.c_void_p),
        ("first_id", ctypes.c_int32),
        ("expert_map", ctypes.c_void_p),
        ("sorted_token_ids", ctypes.c_void_p),
        ("expert_ids", ctypes.c_void_p),
        ("num_tokens_post_pad", ctypes.c_void_p),
        ("scatter_idx", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("capacity_rows", ctypes.c_int32),
        ("capacity_tiles", ctypes.c_int32),
        ("tail_expert", ctypes.c_int32),
        ("drops_other_ranks", ctypes.c_int32),
        *_SIZES_AND_LAUNCH,
    )
