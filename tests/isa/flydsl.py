"""Counts the instructions of AITER's FlyDSL one-launch sort, beside ours: python -m tests.isa.flydsl --help."""

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from moesort_tune.device import ahead_of_time
from moesort_tune.sorting.check import JUNK, check_outputs
from moesort_tune.sorting.inputs import SortingInputs, make_inputs
from moesort_tune.sorting.launches import KERNELS, KernelTooLargeError
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting
from tests.isa import bench, tinygrad_emulator
from tests.isa.bench import Point
from tests.isa.counts import LaunchCost, compute_launch_cost
from tests.isa.flydsl_compile import UNIT_SIZE
from tests.isa.memory import GlobalMemory
from tests.isa.program import Program

VARIABLE = "MOESORT_RIVALS"
KERNEL_FILE = Path("aiter/ops/flydsl/kernels/moe_sorting_kernel.py")
SHAPES = "8/2,32/4,64/6,128/4,128/8,160/8,256/8,257/9,384/8,512/10"

LDS_SLACK = 4096
"""Bytes past the LDS that the kernel declares: it reads there with idle threads, and drops what it read."""

DEVICE_FUNCTION = """
__attribute__((always_inline, const)) unsigned long __ockl_get_num_groups(unsigned axis) {
  __attribute__((address_space(4))) const unsigned* groups =
      (__attribute__((address_space(4))) const unsigned*)__builtin_amdgcn_implicitarg_ptr();
  return groups[axis];
}
"""
"""The one function of ROCm's device libraries that the kernel calls, in the workgroups that zero moe_buf."""

LIBRARIES = (
    "ocml",
    "oclc_finite_only_off",
    "oclc_daz_opt_off",
    "oclc_correctly_rounded_sqrt_on",
    "oclc_unsafe_math_off",
    "oclc_wavefrontsize64_on",
    "oclc_abi_version_400",
    "oclc_abi_version_500",
    "oclc_abi_version_600",
)
"""Further device libraries that FlyDSL may look for; the kernel uses nothing of them."""

TARGET = "--target=amdgcn-amd-amdhsa"


class FlyDslError(Exception):
    """A part that is missing, or a compilation that failed."""


def find_checkout(environment: Mapping[str, str]) -> Path:
    """Return AITER's checkout. Raise FlyDslError with what is missing and how to get it."""
    if importlib.util.find_spec("flydsl") is None:
        raise FlyDslError("FlyDSL is not installed: pip install flydsl (80 MB)")
    named = environment.get(VARIABLE, "")
    checkouts = sorted(Path(named).glob("aiter*")) if named else []
    found = next((path for path in checkouts if (path / KERNEL_FILE).is_file()), None)
    if found is None:
        raise FlyDslError(
            f"{VARIABLE} must name a folder with a checkout aiter/: git clone --depth 1 https://github.com/ROCm/aiter"
        )
    return found.resolve()


