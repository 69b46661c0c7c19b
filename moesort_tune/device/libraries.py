"""Choice of the HIP runtime under hip-python: once per process, before hip-python's first call.

hip-python opens a libamdhip64.so and a libhiprtc.so on its first call. This module pins both to chosen files: on AMD
machines to the copy that is already mapped (a ROCm build of torch brings its own, and a second copy cannot use torch's
pointers), else to the installed one; elsewhere to a runtime of our own.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moesort_tune.device import amd_libraries, bindings, native_library
from moesort_tune.device.machine import Machine, inspect_machine
from moesort_tune.device.remedies import REMEDIES, DeviceError

RuntimeName = Literal["amd", "host", "cuda"]
RUNTIMES: tuple[RuntimeName, ...] = ("amd", "cuda", "host")


class RuntimeLibraryError(DeviceError):
    """A requested HIP runtime that cannot be used in this process."""


@dataclass(frozen=True)
class RuntimeLibraries:
    """The chosen runtime and the files that hip-python opens."""

    runtime: RuntimeName
    hip: str
    hiprtc: str


_chosen: RuntimeLibraries | None = None


def get_chosen() -> RuntimeLibraries | None:
    """Return this process's choice, or None before it is made."""
    return _chosen


def choose(runtime: str | None = None) -> RuntimeLibraries:
    """Choose and pin the runtime: 'amd', 'host' or 'cuda'.

    None keeps an earlier choice. Without one it takes MOESORT_TUNE_RUNTIME, else AMD's where an AMD GPU for the kernels
    is attached, else NVIDIA's where there is one, else host.
    Raise RuntimeLibraryError for an unknown name and for a second, different choice.
    """
    wanted = _check_name(runtime)
    if _chosen is None:
        forced = _check_name(os.environ.get("MOESORT_TUNE_RUNTIME") or None)
        return adopt(find_libraries(wanted or forced or detect_runtime()))
    if wanted not in (None, _chosen.runtime):
        raise RuntimeLibraryError(
            f"this process already uses the {_chosen.runtime} runtime ({_chosen.hip})",
            f"start another process for {wanted}",
        )
    return _chosen


def adopt(libraries: RuntimeLibraries) -> RuntimeLibraries:
    """Pin these files, as a child process that must use its parent's. Raise RuntimeLibraryError, BindingsError."""
    global _chosen  # noqa: PLW0603 - one choice per process is the point
    if _chosen == libraries:
        return libraries
    if _chosen is not None:
        raise RuntimeLibraryError(f"this process already uses {_chosen.hip}", f"start another one for {libraries.hip}")
    bindings.pin(libraries.hip, libraries.hiprtc)
    _chosen = libraries
    return libraries


def _check_name(name: str | None) -> RuntimeName | None:
    if name is not None and name not in RUNTIMES:
        raise RuntimeLibraryError(f"the HIP runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    return name


def detect_runtime(machine: Machine | None = None) -> RuntimeName:
    """Return the runtime of the attached GPU: 'amd', 'cuda', or 'host' where the kernels support none.

    An unusable AMD GPU still selects 'amd', so that its error is reported instead of another device being measured.
    """
    machine = machine or inspect_machine()
    if machine.amd_gpu:
        return "amd"
    return "cuda" if machine.nvidia else "host"


def find_libraries(runtime: RuntimeName) -> RuntimeLibraries:
    """Return a runtime's files; build our own if needed. Raise RuntimeLibraryError, NativeBuildError."""
    if runtime != "amd":
        path = str(native_library.get_library(runtime))
        return RuntimeLibraries(runtime, path, path)
    hip = next(amd_libraries.find_candidates("amdhip64")).path
    if hip.endswith(amd_libraries.DELETED):
        raise RuntimeLibraryError(f"this process uses {hip}, which is no longer there", REMEDIES["replaced library"])
    return RuntimeLibraries("amd", hip, amd_libraries.find_hiprtc(hip))


def check_mapped() -> None:
    """Raise RuntimeLibraryError if a libamdhip64 besides the chosen one is mapped. Call it after the first HIP call.

    Two copies would not know each other's memory. The error names the paths.
    """
    mapped = amd_libraries.find_mapped("amdhip64")
    # The loader resolves a pinned name without a folder.
    pinned = _chosen.hip if _chosen and Path(_chosen.hip).is_absolute() else None
    others = [path for path in mapped if pinned and not amd_libraries.is_same_file(pinned, path)]
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
