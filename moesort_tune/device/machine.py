"""The machine's state that decides whether a GPU is usable: driver files, hidden GPUs, environment variables."""

import errno
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moesort_tune.device import child, loader
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.attached import OVERRIDE, get_reported_arch
from moesort_tune.device.kfd import KfdGpu, list_gpus

KFD = Path("/dev/kfd")
RENDER_NODES = Path("/dev/dri")
AMDGPU_VERSION = Path("/sys/module/amdgpu/version")
NVIDIA = Path("/dev/nvidiactl")

HIDING = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES")
"""Environment variables that hide GPUs from AMD's runtime; NVIDIA's reads the last one."""

_VARIABLES = (
    *HIDING,
    "ROCM_PATH",
    "ROCM_HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CXX",
    "CC",
)
_PREFIXES = ("MOESORT_TUNE_", "MOESORT_HOST_")

_ABSENT = ("ENOENT", "ENOTDIR")
_FORBIDDEN = ("EACCES", "EPERM")


@dataclass(frozen=True)
class Machine:
    """GPU state as the operating system shows it.

    kfd: AMD's kernel driver is present; forbidden: its device files that this user may not open; broken: those that
    fail to open for another reason, with the error's name, {'/dev/kfd': 'EBUSY'}; kfd_gpus: the driver's list, None if
    it cannot be read; nvidia: NVIDIA's driver is present; environment: the relevant variables that are set.
    """

    kfd: bool = False
    forbidden: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    kfd_gpus: tuple[KfdGpu, ...] | None = None
    nvidia: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def amd_gpu(self) -> bool:
        """Whether an AMD GPU that the kernels are built for is, or may be, attached (its list can be unreadable).

        A laptop's integrated GPU also has /dev/kfd, but does not count.
        """
        if self.kfd_gpus is None:
            return self.kfd
        return self.kfd and any(get_reported_arch(gpu, self.environment) in ARCHITECTURES for gpu in self.kfd_gpus)

    @property
    def overrides(self) -> dict[str, str]:
        """The variables that make HIP report another architecture than the GPU's, for all GPUs or for one."""
        return {name: value for name, value in self.environment.items() if OVERRIDE.fullmatch(name)}

    @property
    def hiding(self) -> dict[str, str]:
        """The variables that hide GPUs and are set."""
        return {name: self.environment[name] for name in HIDING if name in self.environment}


def inspect_machine() -> Machine:
    """Return this machine's state without loading a GPU library."""
    errors = _find_device_file_errors()
    forbidden = tuple(path for path, error in errors.items() if error in _FORBIDDEN)
    # Where the device file's existence cannot be checked, a GPU in the driver's list implies it.
    listed = list_gpus() if _is_there(KFD) or str(KFD) in errors else None
    return Machine(
        kfd=_is_there(KFD) or bool(listed),
        forbidden=forbidden,
        broken={path: error for path, error in errors.items() if path not in forbidden},
        kfd_gpus=listed,
        nvidia=_is_there(NVIDIA) and loader.find_library("cuda") is not None,
        environment=select_variables(os.environ),
    )


def select_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change the choice of GPU, library or table, made printable."""
    return {
        name: child.make_printable(value)
        for name, value in sorted(environment.items())
        if name in _VARIABLES or name.startswith(_PREFIXES) or OVERRIDE.fullmatch(name)
    }


def read_amdgpu_version() -> str:
    """Return the version of AMD's kernel driver: '6.16.6' if packaged, 'Linux 6.8.0' if part of the kernel."""
    try:
        return AMDGPU_VERSION.read_text(errors="replace").strip()
    except OSError:
        return f"Linux {platform.release()}"


def _find_device_file_errors() -> dict[str, str]:
    """Return the error name of each device file that cannot be opened.

    Permission errors of render nodes count only if none can be opened: a container has access to its own nodes only.
    """
    kfd = _try_open(KFD)
    if kfd in _ABSENT:
        return {}
    nodes = {path: _try_open(path) for path in sorted(loader.list_files(RENDER_NODES, "renderD*"))}
    usable = not all(nodes.values())
    found = {KFD: kfd, **{path: error for path, error in nodes.items() if not (usable and error in _FORBIDDEN)}}
    return {str(path): error for path, error in found.items() if error}


def _try_open(path: Path) -> str:
    """Return the name of the error with which opening `path` fails, 'EACCES'; '' if it succeeds."""
    # access() is not enough: a container's device rules refuse even root.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def _is_there(path: Path) -> bool:
    """Return whether `path` is known to exist; False in a folder that may not be searched."""
    try:
        return path.exists()
    except OSError:
        return False