class Toolchain:
    """The compiler and linker of upstream LLVM, and a folder that FlyDSL takes for ROCm's. folder: temporary."""

    def __init__(self, folder: Path, arch: str) -> None:
        """Write the device libraries that FlyDSL links: all but one function is empty. Raise FlyDslError."""
        self._folder = folder
        self._arch = arch
        self._clang = ahead_of_time.find_compiler(None).path
        self._linker = _find_tool("ld.lld")
        (folder / "rocm/llvm/bin").mkdir(parents=True)
        (folder / "rocm/llvm/bin/ld.lld").symlink_to(self._linker)
        (folder / "rocm/amdgcn/bitcode").mkdir(parents=True)
        self._write_library("ockl", DEVICE_FUNCTION)
        for name in (*LIBRARIES, f"oclc_isa_version_{arch.removeprefix('gfx')}"):
            self._write_library(name, "")

    def compile(self, checkout: Path, num_experts: int, topk: int, tokens: int) -> bytes | None:
        """Return the code object of one shape; None where AITER takes more than one launch. Raise FlyDslError."""
        dump = self._folder / f"{num_experts}-{topk}-{tokens}"
        environment = {
            **os.environ,
            "HOME": str(self._folder),  # for FlyDSL's cache
            "COMPILE_ONLY": "1",
            "FLYDSL_GPU_ARCH": self._arch,
            "FLYDSL_DUMP_IR": "1",
            "FLYDSL_DUMP_DIR": str(dump),
            "ROCM_PATH": str(self._folder / "rocm"),
        }
        sizes = map(str, (num_experts, topk, tokens))
        answer = _run([sys.executable, "-m", "tests.isa.flydsl_compile", str(checkout), *sizes], environment)
        if "more launches" in answer:
            return None
        assembly = next(dump.rglob("*_final_isa.s")).read_text()
        source = dump / "kernel.s"
        source.write_text(assembly.replace(f"amdhsa-unknown-{self._arch}", f"amdhsa--{self._arch}"))
        _run([self._clang, TARGET, f"-mcpu={self._arch}", "-x", "assembler", "-c", source, "-o", dump / "kernel.o"])
        _run([self._linker, "-shared", dump / "kernel.o", "-o", dump / "kernel.hsaco"])
        return (dump / "kernel.hsaco").read_bytes()

    def _write_library(self, name: str, text: str) -> None:
        source = self._folder / f"{name}.c"
        source.write_text(text)
        output = self._folder / "rocm/amdgcn/bitcode" / f"{name}.bc"
        _run([self._clang, "-x", "c", source, "-O2", "-c", "-emit-llvm", TARGET, "-nogpulib", "-o", output])


def _find_tool(name: str) -> str:
    names = (name, *(f"{name}-{release}" for release in range(30, 14, -1)))
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise FlyDslError(f"{name} is not installed")
    return found


def _run(command: list[str | Path], environment: Mapping[str, str] | None = None) -> str:
    """Return what a command prints. Raise FlyDslError with the end of its errors."""
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise FlyDslError(f"{command[0]} failed: {answer.stderr.strip()[-800:]}")
    return answer.stdout


