"""Compiles AITER's FlyDSL one-launch sort without ROCm and without a GPU: a process of its own, for FlyDSL's variables.

    python -m tests.isa.flydsl_compile AITER_CHECKOUT num_experts topk tokens

FlyDSL must be installed (pip install flydsl); COMPILE_ONLY, FLYDSL_GPU_ARCH, FLYDSL_DUMP_IR, FLYDSL_DUMP_DIR and
ROCM_PATH are set by the caller. The code is what FlyDSL dumps; nothing of it is launched.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

UNIT_SIZE = 32
PACKAGES = ("aiter", "aiter.ops", "aiter.ops.flydsl", "aiter.ops.flydsl.kernels")
"""Imported as bare folders: AITER's own __init__ files build and import everything else."""


def import_kernel(checkout: Path) -> Any:
    """Return the module of AITER's kernel."""
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    return importlib.import_module("aiter.ops.flydsl.kernels.moe_sorting_kernel")


def takes_one_launch(kernel: Any, num_experts: int, topk: int, tokens: int) -> bool:
    """Return whether AITER's host code sorts these tokens in one launch."""
    sub_tokens = kernel._compute_sub_tokens(num_experts)
    return bool(tokens <= min(sub_tokens, max(16, kernel.BLOCK_SIZE // max(topk, num_experts // 8))))


def compile_one_launch(kernel: Any, num_experts: int, topk: int, tokens: int) -> None:
    """Compile the kernel as AITER's host code asks for it, without mask and moe_buf."""
    import flydsl.expr as fx
    import torch

    launch = kernel._compile_moe_sorting_oneshot(
        num_experts=num_experts,
        topk=topk,
        max_tokens=-(-max(tokens, 8) // 8) * 8,
        unit_size=UNIT_SIZE,
        has_mask=False,
        has_local_tokens=False,
    )
    padded = tokens * topk + num_experts * UNIT_SIZE - topk
    integers, floats = {"dtype": torch.int32}, {"dtype": torch.float32}
    launch(
        torch.zeros(tokens, topk, **integers),
        torch.zeros(tokens, topk, **floats),
        torch.zeros(padded, **integers),
        torch.zeros(padded, **floats),
        torch.zeros(-(-padded // UNIT_SIZE), **integers),
        torch.zeros(2, **integers),
        torch.zeros(tokens, 8, **integers),  # moe_buf
        torch.zeros(1, **integers),  # mask
        torch.zeros(1, **integers),  # num_local_tokens
        tokens,
        0,
        1,
        fx.Stream(0),
    )


def main(checkout: str, *sizes: str) -> None:
    """Compile one shape, or say that it takes more launches."""
    num_experts, topk, tokens = map(int, sizes)
    kernel = import_kernel(Path(checkout))
    if takes_one_launch(kernel, num_experts, topk, tokens):
        compile_one_launch(kernel, num_experts, topk, tokens)
    else:
        print("more launches")


if __name__ == "__main__":
    main(*sys.argv[1:])
