"""The rivals on a device: compiled, launched with their own sizes, and checked against the reference."""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moesort_tune.device import bindings, hip, hip_calls
from moesort_tune.sorting.check import JUNK
from moesort_tune.sorting.reference import SLOT_SHIFT, SortedOutputs
from rivals import plans
from rivals.plans import Argument, Pointers, RivalLaunch, Sizes
from rivals.sources import RivalsError, find_symbol
from rivals.triton_kernel import TritonKernel, find_triton_kernel
from rivals.units import MAKERS, Unit, compose, find_cuda_include, read_shims

TRITON = "sglang-triton"
STABLE = ("vllm-stable", "sglang", TRITON)
"""Rivals whose order inside an expert is that of the pairs, as ours is."""

Int32Array = npt.NDArray[np.int32]
Work = Callable[[hip.Stream], None]


class Launch:
    """A launch with arguments of any number, prepared once."""

    def __init__(self, kernel: hip.Kernel, planned: RivalLaunch) -> None:
        self._arguments = planned.arguments
        addresses = [ctypes.addressof(argument) for argument in planned.arguments]
        self._pointers = (ctypes.c_void_p * len(addresses))(*addresses)
        parameters, extra = bindings.get_launch_types()
        self._before = kernel.handle, *planned.grid, 1, planned.block, 1, 1, planned.lds_bytes
        self._after = parameters.fromObj(ctypes.addressof(self._pointers)), extra.fromObj(None)
        self._enqueue = hip_calls.import_hip().hipModuleLaunchKernel

    def launch(self, stream: hip.Stream) -> None:
        """Enqueue the launch. Raise HipError where it is rejected."""
        (code,) = self._enqueue(*self._before, stream.handle, *self._after)
        if code:
            raise hip_calls.make_call_error("hipModuleLaunchKernel", int(code), code.name)


class CompiledUnit:
    """A rival's kernels on the device. scan: whose block scan they were compiled with, '' where they have none."""

    def __init__(self, device: hip.Device, unit: Unit) -> None:
        self.unit = unit
        self.scan = ""
        code = self._compile(device.properties.arch)
        self._module = device.load(code)
        self._kernels = {name: self._module.get_kernel(find_symbol(code, name)) for name in unit.parameters}

    def _compile(self, arch: str) -> bytes:
        include = find_cuda_include(os.environ) if self.unit.needs_scan else None
        if include is not None:
            try:
                code = compile_unit(self.unit, arch, include)
            except hip.HipError as error:
                print(f"{self.unit.name}: CUB did not compile, so this run has its own scan: {str(error)[:500]}")
            else:
                self.scan = f"CUB of {include}"
                return code
        if self.unit.needs_scan:
            self.scan = "a scan of ours, not CUB: times are not vLLM's own"
        return compile_unit(self.unit, arch, None)

    def prepare(self, sizes: Sizes, pointers: Pointers) -> list[Launch]:
        """Return the launches of a shape, none where the rival does not take it."""
        parameters = self.unit.parameters
        planned = self.unit.plan(sizes, pointers)
        matched = [plans.match_parameters(launch, parameters[launch.kernel]) for launch in planned]
        return [Launch(self._kernels[launch.kernel], launch) for launch in matched]


def compile_unit(unit: Unit, arch: str, include: Path | None) -> bytes:
    """Return a rival's device code. Raise HipError with the compiler's log."""
    source, options = compose(unit, include)
    options = (f"--offload-arch={arch}", "-std=c++17", *options)
    return hip.compile_source(name=f"{unit.name}.cu", source=source, headers=read_shims(), options=options)


class Rivals:
    """All rivals whose sources are there. notes: a line about each, also about those that are missing."""

    def __init__(self, device: hip.Device, folder: Path) -> None:
        self._device = device
        self._capability = int(device.properties.arch.removeprefix("sm_").rstrip("a"))
        self.notes: list[str] = []
        self._units: list[CompiledUnit] = []
        self._triton: TritonKernel | None = None
        for make in MAKERS:
            try:
                unit = CompiledUnit(device, make(folder))
            except (RivalsError, hip.HipError) as error:
                self.notes.append(f"left out ({make.__name__}): {error}")
                continue
            self._units.append(unit)
            self.notes.append(f"{unit.unit.name}: {unit.unit.path}" + (f", with {unit.scan}" if unit.scan else ""))
        try:
            self._triton = find_triton_kernel(folder)
            self.notes.append(f"{TRITON}: {self._triton.path}")
        except RivalsError as error:
            self.notes.append(f"left out ({TRITON}): {error}")

    @property
    def names(self) -> list[str]:
        """Names of the rivals in this run."""
        return [unit.unit.name for unit in self._units] + ([TRITON] if self._triton else [])

    @contextmanager
    def prepare(self, sizes: Sizes, topk_ids: Int32Array) -> Iterator[dict[str, "RivalSort"]]:
        """Prepare every rival that takes the shape, with buffers that they share; free them at the end of `with`."""
        with ExitStack() as resources:
            buffers = RivalBuffers(self._device, sizes, topk_ids, resources)
            prepared = {unit.unit.name: unit.prepare(sizes, buffers.pointers) for unit in self._units}
            if self._triton is not None:
                prepared[TRITON] = self._prepare_triton(self._triton, sizes, buffers.pointers, resources)
            yield {name: RivalSort(name, launches, buffers) for name, launches in prepared.items() if launches}

    def _prepare_triton(
        self, kernel: TritonKernel, sizes: Sizes, pointers: Pointers, resources: ExitStack
    ) -> list[Launch]:
        compiled = kernel.compile(sizes, self._capability)
        if compiled is None:
            return []
        module = resources.enter_context(self._device.load(compiled.code))
        outputs = (pointers.topk_ids, pointers.sorted_token_ids, pointers.expert_ids, pointers.total)
        arguments: tuple[Argument, ...] = (
            *(ctypes.c_void_p(pointer) for pointer in outputs),
            *(ctypes.c_int32(number) for number in compiled.numbers),
            *(ctypes.c_void_p(None) for _ in range(compiled.hidden)),
        )
        launch = RivalLaunch(compiled.name, (1, 1), compiled.block, compiled.lds_bytes, arguments)
        return [Launch(module.get_kernel(compiled.name), launch)]


