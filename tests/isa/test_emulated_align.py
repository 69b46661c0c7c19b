"""The align form's machine code on every AMD target: every element of every output, and nothing behind an output."""

import functools
from unittest import mock

import pytest

from moesort_tune.device import ahead_of_time, compiler
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.revision import KERNEL_FILES
from tests.isa.conftest import HOURGLASS
from tests.isa.device import EmulatedDevice
from tests.isa.waves import ORDERS, Order
from tests.offload import find_real_compiler
from tests.sorting import align_cases
from tests.sorting.align_cases import EDGES, AlignCase

COMPUTE_UNITS = 4

SHARP: dict[str, AlignCase] = {
    "every option": align_cases.set_wide(
        align_cases.set_map(align_cases.make_repeats(align_cases.make_uniform(70, 5, 67, 24)))
    ),
    "dropped experts in several chunks": align_cases.set_map(
        align_cases.make_bad_ids(align_cases.make_uniform(300, 5, 67, 24, ignore_invalid_experts=True))
    ),
    "sglang": align_cases.make_repeats(align_cases.make_uniform(40, 2, 24, framework="sglang")),
}
"""Cases that take another way through each kernel."""


@functools.cache
def _build(arch: str, id_bits: int) -> ahead_of_time.Build:
    return ahead_of_time.build(
        arch,
        KERNEL_FILES,
        revision="0123456789abcdef",
        compiler=find_real_compiler("emulator"),
        extra_options=(f"-DMOESORT_ALIGN={id_bits}",),
    )


def check(arch: str, kernel: KernelName, case: AlignCase, order: Order) -> None:
    """Run a case as the project runs it. Raise WrongOutputError, and the emulator's error for an access outside."""

    def get_code(unit: compiler.Unit) -> bytes:
        return _build(arch, int(unit.definition.removeprefix("MOESORT_ALIGN="))).code

    with mock.patch.object(compiler, "get_code", get_code):
        case.check(AlignKernels(EmulatedDevice(arch, compute_units=COMPUTE_UNITS, order=order)), kernel)


@HOURGLASS
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", SHARP)
def test_sharp_alignment_is_exact(arch: str, kernel: KernelName, name: str) -> None:
    """Protects what a change of a kernel breaks first, with waves that switch at random instructions."""
    check(arch, kernel, SHARP[name], "shuffled")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", EDGES)
def test_alignment_is_exact_at_each_edge(arch: str, kernel: KernelName, name: str, order: Order) -> None:
    """Protects words, waves, chunks, maps, both widths of ids and bad ids: the order of waves must not matter."""
    check(arch, kernel, EDGES[name](), order)


@pytest.mark.parametrize("id_bits", [32, 64])
def test_align_form_spills_nothing(arch: str, id_bits: int) -> None:
    """Protects its speed: no kernel needs scratch memory, which would be slow memory in the innermost loops."""
    kernels = _build(arch, id_bits).manifest.kernels
    assert kernels
    for kernel in kernels:
        assert (kernel.vgpr_spills, kernel.sgpr_spills, kernel.scratch_bytes) == (0, 0, 0), kernel.name
