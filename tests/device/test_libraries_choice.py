"""The default HIP runtime of a machine."""

import pytest

from moesort_tune.device import libraries
from moesort_tune.device.kfd import KfdGpu
from moesort_tune.device.libraries import RuntimeLibraryError
from moesort_tune.device.machine import Machine

MI300X = KfdGpu(2, "gfx942", 304, 65536)
LAPTOP = KfdGpu(1, "gfx1103", 12, 65536)


@pytest.mark.parametrize(
    ("machine", "runtime"),
    [
        (Machine(), "host"),
        (Machine(nvidia=True), "cuda"),
        (Machine(kfd=True, kfd_gpus=(MI300X,)), "amd"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP, MI300X)), "amd"),
        (Machine(kfd=True, kfd_gpus=(MI300X,), nvidia=True), "amd"),
        (Machine(kfd=True, kfd_gpus=None), "amd"),
        (Machine(kfd=True, kfd_gpus=(MI300X,), forbidden=("/dev/kfd",)), "amd"),
        (Machine(kfd=True, kfd_gpus=()), "host"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP,)), "host"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP,), environment={"HSA_OVERRIDE_GFX_VERSION": "9.4.2"}), "amd"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP,), environment={"HSA_OVERRIDE_GFX_VERSION_1": "9.0.10"}), "amd"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP,), environment={"HSA_OVERRIDE_GFX_VERSION_2": "9.4.2"}), "host"),
        (Machine(kfd=True, kfd_gpus=(LAPTOP,), environment={"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}), "host"),
        (Machine(kfd=True, kfd_gpus=(MI300X,), broken={"/dev/kfd": "EBUSY"}), "amd"),
    ],
    ids=[
        "nothing",
        "NVIDIA",
        "MI300X",
        "MI300X beside an APU",
        "AMD and NVIDIA",
        "unreadable list",
        "no permission",
        "driver without a GPU",
        "laptop",
        "overridden laptop",
        "overridden by its node",
        "another node overridden",
        "overridden to another laptop's",
        "busy",
    ],
)
def test_attached_gpu_decides_the_runtime(machine: Machine, runtime: str) -> None:
    """Protects `make demo` on laptops, and an AMD GPU that cannot be used from being passed over in silence."""
    assert libraries.detect_runtime(machine) == runtime


def test_unknown_runtime_is_an_error_with_the_known_ones() -> None:
    """Protects against a typing error in MOESORT_TUNE_RUNTIME choosing something by itself."""
    with pytest.raises(RuntimeLibraryError, match="must be one of amd, cuda, host, got 'rocm'"):
        libraries.choose("rocm")