class RivalBuffers:
    """The device buffers of one shape, large enough for every rival."""

    def __init__(self, device: hip.Device, sizes: Sizes, topk_ids: Int32Array, resources: ExitStack) -> None:
        self.sizes = sizes
        rows = max(sizes.vllm_padded, sizes.sglang_padded) + 4  # SGLang's vector stores round up
        words = {
            "topk_ids": sizes.pairs,
            "sorted_token_ids": rows,
            "expert_ids": rows // sizes.unit_size + 1,
            "total": 1,
            "scratch": sizes.num_experts + 2,
        }
        self._buffers = {name: resources.enter_context(device.allocate(4 * count)) for name, count in words.items()}
        self._buffers["topk_ids"].write(topk_ids)
        self.pointers = Pointers(**{name: buffer.pointer for name, buffer in self._buffers.items()})

    def spoil(self) -> None:
        """Fill all but the ids with junk, so that what is read afterwards was written."""
        for name, buffer in self._buffers.items():
            if name != "topk_ids":
                buffer.fill(JUNK)

    def read(self) -> tuple[int, Int32Array, Int32Array]:
        """Return the rows used, and sorted_token_ids and expert_ids as far as they are."""
        rows = int(self._buffers["total"].read(np.int32, 1)[0])
        limit = self._buffers["sorted_token_ids"].nbytes // 4
        rows_read = min(max(rows, 0), limit)
        tiles = rows_read // self.sizes.unit_size
        sorted_ids = self._buffers["sorted_token_ids"].read(np.int32, rows_read)
        return rows, sorted_ids, self._buffers["expert_ids"].read(np.int32, tiles)


class RivalSort:
    """One rival, prepared for one shape."""

    def __init__(self, name: str, launches: Sequence[Launch], buffers: RivalBuffers) -> None:
        self.name = name
        self._launches = launches
        self._buffers = buffers

    def launch(self, stream: hip.Stream) -> None:
        """Enqueue one sort."""
        for launch in self._launches:
            launch.launch(stream)

    def check(self, stream: hip.Stream, expected: SortedOutputs) -> None:
        """Run once and compare with the reference. Raise RivalsError."""
        self._buffers.spoil()
        self.launch(stream)
        stream.synchronize()
        check_alignment(
            self.name, self._buffers.read(), expected, topk=self._buffers.sizes.topk, stable=self.name in STABLE
        )


def check_alignment(
    name: str, outputs: tuple[int, Int32Array, Int32Array], expected: SortedOutputs, *, topk: int, stable: bool
) -> None:
    """Compare a rival's outputs with the reference: the same tiles, and in each expert's run the same pairs.

    Unless it is stable, the order of an expert's pairs is free; its padding comes after them. Raise RivalsError.
    """
    rows, sorted_ids, expert_ids = outputs
    if rows != expected.num_valid_ids[0]:
        raise RivalsError(f"{name} used {rows} rows, the reference {expected.num_valid_ids[0]}")
    if not np.array_equal(expert_ids, expected.sorted_expert_ids):
        raise RivalsError(f"{name} gave its tiles to other experts than the reference")
    pairs = int(expected.num_valid_ids[1]) * topk
    wanted = convert_to_pairs(expected, topk)
    if not stable:
        sorted_ids = sort_runs(
            sorted_ids, np.repeat(expert_ids, len(wanted) // max(len(expert_ids), 1)), wanted < pairs
        )
    if not np.array_equal(sorted_ids, wanted):
        place = int(np.flatnonzero(sorted_ids != wanted)[0])
        raise RivalsError(f"{name} has pair {sorted_ids[place]} at row {place}, the reference {wanted[place]}")


def convert_to_pairs(expected: SortedOutputs, topk: int) -> Int32Array:
    """Return the reference's rows as pairs token * topk + slot, padding as the number of pairs."""
    packed = expected.sorted_token_ids.view(np.uint32)
    tokens, slots = packed & ((1 << SLOT_SHIFT) - 1), packed >> SLOT_SHIFT
    rows = expected.num_valid_ids[1]
    return np.where(tokens == rows, rows * topk, tokens * topk + slots).astype(np.int32)


def sort_runs(sorted_ids: Int32Array, experts: Int32Array, real: npt.NDArray[np.bool_]) -> Int32Array:
    """Return the rows with each expert's pairs ascending. experts, real: of each row; padding keeps its place."""
    result = sorted_ids.copy()
    order = np.lexsort((sorted_ids[real], experts[real]))
    result[real] = sorted_ids[real][order]
    return result
