"""Sort named edge cases with every kernel, in a process of its own: `python -m tests.sorting.edges [NAME ...]`.

Prints `checked N sorts`; a wrong output ends it with an error.
"""

import functools
import sys
from collections.abc import Callable

from moesort_tune.device import hip
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.revision import KERNEL_FILES
from tests.sorting import cases
from tests.sorting.cases import Case

EDGES: dict[str, Callable[[], Case]] = {
    "no tokens": lambda: cases.make_uniform(0, 2, 8),
    "one of each": lambda: cases.make_uniform(1, 1, 1),
    "odd bytes to zero": lambda: cases.make_uniform(33, 4, 70, moe_buf_bytes=1001),
    "masked experts": lambda: cases.set_mask(cases.make_uniform(65, 6, 129, unit_size=16), rank=1, ranks=2),
    "bad ids": lambda: cases.make_bad_ids(cases.make_uniform(90, 3, 40)),
    "few real rows": lambda: cases.set_tokens(cases.make_uniform(90, 3, 40), 61),
    "one hot expert": lambda: cases.make_one_hot_expert(200, 16, 7),
    "more slots than usual": lambda: cases.make_uniform(31, 32, 64),
    "repeated experts": lambda: cases.make_repeats(cases.make_uniform(150, 4, 8)),
    "repeats in several chunks": lambda: cases.make_repeats(cases.make_uniform(900, 6, 24)),
    "one word of pairs": lambda: cases.set_mask(cases.make_repeats(cases.make_uniform(16, 4, 70)), rank=1, ranks=2),
    "the most experts": lambda: cases.set_mask(cases.make_uniform(25, 9, 1024, unit_size=2), rank=1, ranks=2),
    "many experts in several chunks": lambda: cases.set_mask(cases.make_uniform(600, 3, 600, unit_size=4)),
    "several chunks": lambda: cases.make_uniform(700, 2, 24),
}
"""Problems that cross words, waves, chunks, masks and bad ids."""

LARGE: dict[str, Callable[[], Case]] = {
    "a buffer beyond 32 bits": lambda: cases.make_uniform(8, 2, 8, moe_buf_bytes=(1 << 32) + 17),
}
"""Problems that take seconds and gigabytes, sorted only where they are named."""


def main(names: list[str]) -> None:
    """Sort and check the named cases, or all of EDGES."""
    sort = Sort()
    for name in names or list(EDGES):
        if name in LARGE:
            sort.check_at_once(name)
        else:
            sort.check_one_by_one(name)
    print(f"checked {sort.done} sorts")


class Sort:
    """The kernels, each compiled when it is first needed. done: sorts that were right."""

    def __init__(self) -> None:
        self.done = 0
        self._device = hip.open_device()
        self._load = functools.cache(lambda *files: SortingKernels(self._device, files))

    def check_one_by_one(self, name: str) -> None:
        """Sort by one kernel after the other, in buffers of their own. A wrong one ends it before others are loaded."""
        edge = EDGES[name]()
        for kernel in KERNELS:
            kernels = self._load(f"{kernel}.hip")
            case = cases.fit(edge, kernel, kernels.limits)
            check_outputs(case.run(kernels, kernel), case.expected, kernel=kernel, shape=name)
            self.done += 1

    def check_at_once(self, name: str) -> None:
        """Sort by all kernels in the same buffers, which take long to make."""
        case = LARGE[name]()
        for kernel, outputs in case.run_all(self._load(*KERNEL_FILES), KERNELS):
            check_outputs(outputs, case.expected, kernel=kernel, shape=name)
            self.done += 1


if __name__ == "__main__":
    main(sys.argv[1:])
