"""Alignments with an edge each, and a process that runs them: `python -m tests.sorting.align_cases`.

Prints `checked N alignments`; a wrong output ends it with an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.align import AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.inputs import make_inputs
from moesort_tune.sorting.launches import KERNELS


@dataclass(frozen=True)
class AlignCase:
    """A problem with its inputs. scatter_idx: whether it is asked for."""

    problem: AlignProblem
    inputs: AlignInputs
    scatter_idx: bool = True

    def check(self, kernels: AlignKernels, kernel: KernelName) -> None:
        """Run as many leading rows as the kernel takes and compare every element. Raise WrongOutputError."""
        case = self._fit(kernel, kernels)
        stream = kernels.device.create_stream()
        with kernels.prepare(case.problem, case.inputs, scatter_idx=case.scatter_idx) as prepared:
            prepared.spoil()
            prepared.launch(kernel, stream)
            stream.synchronize()
            outputs = prepared.read_outputs()
        assert (outputs.scatter_idx is not None) == case.scatter_idx
        check_outputs(outputs, align_block_size(case.inputs, case.problem), kernel=kernel, shape=str(case.problem))

    def _fit(self, kernel: KernelName, kernels: AlignKernels) -> "AlignCase":
        sort = self.problem.sort
        rows = min(sort.rows, compute_limits(sort.num_experts, sort.topk, kernels.limits)[kernel])
        inputs = replace(self.inputs, topk_ids=self.inputs.topk_ids[:rows])
        return replace(self, problem=replace(self.problem, rows=rows), inputs=inputs)


def make_uniform(rows: int, topk: int, num_experts: int, block_size: int = 32, **options: Any) -> AlignCase:
    """Return a case with distinct experts in each row. options: of AlignProblem."""
    ids = make_inputs(rows=rows, topk=topk, num_experts=num_experts, seed=rows).topk_ids
    return AlignCase(AlignProblem(rows, topk, num_experts, block_size, **options), AlignInputs(ids))


def set_ids(case: AlignCase, ids: npt.NDArray[Any], kind: type = np.int32) -> AlignCase:
    """Return the case with other ids, of int32 or int64."""
    return replace(case, inputs=replace(case.inputs, topk_ids=np.ascontiguousarray(ids, dtype=kind)))


def set_wide(case: AlignCase) -> AlignCase:
    """Return the case with ids of int64."""
    return set_ids(case, case.inputs.topk_ids, np.int64)


def set_map(case: AlignCase, *, ranks: int = 2) -> AlignCase:
    """Return the case on a rank that owns every second expert, or every third."""
    experts = np.arange(case.problem.num_experts)
    expert_map = np.where(experts % ranks == 0, experts // ranks, -1).astype(np.int32)
    return replace(case, inputs=replace(case.inputs, expert_map=expert_map))


def make_bad_ids(case: AlignCase) -> AlignCase:
    """Return the case with about a third of the ids outside the experts."""
    random = np.random.default_rng(0)
    bad = np.array([-1, -2, case.problem.num_experts, 2**31 - 1, -(2**31)], np.int32)
    ids = case.inputs.topk_ids
    return set_ids(case, np.where(random.random(ids.shape) < 0.35, random.choice(bad, ids.shape), ids))


def make_repeats(case: AlignCase) -> AlignCase:
    """Return the case with experts drawn with repetition, and the last third of the rows of expert 0 alone."""
    problem = case.problem
    ids = np.random.default_rng(0).integers(0, problem.num_experts, (problem.rows, problem.topk))
    ids[problem.rows - problem.rows // 3 :] = 0
    return set_ids(case, ids)


def make_hot_expert(case: AlignCase) -> AlignCase:
    """Return the case with the last expert in every slot."""
    return set_ids(case, np.full_like(case.inputs.topk_ids, case.problem.num_experts - 1))


EDGES: dict[str, Callable[[], AlignCase]] = {
    "no tokens": lambda: make_uniform(0, 2, 8),
    "one of each": lambda: make_uniform(1, 1, 1),
    "mapped experts": lambda: set_map(make_uniform(65, 6, 129, 16)),
    "mapped experts, dropped": lambda: set_map(make_uniform(65, 6, 129, 16, ignore_invalid_experts=True)),
    "bad ids": lambda: make_bad_ids(make_uniform(90, 3, 40)),
    "wide ids": lambda: set_wide(set_map(make_bad_ids(make_uniform(90, 3, 40)))),
    "one hot expert": lambda: make_hot_expert(make_uniform(200, 2, 16)),
    "repeated experts": lambda: make_repeats(make_uniform(150, 4, 8)),
    "repeats in several chunks": lambda: set_wide(set_map(make_repeats(make_uniform(900, 6, 24)))),
    "one word of pairs": lambda: make_repeats(make_uniform(16, 4, 70)),
    "the most experts": lambda: set_map(make_uniform(25, 9, 1024, 2, ignore_invalid_experts=True)),
    "many experts in several chunks": lambda: make_uniform(600, 3, 600, 4, pad_sorted_ids=True),
    "sglang": lambda: make_bad_ids(make_uniform(90, 3, 40, framework="sglang")),
    "sglang, several chunks": lambda: make_repeats(make_uniform(700, 2, 24, framework="sglang")),
}
"""Alignments that cross words, waves, chunks, maps and bad ids."""


def main() -> None:
    """Run and check all of EDGES with every kernel."""
    kernels = AlignKernels(hip.open_device())
    for make in EDGES.values():
        for kernel in KERNELS:
            make().check(kernels, kernel)
    print(f"checked {len(EDGES) * len(KERNELS)} alignments")


if __name__ == "__main__":
    main()
