"""What of this machine decides why a GPU cannot be used: driver files, what is hidden, environment variables."""

import ctypes.util
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.kfd import KfdGpu, gpus

KFD = Path("/dev/kfd")
RENDER_NODES = Path("/dev/dri")
AMDGPU_VERSION = Path("/sys/module/amdgpu/version")
NVIDIA = Path("/dev/nvidiactl")

HIDING = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES")
"""Environment variables by which AMD's runtime hides GPUs; NVIDIA's knows the last one."""

_VARIABLES = (
    *HIDING,
    "HSA_OVERRIDE_GFX_VERSION",
    "ROCM_PATH",
    "ROCM_HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CXX",
    "CC",
)
_PREFIXES = ("MOESORT_TUNE_", "MOESORT_HOST_")


@dataclass(frozen=True)
class Machine:
    """What the operating system shows of GPUs.

    kfd: AMD's kernel driver is there; forbidden: its device files that this user may not open; kfd_gpus: what it
    lists, None if it cannot be read; nvidia: NVIDIA's driver is there; environment: the variables that matter and
    are set.
    """

    kfd: bool = False
    forbidden: tuple[str, ...] = ()
    kfd_gpus: tuple[KfdGpu, ...] | None = None
    nvidia: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def amd_gpu(self) -> bool:
        """Whether an AMD GPU is attached that the kernels are built for, or may be (its list can be unreadable).

        A laptop's integrated GPU has /dev/kfd too, and is none.
        """
        overridden = "HSA_OVERRIDE_GFX_VERSION" in self.environment
        known = self.kfd_gpus is None or any(overridden or gpu.arch in ARCHITECTURES for gpu in self.kfd_gpus)
        return self.kfd and known

    @property
    def hiding(self) -> dict[str, str]:
        """The variables that hide GPUs and are set."""
        return {name: self.environment[name] for name in HIDING if name in self.environment}


def this_machine() -> Machine:
    """What this process sees; no GPU library is loaded."""
    return Machine(
        kfd=KFD.exists(),
        forbidden=_forbidden(),
        kfd_gpus=gpus() if KFD.exists() else None,
        nvidia=NVIDIA.exists() and ctypes.util.find_library("cuda") is not None,
        environment=relevant_variables(os.environ),
    )


def relevant_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of `environment` that change which GPU, which library or which table is used."""
    return {
        name: value for name, value in sorted(environment.items()) if name in _VARIABLES or name.startswith(_PREFIXES)
    }


def amdgpu_version() -> str:
    """Version of AMD's kernel driver: '6.16.6' of the packaged one, 'Linux 6.8.0' for that of the kernel itself."""
    try:
        return AMDGPU_VERSION.read_text().strip()
    except OSError:
        return f"Linux {platform.release()}"


def _forbidden() -> tuple[str, ...]:
    """/dev/kfd if it cannot be opened, and the render nodes if not one of them can."""
    kfd_file = [KFD] if KFD.exists() and not _usable(KFD) else []
    nodes = sorted(RENDER_NODES.glob("renderD*"))
    shut = nodes if KFD.exists() and nodes and not any(map(_usable, nodes)) else []
    return tuple(map(str, kfd_file + shut))


def _usable(path: Path) -> bool:
    # Opened rather than asked by access(): a container's device rules refuse even root.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        pass
    return True
