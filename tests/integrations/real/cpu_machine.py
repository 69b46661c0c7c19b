"""Make a machine without a GPU one on which the real AITER can be imported and called, down to its compiled modules.

Each function replaces one thing that only a GPU machine has, and says why it cannot be had. All else is AITER's own.
"""

import enum
import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from moesort_tune.integrations.import_hook import WhenImported
from tests.integrations.real.sources import read_arguments

ARCH, COMPUTE_UNITS = "gfx950", 256

ROCMINFO = f"""#!/bin/sh
echo "Agent 1"
echo "  Name:         {ARCH}"
echo "  Device Type:  GPU"
echo "  Compute Unit: {COMPUTE_UNITS}"
"""

MEMBER = "Members: an entry point"
"""Docstring of an entry point. AITER reads its types from it, but not where it begins like that of an enumeration."""


class DeviceTensor(NamedTuple):
    """What a compiled module gets instead of a tensor; the fields are AITER's."""

    pointer: int
    numel: int
    ndim: int
    shape: list[int]
    strides: list[int]
    dtype: int
    device: int


class Sort(NamedTuple):
    """One call of AITER's compiled sort."""

    policy: int
    tokens: int
    num_experts: int
    topk: int
    workspace_bytes: int


class Machine:
    """The replacements, in this process. sorts: calls of the compiled sort, which leaves its outputs as they are."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        self.sorts: list[Sort] = []
        self._arguments = read_arguments(checkout / "aiter/ops/moe_sorting_opus.py", "moe_sorting_opus_fwd")
        sys.path.insert(0, str(checkout))
        _make_rocm(scratch / "rocm")
        _keep_files_in(scratch, checkout)
        self._make_compiled_modules(checkout)
        _use_cpu_for_dummy_tensors()
        _make_streams()
        _make_triton_driver()

    def _make_compiled_modules(self, checkout: Path) -> None:
        """AITER compiles its modules with hipcc on first use; those of the sorts do nothing here but take notes."""
        _add_module("module_aiter_core", aiter_tensor_t=DeviceTensor, **_read_enums(checkout))
        _add_module(
            "module_moe_sorting_opus",
            _set_current_hip_stream=lambda _: None,
            moe_sorting_opus_get_workspace_size=_document(self._size_workspace),
            moe_sorting_opus_fwd=_document(self._sort),
        )

    @staticmethod
    def _size_workspace(tokens: int, num_experts: int, topk: int, dispatch_policy: int = 0) -> int:
        """Return other bytes for each policy, so that a test sees which was asked for."""
        del tokens, num_experts, topk
        return 0 if dispatch_policy == 1 else 64 + dispatch_policy

    def _sort(self, *given: Any) -> None:
        call = dict(zip(self._arguments, given, strict=False))
        (tokens, topk), workspace = call["topk_ids"].shape, call.get("workspace")
        size = 0 if workspace is None else workspace.numel
        self.sorts.append(Sort(call.get("dispatch_policy", 0), tokens, call["num_experts"], topk, size))


def _make_rocm(folder: Path) -> None:
    """ROCm's version is in its folder, and its rocminfo names the attached GPU."""
    for name, text in ((".info/version", "7.0.0\n"), ("bin/rocminfo", ROCMINFO)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin/rocminfo").chmod(0o755)
    os.environ.update(ROCM_HOME=str(folder), ROCM_PATH=str(folder))


def _keep_files_in(scratch: Path, checkout: Path) -> None:
    """AITER builds beside its sources, and merges its tuned sizes into a folder that all users share."""
    os.environ.update(
        AITER_JIT_DIR=str(scratch / "jit"), AITER_CONFIG_FMOE=str(checkout / "aiter/configs/tuned_fmoe.csv")
    )


def _add_module(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    vars(module).update(members)
    sys.modules[name] = module


def _document(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an entry point that does the same; the compiled ones are no methods."""

    def entry(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    entry.__doc__ = MEMBER
    return entry


def _read_enums(checkout: Path) -> dict[str, type[enum.IntEnum]]:
    """The compiled module makes Python enumerations of those in this header."""
    text = (checkout / "csrc/include/aiter_enum.h").read_text()
    enums: dict[str, type[enum.IntEnum]] = {}
    for name, body in re.findall(r"enum class (\w+) : int\s*\{(.*?)\}", text, re.DOTALL):
        values: dict[str, int] = {}
        for member, value in re.findall(r"(\w+)\s*(?:=\s*(-?\d+))?\s*,", body):
            values[member] = int(value) if value else len(values)
        made = enums[name] = cast("type[enum.IntEnum]", enum.IntEnum(name, values))
        made.__doc__ = MEMBER
    return enums


def _use_cpu_for_dummy_tensors() -> None:
    """An operator without a tensor argument is given one on the GPU. AITER imports the module by two names."""

    def use_cpu(module: Any) -> None:
        guard = module.torch_compile_guard
        module.torch_compile_guard = lambda *args, **kwargs: guard(*args, **{**kwargs, "device": "cpu"})

    for name in ("torch_guard", "aiter.jit.utils.torch_guard"):
        WhenImported(name, use_cpu).start()


def _make_streams() -> None:
    """A compiled module is given the current stream before each call; torch for CPUs has none."""
    torch.cuda.current_device = lambda: 0
    torch._C._cuda_getCurrentRawStream = lambda _: 0


def _make_triton_driver() -> None:
    """Modules of AITER ask Triton for the GPU's architecture when they are imported; its drivers need a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    target = GPUTarget("hip", ARCH, 64)
    driver.set_active(types.SimpleNamespace(get_current_target=lambda: target, get_current_device=lambda: 0))
