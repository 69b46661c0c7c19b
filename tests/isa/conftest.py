"""What the emulated tests share. They need TINYGRAD_REPO, a checkout of tinygrad, and a compiler for AMD GPUs."""

import functools

import pytest

from moesort_tune.device import ahead_of_time
from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision
from tests.isa import tinygrad_emulator
from tests.offload import find_real_compiler
from tests.opt_in import skip_or_fail


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that takes `arch` is run in the emulator, so it belongs to that suite."""
    for item in items:
        if "arch" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(tinygrad_emulator.FOLDER):
            item.add_marker("emulator")


@pytest.fixture(params=AMD_ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> str:
    """Return each AMD target; skip where there is no emulator."""
    reason = tinygrad_emulator.missing()
    if reason is not None:
        skip_or_fail("emulator", reason)
    return str(request.param)


@functools.cache
def _code(arch: str) -> bytes:
    compiler = find_real_compiler("emulator")
    return ahead_of_time.build(arch, KERNEL_FILES, revision=compute_kernels_revision(arch), compiler=compiler).code


@pytest.fixture
def code(arch: str) -> bytes:
    """Return the code object of the kernels for `arch`."""
    return _code(arch)
