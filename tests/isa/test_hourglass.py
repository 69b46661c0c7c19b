"""The few emulated cases that CI has time for: each kernel on each AMD target, waves switching at random instructions.

Each takes another way through the kernels, and most take all options at once. test_emulated_kernels.py has the others.
"""

from collections.abc import Callable

import pytest

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.launches import KERNELS
from tests.isa.conftest import HOURGLASS
from tests.isa.test_emulated_kernels import everything_at_once, sort_and_check
from tests.sorting import cases
from tests.sorting.cases import Case


def make_repeats(rows: int) -> Case:
    """Return a case whose rows name experts several times, half of which are masked."""
    return cases.set_mask(cases.make_repeats(cases.make_uniform(rows, 5, 70, unit_size=16)), rank=0, ranks=2)


CASES: dict[str, tuple[Callable[[], Case], int]] = {
    "no_row": (lambda: cases.make_uniform(0, 8, 65, unit_size=16), 4),
    "every_option_few_rows": (lambda: everything_at_once(3), 4),
    "every_option_many_rows": (lambda: everything_at_once(300), 4),
    "every_option_several_batches": (lambda: everything_at_once(256), 8),
    "one_compute_unit": (lambda: cases.set_mask(cases.make_uniform(450, 2, 70)), 1),
    "groups_of_workgroups": (lambda: cases.set_mask(cases.make_uniform(650, 2, 70)), 80),
    "repeated_experts": (lambda: make_repeats(200), 8),
    "repeated_experts_in_several_passes": (lambda: make_repeats(450), 2),
    "words_of_pairs": (
        lambda: cases.set_mask(cases.make_repeats(cases.make_uniform(129, 1, 70, unit_size=3)), rank=1, ranks=2),
        4,
    ),
    "most_experts": (lambda: cases.make_uniform(9, 9, 1024, unit_size=2), 4),
    "most_experts_per_token": (lambda: cases.make_uniform(9, 255, 255, unit_size=1), 4),
    "one_hot_expert": (lambda: cases.make_one_hot_expert(130, 67, 66), 4),
}
"""By name: the case, and the compute units of the device."""


@HOURGLASS
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", CASES)
def test_sharp_case_is_exact(arch: str, code: bytes, kernel: KernelName, name: str) -> None:
    """Protects what a change of a kernel breaks first: outputs, barriers, LDS, and the bounds of every buffer."""
    make_case, compute_units = CASES[name]
    sort_and_check(arch, code, kernel, make_case(), order="shuffled", compute_units=compute_units)
