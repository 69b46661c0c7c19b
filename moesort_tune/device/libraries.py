"""Which HIP runtime lies under hip-python: chosen once per process, before hip-python's first call.

hip-python opens a libamdhip64.so and a libhiprtc.so on its first call. Here both are pinned to files of our choice:
on AMD machines to the copy that is already mapped (a ROCm build of torch brings its own, and torch's pointers mean
nothing to a second one), else to what is installed; elsewhere to a runtime of our own.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moesort_tune.device import amd_libraries, bindings, native_library
from moesort_tune.device.machine import Machine, this_machine
from moesort_tune.device.remedies import REMEDIES, DeviceError

RuntimeName = Literal["amd", "host", "cuda"]
RUNTIMES: tuple[RuntimeName, ...] = ("amd", "cuda", "host")


class RuntimeLibraryError(DeviceError):
    """The HIP runtime asked for cannot be used in this process."""


@dataclass(frozen=True)
class RuntimeLibraries:
    """The chosen runtime and the files that hip-python opens."""

    runtime: RuntimeName
    hip: str
    hiprtc: str


_chosen: RuntimeLibraries | None = None


def chosen() -> RuntimeLibraries | None:
    """The choice made in this process, or None before it."""
    return _chosen


def choose(runtime: str | None = None) -> RuntimeLibraries:
    """Chooses and pins the runtime: 'amd', 'host' or 'cuda'.

    None keeps the choice that was made; before there is one it takes MOESORT_TUNE_RUNTIME, else AMD's where there is
    an AMD GPU for the kernels, else NVIDIA's where there is one, else host.
    Raises RuntimeLibraryError for an unknown name and for a second, different choice.
    """
    wanted = _checked_name(runtime)
    if _chosen is None:
        forced = _checked_name(os.environ.get("MOESORT_TUNE_RUNTIME") or None)
        return adopt(find_libraries(wanted or forced or attached_runtime()))
    if wanted not in (None, _chosen.runtime):
        raise RuntimeLibraryError(
            f"this process already uses the {_chosen.runtime} runtime ({_chosen.hip})",
            f"start another process for {wanted}",
        )
    return _chosen


def adopt(libraries: RuntimeLibraries) -> RuntimeLibraries:
    """Pins these files; for a child process that must use its parent's. Raises RuntimeLibraryError, BindingsError."""
    global _chosen  # noqa: PLW0603 - one choice per process is the point
    if _chosen == libraries:
        return libraries
    if _chosen is not None:
        raise RuntimeLibraryError(f"this process already uses {_chosen.hip}", f"start another one for {libraries.hip}")
    bindings.pin(libraries.hip, libraries.hiprtc)
    _chosen = libraries
    return libraries


def _checked_name(name: str | None) -> RuntimeName | None:
    if name is not None and name not in RUNTIMES:
        raise RuntimeLibraryError(f"the HIP runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    return name


def attached_runtime(machine: Machine | None = None) -> RuntimeName:
    """The runtime for the GPU at hand: 'amd', 'cuda', or 'host' where there is none that the kernels are built for.

    An AMD GPU that cannot be used is no reason to measure on something else: it counts, and says why when it is used.
    """
    machine = machine or this_machine()
    if machine.amd_gpu:
        return "amd"
    return "cuda" if machine.nvidia else "host"


def find_libraries(runtime: RuntimeName) -> RuntimeLibraries:
    """The files of a runtime; our own ones are built if need be. Raises RuntimeLibraryError, NativeBuildError."""
    if runtime != "amd":
        path = str(native_library.library(runtime))
        return RuntimeLibraries(runtime, path, path)
    hip = next(amd_libraries.candidates("amdhip64")).path
    if hip.endswith(amd_libraries.DELETED):
        raise RuntimeLibraryError(f"this process uses {hip}, which is no longer there", REMEDIES["replaced library"])
    return RuntimeLibraries("amd", hip, amd_libraries.hiprtc_of(hip))


def check_mapped() -> None:
    """To be called after the first HIP call: exactly one libamdhip64 may be mapped, and it must be the chosen one.

    Two of them would not know each other's memory. Raises RuntimeLibraryError with the paths.
    """
    mapped = amd_libraries.mapped("amdhip64")
    # A pinned name without a folder is the loader's to resolve.
    pinned = _chosen.hip if _chosen and Path(_chosen.hip).is_absolute() else None
    others = [path for path in mapped if pinned and not amd_libraries.same_file(pinned, path)]
    if _chosen and others and (_chosen.runtime != "amd" or len(mapped) == 1):
        raise RuntimeLibraryError(
            f"the {_chosen.runtime} runtime ({pinned}) was chosen in a process that already uses {', '.join(others)}",
            "start another process for it",
        )
    if len(mapped) > 1:
        raise RuntimeLibraryError(
            f"{len(mapped)} HIP runtimes are loaded in this process ({' and '.join(mapped)}), and memory of one means "
            "nothing to the other",
            REMEDIES["two HIP libraries"],
        )