class Buffers:
    """Buffers in emulated memory, outputs full of junk."""

    def __init__(self, memory: GlobalMemory, problem: Problem, inputs: SortingInputs) -> None:
        self._memory = memory
        self._problem = problem
        words = {"ids": problem.max_padded, "weights": problem.max_padded, "experts": problem.max_tiles, "valid": 2}
        self._pointers = {name: self._write(np.full(4 * count, JUNK, np.uint8)) for name, count in words.items()}
        self._topk_ids, self._topk_weights = self._write(inputs.topk_ids), self._write(inputs.topk_weights)
        self._unused = self._write(np.zeros(4, np.uint8))

    def pack(self, arguments: list[dict[str, Any]]) -> bytes:
        """Return the kernel's explicit arguments: each tensor is its address and its shape with the stride."""
        rows, topk = self._problem.rows, self._problem.topk
        table = struct.pack("<iiq", rows, topk, topk)
        padded, tiles = (struct.pack("<i", size) for size in (self._problem.max_padded, self._problem.max_tiles))
        one, two = struct.pack("<i", 1), struct.pack("<i", 2)
        tensors = [
            (self._topk_ids, table),
            (self._topk_weights, table),
            (self._pointers["ids"], padded),
            (self._pointers["weights"], padded),
            (self._pointers["experts"], tiles),
            (self._pointers["valid"], two),
            (self._unused, struct.pack("<iiq", rows, 0, 0)),  # moe_buf
            (self._unused, one),  # mask
            (self._unused, one),  # num_local_tokens
        ]
        values = [part for pointer, shape in tensors for part in (struct.pack("<Q", pointer), shape)]
        values += [struct.pack("<i", rows), struct.pack("<i", 0)]
        packed = bytearray(max(argument[".offset"] + argument[".size"] for argument in arguments))
        for value, argument in zip(values, arguments, strict=True):
            if len(value) != argument[".size"]:
                raise FlyDslError(f"the kernel's arguments have changed: {argument}")
            packed[argument[".offset"] : argument[".offset"] + len(value)] = value
        return bytes(packed)

    def read(self) -> SortedOutputs:
        """Return the defined outputs."""
        valid = self._read("valid", 2)
        rows = min(max(int(valid[0]), 0), self._problem.max_padded)
        return SortedOutputs(
            sorted_token_ids=self._read("ids", rows),
            sorted_weights=self._read("weights", rows).view(np.float32),
            sorted_expert_ids=self._read("experts", rows // UNIT_SIZE),
            num_valid_ids=valid,
        )

    def _write(self, array: npt.NDArray[Any]) -> int:
        address = self._memory.allocate(array.nbytes)
        self._memory.view(address, array.nbytes)[:] = np.frombuffer(array.tobytes(), np.uint8)
        return address

    def _read(self, name: str, count: int) -> npt.NDArray[np.int32]:
        return self._memory.view(self._pointers[name], 4 * count).view(np.int32).copy()


def count_theirs(code: bytes, num_experts: int, topk: int, tokens: int) -> LaunchCost:
    """Run and check their kernel's sorting workgroup; return its cost. Raise WrongOutputError, FlyDslError."""
    memory = GlobalMemory()
    program = Program(code, memory)
    name, metadata = next(iter(program.object.kernels.items()))
    problem = Problem(tokens, topk, num_experts, UNIT_SIZE)
    inputs = make_inputs(rows=tokens, topk=topk, num_experts=num_experts, seed=0)
    buffers = Buffers(memory, problem, inputs)
    explicit = [argument for argument in metadata[".args"] if not argument[".value_kind"].startswith("hidden_")]
    launch = program.launch(
        name,
        buffers.pack(explicit),
        grid=1,
        block=metadata[".max_flat_workgroup_size"],
        lds_bytes=LDS_SLACK,
    )
    expected = moe_sorting(inputs, num_experts=num_experts, unit_size=UNIT_SIZE)
    check_outputs(buffers.read(), expected, kernel="AITER's FlyDSL sort", shape=str(problem))
    return compute_launch_cost(launch)


def count_ours(arch: str, code: bytes, num_experts: int, topk: int, tokens: int) -> Iterator[tuple[str, int]]:
    """Yield name and instructions of each of our kernels that sorts in one launch."""
    for kernel in KERNELS:
        try:
            launches = bench.run(Point(arch, kernel, num_experts, topk, tokens), code)
        except KernelTooLargeError:
            continue
        if len(launches) == 1:
            yield kernel, compute_launch_cost(launches[0]).instructions


@click.command()
@click.option("--arch", default="gfx950", show_default=True, help="gfx942 or gfx950.")
@click.option("--shape", default=SHAPES, show_default=True, help="Experts/topk, separated by commas.")
@click.option("--tokens", default="1,8,16", show_default=True)
def main(*, arch: str, shape: str, tokens: str) -> None:
    """Compile AITER's FlyDSL sort, run it in the emulator (TINYGRAD_REPO), and print what the busiest wave executes.

    MOESORT_RIVALS names a folder with a checkout of AITER. Workgroups that zero moe_buf are left out on both sides.
    """
    try:
        checkout = find_checkout(os.environ)
        reason = tinygrad_emulator.missing()
        if reason is not None:
            raise FlyDslError(reason)
    except FlyDslError as error:
        click.echo(f"skipped: {error}")
        return
    ours = bench.build_for(arch, ahead_of_time.find_compiler(None), ()).code
    with tempfile.TemporaryDirectory() as folder:
        toolchain = Toolchain(Path(folder), arch)
        click.echo(f"{arch}, instructions of the busiest wave\n  shape tokens FlyDSL  ours (ratio)")
        for text in shape.split(","):
            num_experts, topk = map(int, text.split("/"))
            for count in map(int, tokens.split(",")):
                code = toolchain.compile(checkout, num_experts, topk, count)
                if code is None:
                    click.echo(f"{text:>7} {count:6d}      -  AITER takes more than one launch")
                    continue
                theirs = count_theirs(code, num_experts, topk, count).instructions
                counts = count_ours(arch, ours, num_experts, topk, count)
                cells = [f"{kernel} {number} ({number / theirs:.2f})" for kernel, number in counts]
                click.echo(f"{text:>7} {count:6d} {theirs:6d}  {', '.join(cells)}")


if __name__ == "__main__":
    main()
