"""SGLang's kernel in Triton (pull request 32395), compiled without PyTorch, to be launched like any other kernel."""

import ast
import importlib.util
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivals.plans import PAIR_AXIS_PAIRS, Sizes
from rivals.sources import RivalsError

KERNEL = "_moe_align_small_numel_kernel"
FILE = "moe_align_small_numel.py"
WARPS = 4
"""Of SGLang's launch."""

POINTERS = ("topk_ids_ptr", "sorted_token_ids_ptr", "expert_ids_ptr", "num_tokens_post_pad_ptr")


@dataclass(frozen=True)
class TritonCode:
    """Compiled code of one shape. numbers: values of the integer arguments; hidden: pointers that Triton appends."""

    code: bytes
    name: str
    block: int
    lds_bytes: int
    numbers: tuple[int, ...]
    hidden: int


@dataclass(frozen=True)
class TritonKernel:
    """The kernel's text. path: the file that it is from."""

    path: Path
    text: str

    def compile(self, sizes: Sizes, capability: int) -> TritonCode | None:
        """Return the code that SGLang's launch of this shape gets, None above 64 pairs. capability: 90 for sm_90."""
        if sizes.pairs > PAIR_AXIS_PAIRS:
            return None
        with tempfile.TemporaryDirectory() as folder:
            return _compile(_load(self.text, Path(folder)), sizes, capability)


def find_triton_kernel(folder: Path) -> TritonKernel:
    """Return the kernel. Raise RivalsError where its source or Triton is missing."""
    if importlib.util.find_spec("triton") is None:
        raise RivalsError("triton is not installed")
    paths = (path for checkout in sorted(folder.glob("sglang*")) for path in sorted(checkout.rglob(FILE)))
    path = next(paths, None)
    if path is None:
        raise RivalsError(f"there is no {FILE} in {folder / 'sglang*'}")
    return TritonKernel(path, cut_kernel(path.read_text()))


def cut_kernel(text: str) -> str:
    """Return the kernel's function with its decorator, unchanged. Raise RivalsError."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == KERNEL:
            lines = text.splitlines(keepends=True)
            return "".join(lines[node.decorator_list[0].lineno - 1 : node.end_lineno])
    raise RivalsError(f"there is no function {KERNEL} in SGLang's {FILE}")


def _load(text: str, folder: Path) -> Any:
    """Return Triton's function of a file with nothing but the kernel: Triton reads the source again from there."""
    path = folder / "rival_kernel.py"
    path.write_text(f"import triton\nimport triton.language as tl\n\n\n{text}")
    spec = importlib.util.spec_from_file_location("rival_kernel", path)
    if spec is None or spec.loader is None:
        raise RivalsError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, KERNEL)


def choose_constants(sizes: Sizes) -> dict[str, int | bool]:
    """Return the compile-time arguments of SGLang's launch, without those of dependent launches."""
    blocks = -(-sizes.sglang_padded // sizes.unit_size)
    return {"NP": _round_to_power(sizes.pairs), "NB": _round_to_power(blocks), "USE_GDC": False}


def _round_to_power(value: int) -> int:
    return 1 << (max(value, 2) - 1).bit_length()


def _compile(function: Any, sizes: Sizes, capability: int) -> TritonCode:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    integers = {"num_experts": sizes.num_experts + 1, "block_size": sizes.unit_size, "numel": sizes.pairs}
    known = choose_constants(sizes)
    constants = {name: known.get(name, False) for name in function.arg_names if name not in (*POINTERS, *integers)}
    signature = {
        name: "*i32" if name in POINTERS else "i32" if name in integers else "constexpr" for name in function.arg_names
    }
    # What Triton's own launcher tells its compiler: allocations are aligned, and which integers are divisible by 16.
    aligned = [name for name in function.arg_names if name in POINTERS or integers.get(name, 1) % 16 == 0]
    attributes = {(function.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(function, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS})
    entry = compiled.asm["ptx"].split(".entry", 1)[1].split("{", 1)[0]
    visible = len(POINTERS) + len(integers)
    return TritonCode(
        code=compiled.asm["cubin"],
        name=compiled.metadata.name,
        block=32 * WARPS,
        lds_bytes=compiled.metadata.shared,
        numbers=tuple(integers.values()),
        hidden=len(re.findall(r"\.param\b", entry)) - visible,
    )
