"""The builtin kernels on a device: a problem's buffers, its prepared launches, its outputs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt

from moesort_tune.device import code_objects, compiler, hip
from moesort_tune.device.sources import SORTING_FORM, Form
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.arguments import AlignArguments, SortingArguments, compute_divisor
from moesort_tune.sorting.check import JUNK
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.launches import (
    SOURCES,
    Launch,
    compute_workspace_bytes,
    plan,
)
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision

OPTIONAL_OUTPUTS = ("local_topk_ids", "m_indices", "reverse_sorted")


class SortingKernels:
    """The builtin kernels, loaded on `device`. files: of KERNEL_FILES, whose kernels can be launched.

    revision: see sorting.revision.
    """

    def __init__(self, device: hip.Device, files: Sequence[str] = KERNEL_FILES) -> None:
        self.device = device
        self.limits = device.properties.limits
        self.revision = compute_kernels_revision(self.limits.arch)
        with ExitStack() as resources:
            self._kernels = load_form(device, self.revision, resources, files=files)
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Unload the kernels, which invalidates everything prepared with them. Raise HipError."""
        self._resources.close()

    @contextmanager
    def prepare(
        self, problem: Problem, inputs: SortingInputs, optional_outputs: tuple[str, ...] = ()
    ) -> Iterator["PreparedSort"]:
        """Allocate buffers and prepare launches of one problem; free them at the end of `with`.

        optional_outputs: members of OPTIONAL_OUTPUTS that the kernels write.
        """
        with ExitStack() as resources:
            yield PreparedSort(self, problem, inputs, optional_outputs, resources)

    def prepare_launches(
        self, kernel: KernelName, problem: Problem, arguments: SortingArguments
    ) -> list[hip.PreparedLaunch]:
        """Prepare the launches of one sort with the pointers of `arguments`. Raise KernelTooLargeError."""
        return [
            self._kernels[launch.kernel].prepare(
                grid=launch.grid,
                block=launch.block,
                lds_bytes=launch.lds_bytes,
                arguments=_fill_in_launch(arguments, problem, launch),
            )
            for launch in plan(kernel, problem, self.limits)
        ]


def load_form(
    device: hip.Device,
    revision: str,
    resources: ExitStack,
    form: Form = SORTING_FORM,
    *,
    files: Sequence[str] = KERNEL_FILES,
) -> dict[str, hip.Kernel]:
    """Load all variants of every kernel: a prebuilt code object of this revision, else compiled now.

    resources: owns the modules. files: those to load.
    """
    arch = device.properties.arch
    prebuilt = code_objects.find_prebuilt(arch, revision, form)
    codes = (
        [prebuilt] * len(files)
        if prebuilt
        else [compiler.get_code(compiler.Unit(file, arch, form.definition)) for file in files]
    )
    kernels: dict[str, hip.Kernel] = {}
    for file, code in zip(files, codes, strict=True):
        module = resources.enter_context(device.load(code))
        kernels |= {name: module.get_kernel(name) for name in SOURCES[file]}
    return kernels


def _fill_in_launch(arguments: SortingArguments, problem: Problem, launch: Launch) -> SortingArguments:
    """Return a copy of `arguments` with the fields that differ between launches."""
    own = SortingArguments.from_buffer_copy(arguments)
    own.moe_buf = (arguments.moe_buf or 0) + launch.zero_begin
    own.moe_buf_bytes = launch.zero_end - launch.zero_begin
    fill_in_sizes(own, problem, launch)
    return own


def fill_in_sizes(own: SortingArguments | AlignArguments, problem: Problem, launch: Launch) -> None:
    """Set the fields that both forms have: the problem's sizes and the launch's."""
    own.rows = problem.rows
    own.num_experts = compute_divisor(problem.num_experts)
    own.topk = compute_divisor(problem.topk)
    own.unit_size = compute_divisor(problem.unit_size)
    own.sorting_workgroups = launch.sorting_workgroups
    own.chunks = launch.chunks
    own.chunk_groups = launch.chunk_groups
    own.chunks_per_group = launch.chunks_per_group
    own.chunk_tokens = launch.chunk_tokens
    own.pass_tokens = launch.pass_tokens


