"""Sorts one case for each edge with both kernels, in a process of its own: `python -m tests.sorting.edges`.

Prints `checked N sorts`; a wrong output ends it with an error.
"""

from collections.abc import Iterator

from moesort_tune.device import hip
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.problem import KERNELS
from tests.sorting import cases
from tests.sorting.cases import Case


def edge_cases() -> Iterator[Case]:
    """Small problems that cross words, waves, chunks, masks and bad ids."""
    yield cases.uniform(0, 2, 8)
    yield cases.uniform(1, 1, 1)
    yield cases.uniform(33, 4, 70, moe_buf_bytes=1001)
    yield cases.with_mask(cases.uniform(65, 6, 129, unit_size=16))
    yield cases.with_bad_ids(cases.with_tokens(cases.uniform(90, 3, 40), 61))
    yield cases.one_hot_expert(200, 16, 7)
    yield cases.uniform(700, 2, 24)


def main() -> None:
    """Sorts and checks."""
    kernels = SortingKernels(hip.open_device())
    sorts = 0
    for case in edge_cases():
        for kernel in KERNELS:
            check_outputs(case.run(kernels, kernel), case.expected, kernel=kernel, shape=str(case.problem))
            sorts += 1
    print(f"checked {sorts} sorts")


if __name__ == "__main__":
    main()
