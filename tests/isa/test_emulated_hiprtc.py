"""What a real hiprtc made of the kernels, executed: the whole way from source to output with AMD's own compiler."""

from pathlib import Path
from unittest import mock

import pytest

from moesort_tune.device import compiler
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.revision import KERNEL_FILES
from tests.device import real_rocm
from tests.isa import tinygrad_emulator
from tests.isa.device import EmulatedDevice
from tests.isa.test_emulated_kernels import check_case, everything_at_once
from tests.opt_in import skip_or_fail

ARCH = "gfx90a"
"""The one of our targets that ROCm 5.2.3 knows."""


@pytest.fixture
def kernels(tmp_path: Path) -> SortingKernels:
    """Return the kernels as hiprtc compiled them, on an emulated gfx90a."""
    reason = tinygrad_emulator.missing()
    if reason is not None:
        skip_or_fail("emulator", reason)
    for file in KERNEL_FILES:
        assert real_rocm.compile_file(file, ARCH, tmp_path / file) == ""
    with mock.patch.object(compiler, "get_code", side_effect=lambda unit: (tmp_path / unit.file).read_bytes()):
        return SortingKernels(EmulatedDevice(ARCH, compute_units=4))


@pytest.mark.real_rocm
@pytest.mark.parametrize("rows", [5, 70])
def test_code_of_a_real_hiprtc_sorts_exactly(kernels: SortingKernels, rows: int) -> None:
    """Protects code object version 4 and an old compiler: other hidden arguments, same outputs."""
    for kernel in KERNELS:
        check_case(kernels, kernel, everything_at_once(rows))
