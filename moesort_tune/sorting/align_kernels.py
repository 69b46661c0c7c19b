"""The builtin kernels in the align form on a device: a problem's buffers, its prepared launches, its outputs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from moesort_tune.device import hip
from moesort_tune.device.sources import ALIGN_FORMS
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.align import AlignedOutputs, AlignInputs, AlignProblem
from moesort_tune.sorting.arguments import AlignArguments
from moesort_tune.sorting.check import JUNK, WrongOutputError
from moesort_tune.sorting.kernels import fill_in_sizes, load_form
from moesort_tune.sorting.launches import compute_workspace_bytes, plan
from moesort_tune.sorting.problem import Problem, ProblemError
from moesort_tune.sorting.revision import compute_align_revision

CANARY_BYTES = 64
"""Bytes behind each output that no kernel may write."""


class AlignKernels:
    """The builtin kernels in the align form on `device`, for each width of ids loaded on first use.

    revision: of both widths; see sorting.revision.
    """

    def __init__(self, device: hip.Device) -> None:
        self.device = device
        self.limits = device.properties.limits
        self.revision = compute_align_revision(self.limits.arch)
        self._resources = ExitStack()
        self._kernels: dict[int, dict[str, hip.Kernel]] = {}

    def close(self) -> None:
        """Unload the kernels, which invalidates everything prepared with them. Raise HipError."""
        self._resources.close()

    @contextmanager
    def prepare(
        self, problem: AlignProblem, inputs: AlignInputs, *, scatter_idx: bool = False
    ) -> Iterator["PreparedAlign"]:
        """Allocate buffers of one problem; free them at the end of `with`. scatter_idx: whether it is written."""
        with ExitStack() as resources:
            yield PreparedAlign(self, problem, inputs, resources, scatter_idx=scatter_idx)

    def prepare_launches(
        self, kernel: KernelName, sort: Problem, arguments: AlignArguments, id_bits: int
    ) -> list[hip.PreparedLaunch]:
        """Prepare the launches of one alignment with the pointers of `arguments`. Raise KernelTooLargeError.

        sort: its sizes, experts counted from the lowest id on. id_bits: bits of an id in topk_ids, 32 or 64.
        """
        prepared = []
        for launch in plan(kernel, sort, self.limits):
            own = AlignArguments.from_buffer_copy(arguments)
            fill_in_sizes(own, sort, launch)
            loaded = self.load(id_bits)[launch.kernel]
            prepared.append(
                loaded.prepare(grid=launch.grid, block=launch.block, lds_bytes=launch.lds_bytes, arguments=own)
            )
        return prepared

    def is_loaded(self, id_bits: int) -> bool:
        """Return whether the kernels for ids of so many bits are loaded, so that a launch only launches."""
        return id_bits in self._kernels

    def load(self, id_bits: int) -> dict[str, hip.Kernel]:
        """Return the kernels for ids of 32 or 64 bits by name, loaded on first use. Raise HipError, CompileError."""
        if id_bits not in self._kernels:
            form = ALIGN_FORMS[id_bits]
            self._kernels[id_bits] = load_form(self.device, self.revision, self._resources, form)
        return self._kernels[id_bits]


class PreparedAlign:
    """One alignment on the device. Its outputs are junk until a kernel has run.

    resources: owns each buffer from its allocation on, so that a failure leaks none.
    """

    def __init__(
        self,
        kernels: AlignKernels,
        problem: AlignProblem,
        inputs: AlignInputs,
        resources: ExitStack,
        *,
        scatter_idx: bool,
    ) -> None:
        _check_map(inputs, problem)
        self.problem = problem
        self._kernels = kernels
        self._id_bits = inputs.id_bits
        self._prepared: dict[KernelName, list[hip.PreparedLaunch]] = {}
        self._outputs = {
            "sorted_token_ids": problem.capacity_rows,
            "expert_ids": problem.capacity_blocks,
            "num_tokens_post_pad": 1,
        } | ({"scatter_idx": problem.pairs} if scatter_idx else {})
        sizes = {name: 4 * elements + CANARY_BYTES for name, elements in self._outputs.items()}
        sizes["workspace"] = compute_workspace_bytes(problem.sort, kernels.limits)
        arrays: dict[str, npt.NDArray[Any]] = {"topk_ids": inputs.topk_ids}
        if inputs.expert_map is not None:
            arrays["expert_map"] = inputs.expert_map
        sizes |= {name: array.nbytes for name, array in arrays.items()}
        self._buffers = {
            name: resources.enter_context(kernels.device.allocate(nbytes)) for name, nbytes in sizes.items()
        }
        for name, array in arrays.items():
            self._buffers[name].write(array)
        self._arguments = self._make_arguments()

    def _make_arguments(self) -> AlignArguments:
        problem = self.problem
        arguments = AlignArguments(
            first_id=problem.first_id,
            capacity_rows=problem.capacity_rows,
            capacity_tiles=problem.capacity_blocks,
            tail_expert=problem.tail_expert,
            drops_other_ranks=problem.ignore_invalid_experts,
        )
        for name, buffer in self._buffers.items():
            setattr(arguments, name, buffer.pointer)
        return arguments

    def prepare_launches(self, kernel: KernelName) -> list[hip.PreparedLaunch]:
        """Return the launches of one alignment by `kernel`, prepared on first use. Raise KernelTooLargeError."""
        if kernel not in self._prepared:
            self._prepared[kernel] = self._kernels.prepare_launches(
                kernel, self.problem.sort, self._arguments, self._id_bits
            )
        return self._prepared[kernel]

    def launch(self, kernel: KernelName, stream: hip.Stream) -> None:
        """Enqueue one alignment by `kernel` on `stream`."""
        for launch in self.prepare_launches(kernel):
            launch.launch(stream)

    def set_ids(self, topk_ids: npt.NDArray[Any]) -> None:
        """Change the ids on the device; prepared launches and graphs stay valid."""
        self._buffers["topk_ids"].write(topk_ids)

    def spoil(self) -> None:
        """Fill outputs, canaries and workspace with junk, so that reads afterwards see only what was written."""
        for name in (*self._outputs, "workspace"):
            self._buffers[name].fill(JUNK)

    def read_outputs(self) -> AlignedOutputs:
        """Return the outputs of the last alignment. Raise WrongOutputError where it wrote behind one."""
        arrays = {}
        for name, elements in self._outputs.items():
            arrays[name] = self._buffers[name].read(np.int32, elements)
            canary = self._buffers[name].read(np.uint8, CANARY_BYTES, 4 * elements)
            if (canary != JUNK).any():
                raise WrongOutputError(f"there was a write behind the {elements} elements of {name}")
        return AlignedOutputs(**arrays)


def _check_map(inputs: AlignInputs, problem: AlignProblem) -> None:
    experts = problem.sort.num_experts
    if inputs.expert_map is not None and inputs.expert_map.shape != (experts,):
        raise ProblemError(
            f"expert_map must have an id for each of {experts} experts, got the shape {inputs.expert_map.shape}; "
            "SGLang's ids are of this rank already and have no map"
        )
