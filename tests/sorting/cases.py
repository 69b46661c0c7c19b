"""Sorting problems with an edge each, used by the kernel tests on every runtime."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moesort_tune.device import hip
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.inputs import SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.kernels import OPTIONAL_OUTPUTS, SortingKernels
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting

PIECE_BYTES = 1 << 24
"""Of the zeroed buffer, read at a time."""


@dataclass(frozen=True)
class Case:
    """A problem with its inputs and the optional outputs asked for."""

    problem: Problem
    inputs: SortingInputs
    optional_outputs: tuple[str, ...] = OPTIONAL_OUTPUTS

    @property
    def expected(self) -> SortedOutputs:
        return moe_sorting(self.inputs, num_experts=self.problem.num_experts, unit_size=self.problem.unit_size)

    def run(self, kernels: SortingKernels, kernel: KernelName) -> SortedOutputs:
        """Sort on the device, into outputs full of junk; the zeroed buffer is checked here."""
        ((_, outputs),) = self.run_all(kernels, [kernel])
        return outputs

    def run_all(
        self, kernels: SortingKernels, names: Sequence[KernelName]
    ) -> Iterator[tuple[KernelName, SortedOutputs]]:
        """Sort by each of these kernels, into the same outputs; see `run`."""
        stream = kernels.device.create_stream()
        with (
            kernels.prepare(self.problem, self.inputs, self.optional_outputs) as prepared,
            hip.PinnedMemory(PIECE_BYTES) as memory,
        ):
            for kernel in names:
                prepared.spoil()
                prepared.launch(kernel, stream)
                stream.synchronize()
                assert prepared.is_moe_buf_zero(memory), "moe_buf holds bytes that are not zero"
                yield kernel, prepared.read_outputs()


def fit(case: Case, kernel: KernelName, device: DeviceLimits) -> Case:
    """Return the case with as many of its leading rows as the kernel takes."""
    problem, inputs = case.problem, case.inputs
    rows = min(problem.rows, compute_limits(problem.num_experts, problem.topk, device)[kernel])
    return replace(
        case,
        problem=replace(problem, rows=rows),
        inputs=replace(inputs, topk_ids=inputs.topk_ids[:rows], topk_weights=inputs.topk_weights[:rows]),
    )


def make_uniform(
    rows: int,
    topk: int,
    num_experts: int,
    *,
    unit_size: int = 32,
    moe_buf_bytes: int = 0,
    seed: int = 0,
) -> Case:
    """Return a case with distinct experts in each row, all equally likely."""
    problem = Problem(rows, topk, num_experts, unit_size, moe_buf_bytes)
    return Case(problem, make_inputs(rows=rows, topk=topk, num_experts=num_experts, seed=seed))


def set_ids(case: Case, ids: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> Case:
    """Return the case with other topk_ids."""
    return replace(case, inputs=replace(case.inputs, topk_ids=np.ascontiguousarray(ids, dtype=np.int32)))


def set_mask(case: Case, *, rank: int = 0, ranks: int = 2) -> Case:
    """Return the case under expert parallelism."""
    mask = make_mask(case.problem.num_experts, rank=rank, ranks=ranks)
    return replace(case, inputs=replace(case.inputs, local_expert_mask=mask))


def set_tokens(case: Case, tokens: int) -> Case:
    """Return the case with a device-side count of real rows."""
    return replace(case, inputs=replace(case.inputs, num_local_tokens=tokens))


def make_one_hot_expert(rows: int, num_experts: int, expert: int) -> Case:
    """Return a case in which every token chooses the same expert."""
    return set_ids(make_uniform(rows, 1, num_experts), np.full((rows, 1), expert, np.int32))


def make_bad_ids(case: Case, seed: int = 0) -> Case:
    """Return a case with about a third of the ids outside the experts: -1, num_experts, and the ends of int32."""
    random = np.random.default_rng(seed)
    bad = np.array([-1, case.problem.num_experts, 2**31 - 1, -(2**31)], np.int32)
    ids = case.inputs.topk_ids
    return set_ids(case, np.where(random.random(ids.shape) < 0.35, random.choice(bad, ids.shape), ids))


def make_repeats(case: Case, seed: int = 0) -> Case:
    """Return a case with experts drawn with repetition, and the last third of the rows of expert 0 alone."""
    rows, topk, num_experts = case.problem.rows, case.problem.topk, case.problem.num_experts
    ids = np.random.default_rng(seed).integers(0, num_experts, (rows, topk), dtype=np.int32)
    ids[rows - rows // 3 :] = 0
    return set_ids(case, ids)
