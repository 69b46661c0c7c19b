"""The translation units of the rivals: their definitions, unchanged, between this project's small headers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rivals import plans
from rivals.sources import RivalsError, find_source, instantiate, list_parameters, take_definition, take_line

SHIMS = Path(__file__).parent / "shims"
CUDA_INCLUDE = "MOESORT_CUDA_INCLUDE"
BLOCK_SCAN = "cub/block/block_scan.cuh"


@dataclass(frozen=True)
class Unit:
    """One rival, ready to compile.

    source: its definitions and the instances of its kernels; parameters: {kernel: names of its parameters}.
    path: where the definitions are from. needs_scan: whether it uses cub::BlockScan.
    """

    name: str
    path: Path
    source: str
    parameters: Mapping[str, list[str]]
    plan: plans.Plan
    needs_scan: bool = False


def make_vllm(folder: Path) -> Unit:
    """Return vLLM's usual path. Raise RivalsError."""
    functions = ("_moe_align_block_size", "_moe_align_block_size_small_batch_expert", "_count_and_sort_expert_tokens")
    kernels = {
        "moe_align_block_size_kernel": ("int32_t",),
        "count_and_sort_expert_tokens_kernel": ("int32_t",),
        "moe_align_block_size_small_batch_expert_kernel": ("int32_t", str(plans.FILL_THREADS)),
    }
    path, text = _read(folder, "vllm*", "moe_align_sum_kernels.cu", "count_and_sort_expert_tokens_kernel")
    filtering = ("get_local_expert_id",) if "get_local_expert_id(" in text else ()
    return _make_vllm_unit("vllm", path, (*filtering, *functions), kernels, plans.plan_vllm)


def make_vllm_stable(folder: Path) -> Unit:
    """Return vLLM's stable one-block path. Raise RivalsError."""
    kernel = "stable_small_route_align_kernel"
    path, _ = _read(folder, "vllm*", "*.cu", kernel)
    kernels = {kernel: ("int32_t", str(plans.STABLE_PAIRS))}
    return _make_vllm_unit("vllm-stable", path, (), kernels, plans.plan_vllm_stable)


def _make_vllm_unit(
    name: str, path: Path, functions: tuple[str, ...], kernels: Mapping[str, tuple[str, ...]], plan: plans.Plan
) -> Unit:
    text = path.read_text()
    source, parameters = _cut(text, functions, kernels)
    macro = take_line(text, "#define CEILDIV(")
    whole = f"#define WARP_SIZE 32\n{macro}namespace vllm {{\nnamespace moe {{\n{source}}}\n}}\n"
    return Unit(name, path, whole, parameters, plan, needs_scan=True)


def make_sglang(folder: Path) -> Unit:
    """Return SGLang's pair-axis kernels of pull request 34131. Raise RivalsError."""
    path, text = _read(folder, "sglang*", "moe_align_v2.cuh", "moe_align_small_kernel")
    plain = ("false", "false")  # no filtered ids; launched without the attribute of dependent launches
    kernels = {"moe_align_small_kernel": plain, "moe_align_small_x2_kernel": plain}
    source, parameters = _cut(text, ("MoEAlignParams",), kernels)
    lines = take_line(text, "constexpr uint32_t kCTASize") + take_line(text, "#define ALIGN_KERNEL ")
    whole = f'#include "sgl_kernel.h"\nnamespace sglang {{\n{lines}{source}}}\n'
    return Unit("sglang", path, whole, parameters, plans.plan_sglang)


MAKERS: tuple[Callable[[Path], Unit], ...] = (make_vllm, make_vllm_stable, make_sglang)


def _read(folder: Path, checkouts: str, file: str, definition: str) -> tuple[Path, str]:
    path = find_source(folder, checkouts, file, definition)
    if path is None:
        raise RivalsError(f"no {file} in {folder / checkouts} defines {definition}")
    return path, path.read_text()


def _cut(
    text: str, others: tuple[str, ...], kernels: Mapping[str, tuple[str, ...]]
) -> tuple[str, dict[str, list[str]]]:
    """Return the definitions with the kernels' instances, and the kernels' parameters."""
    definitions = {kernel: take_definition(text, kernel) for kernel in kernels}
    pieces = [take_definition(text, name) for name in others]
    pieces += [definitions[kernel] + instantiate(definitions[kernel], *kernels[kernel]) for kernel in kernels]
    return "\n".join(pieces), {kernel: list_parameters(text) for kernel, text in definitions.items()}


def find_cuda_include(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of CUDA's headers that holds CUB; None without one."""
    toolkit = environment.get("CUDA_HOME", "/usr/local/cuda")
    roots = (environment.get(CUDA_INCLUDE, ""), f"{toolkit}/include")
    folders = (Path(root) / part for root in roots if root for part in ("cccl", "."))
    return next((folder for folder in folders if (folder / BLOCK_SCAN).is_file()), None)


def read_shims() -> dict[str, bytes]:
    """Return {name as included: text} of this project's small headers."""
    return {path.name: path.read_bytes() for path in sorted(SHIMS.glob("*.h"))}


def compose(unit: Unit, include: Path | None) -> tuple[bytes, tuple[str, ...]]:
    """Return the text to compile and the options that it needs. include: CUDA's headers, None for our own scan."""
    scan, options = "", ()
    if unit.needs_scan and include is not None:
        scan, options = f"#include <{BLOCK_SCAN}>\n", (f"-I{include}", f"-I{include.parent}")
    elif unit.needs_scan:
        scan = '#include "block_scan.h"\n'
    return f'#include "cuda_types.h"\n{scan}{unit.source}'.encode(), options
