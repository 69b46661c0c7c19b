"""What the emulated tests share. They need TINYGRAD_REPO, a checkout of tinygrad, and a compiler for AMD GPUs."""

import functools
import os

import pytest

from moesort_tune.device import ahead_of_time
from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision
from tests.isa import tinygrad_emulator
from tests.offload import find_real_compiler
from tests.opt_in import skip_or_fail

HOURGLASS_VARIABLE = "MOESORT_TEST_HOURGLASS"
"""Set to run, of the emulated tests, only those marked as HOURGLASS."""

HOURGLASS = pytest.mark.hourglass


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test that takes `arch` is run in the emulator, so it belongs to that suite."""
    emulated = [item for item in items if _is_emulated(item)]
    for item in emulated:
        item.add_marker("emulator")
    if os.environ.get(HOURGLASS_VARIABLE):
        left_out = [item for item in emulated if item.get_closest_marker(HOURGLASS.name) is None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_emulated(item: pytest.Item) -> bool:
    return "arch" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(tinygrad_emulator.FOLDER)


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