class PreparedSort:
    """One problem on the device. Its outputs are junk until a kernel has been launched and the stream synchronized.

    resources: owns each buffer from its allocation on, so that a failure leaks none.
    """

    def __init__(
        self,
        kernels: SortingKernels,
        problem: Problem,
        inputs: SortingInputs,
        optional_outputs: tuple[str, ...],
        resources: ExitStack,
    ) -> None:
        self.problem = problem
        self._resources = resources
        self._kernels = kernels
        self._buffers: dict[str, hip.Buffer] = {}
        self._prepared: dict[KernelName, list[hip.PreparedLaunch]] = {}
        self._allocate_inputs(inputs)
        self._allocate_outputs(optional_outputs)
        self._arguments = SortingArguments()
        for name, buffer in self._buffers.items():
            setattr(self._arguments, name, buffer.pointer)

    def _allocate_inputs(self, inputs: SortingInputs) -> None:
        arrays = {"topk_ids": inputs.topk_ids, "topk_weights": inputs.topk_weights}
        if inputs.local_expert_mask is not None:
            arrays["local_expert_mask"] = inputs.local_expert_mask
        if inputs.num_local_tokens is not None:
            arrays["num_local_tokens"] = np.array([inputs.num_local_tokens], np.int32)
        for name, array in arrays.items():
            self._allocate(name, array.nbytes).write(array)

    def _allocate_outputs(self, optional_outputs: tuple[str, ...]) -> None:
        elements = {
            "sorted_token_ids": self.problem.max_padded,
            "sorted_weights": self.problem.max_padded,
            "sorted_expert_ids": self.problem.max_tiles,
            "num_valid_ids": 2,
            "local_topk_ids": self.problem.pairs,
            "m_indices": self.problem.max_padded,
            "reverse_sorted": self.problem.pairs,
        }
        sizes = {
            name: 4 * count
            for name, count in elements.items()
            if name not in OPTIONAL_OUTPUTS or name in optional_outputs
        }
        sizes |= {
            "moe_buf": self.problem.moe_buf_bytes,
            "workspace": compute_workspace_bytes(self.problem, self._kernels.limits),
        }
        for name, nbytes in sizes.items():
            self._allocate(name, nbytes)

    def _allocate(self, name: str, nbytes: int) -> hip.Buffer:
        buffer = self._resources.enter_context(self._kernels.device.allocate(nbytes))
        self._buffers[name] = buffer
        return buffer

    def prepare_launches(self, kernel: KernelName) -> list[hip.PreparedLaunch]:
        """Return the launches of one sort by `kernel`, prepared on first use. Raise KernelTooLargeError."""
        if kernel not in self._prepared:
            self._prepared[kernel] = self._kernels.prepare_launches(kernel, self.problem, self._arguments)
        return self._prepared[kernel]

    def launch(self, kernel: KernelName, stream: hip.Stream) -> None:
        """Enqueue one sort by `kernel` on `stream`."""
        for launch in self.prepare_launches(kernel):
            launch.launch(stream)

    def spoil(self) -> None:
        """Fill outputs and workspace with junk, so that reads after a sort see only its writes."""
        inputs = {"topk_ids", "topk_weights", "local_expert_mask", "num_local_tokens"}
        for name, buffer in self._buffers.items():
            if name not in inputs:
                buffer.fill(JUNK)

    def set_num_local_tokens(self, tokens: int) -> None:
        """Change the number of valid leading rows on the device; prepared launches and graphs stay valid."""
        self._buffers["num_local_tokens"].write(np.array([tokens], np.int32))

    def read_outputs(self) -> SortedOutputs:
        """Return the outputs of the last sort, truncated to their defined elements."""
        valid = self._read("num_valid_ids", 2)
        # A wrong kernel may report any number of rows; those that fit are compared.
        rows = min(max(int(valid[0]), 0), self.problem.max_padded)
        return SortedOutputs(
            sorted_token_ids=self._read("sorted_token_ids", rows),
            sorted_weights=self._buffers["sorted_weights"].read(np.float32, rows),
            sorted_expert_ids=self._read("sorted_expert_ids", rows // self.problem.unit_size),
            num_valid_ids=valid,
            m_indices=self._read_optional("m_indices", rows),
            reverse_sorted=self._read_optional("reverse_sorted", self.problem.pairs),
            local_topk_ids=self._read_optional("local_topk_ids", self.problem.pairs),
        )

    def is_moe_buf_zero(self, memory: hip.PinnedMemory) -> bool:
        """Return whether every byte of moe_buf is 0. memory: what it is copied to, piece by piece."""
        buffer, size, step = self._buffers["moe_buf"], self.problem.moe_buf_bytes, len(memory.array)
        pieces = (buffer.read_into(memory, min(step, size - begin), begin) for begin in range(0, size, step))
        return not any(_has_bits(piece) for piece in pieces)

    def _read(self, name: str, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        return self._buffers[name].read(np.int32, count)

    def _read_optional(self, name: str, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None:
        return self._read(name, count) if name in self._buffers else None


def _has_bits(data: npt.NDArray[np.uint8]) -> bool:
    """Return whether any byte is not 0; numpy tests words three times as fast as bytes."""
    words = len(data) // 8 * 8
    return bool(data[:words].view(np.uint64).any() or data[words:].any())
