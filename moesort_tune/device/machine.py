"""What of this machine decides why a GPU cannot be used: driver files, what is hidden, environment variables."""

import errno
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moesort_tune.device import child, loader
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.attached import OVERRIDE, reported_arch
from moesort_tune.device.kfd import KfdGpu, gpus

KFD = Path("/dev/kfd")
RENDER_NODES = Path("/dev/dri")
AMDGPU_VERSION = Path("/sys/module/amdgpu/version")
NVIDIA = Path("/dev/nvidiactl")

HIDING = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES")
"""Environment variables by which AMD's runtime hides GPUs; NVIDIA's knows the last one."""

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
    """What the operating system shows of GPUs.

    kfd: AMD's kernel driver is there; forbidden: its device files that this user may not open; broken: those that it
    refuses to open for another reason, with the error's name, {'/dev/kfd': 'EBUSY'}; kfd_gpus: what it lists, None if
    it cannot be read; nvidia: NVIDIA's driver is there; environment: the variables that matter and are set.
    """

    kfd: bool = False
    forbidden: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    kfd_gpus: tuple[KfdGpu, ...] | None = None
    nvidia: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def amd_gpu(self) -> bool:
        """Whether an AMD GPU is attached that the kernels are built for, or may be (its list can be unreadable).

        A laptop's integrated GPU has /dev/kfd too, and is none.
        """
        if self.kfd_gpus is None:
            return self.kfd
        return self.kfd and any(reported_arch(gpu, self.environment) in ARCHITECTURES for gpu in self.kfd_gpus)

    @property
    def overrides(self) -> dict[str, str]:
        """The variables that make HIP report another architecture than the GPU's, of all GPUs or of one."""
        return {name: value for name, value in self.environment.items() if OVERRIDE.fullmatch(name)}

    @property
    def hiding(self) -> dict[str, str]:
        """The variables that hide GPUs and are set."""
        return {name: self.environment[name] for name in HIDING if name in self.environment}


def this_machine() -> Machine:
    """What this process sees; no GPU library is loaded."""
    errors = _device_file_errors()
    forbidden = tuple(path for path, error in errors.items() if error in _FORBIDDEN)
    # Where it cannot be told whether the device file is there, a GPU that the driver lists says that it is.
    listed = gpus() if _is_there(KFD) or str(KFD) in errors else None
    return Machine(
        kfd=_is_there(KFD) or bool(listed),
        forbidden=forbidden,
        broken={path: error for path, error in errors.items() if path not in forbidden},
        kfd_gpus=listed,
        nvidia=_is_there(NVIDIA) and loader.find_library("cuda") is not None,
        environment=relevant_variables(os.environ),
    )


def relevant_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of `environment` that change which GPU, which library or which table is used, fit to be printed."""
    return {
        name: child.printable(value)
        for name, value in sorted(environment.items())
        if name in _VARIABLES or name.startswith(_PREFIXES) or OVERRIDE.fullmatch(name)
    }


def amdgpu_version() -> str:
    """Version of AMD's kernel driver: '6.16.6' of the packaged one, 'Linux 6.8.0' for that of the kernel itself."""
    try:
        return AMDGPU_VERSION.read_text(errors="replace").strip()
    except OSError:
        return f"Linux {platform.release()}"


def _device_file_errors() -> dict[str, str]:
    """The names of the errors with which device files cannot be opened.

    Of the render nodes those of permission count only if not one of them can be opened: a container is given its own.
    """
    kfd = _open_error(KFD)
    if kfd in _ABSENT:
        return {}
    nodes = {path: _open_error(path) for path in sorted(loader.files_in(RENDER_NODES, "renderD*"))}
    usable = not all(nodes.values())
    found = {KFD: kfd, **{path: error for path, error in nodes.items() if not (usable and error in _FORBIDDEN)}}
    return {str(path): error for path, error in found.items() if error}


def _open_error(path: Path) -> str:
    """Name of the error with which `path` cannot be opened, 'EACCES'; '' if it can."""
    # Opened rather than asked by access(): a container's device rules refuse even root.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def _is_there(path: Path) -> bool:
    """Whether `path` is known to be there: in a folder that may not be searched nothing is."""
    try:
        return path.exists()
    except OSError:
        return False
