"""Which HIP runtime lies under hip-python: chosen once per process, before hip-python's first call.

hip-python opens a libamdhip64.so and a libhiprtc.so on its first call. Here both are pinned to files of our choice:
on AMD machines to the copy that is already mapped (a ROCm build of torch brings its own, and torch's pointers mean
nothing to a second one), else to what is installed; elsewhere to a runtime of our own.
"""

import ctypes.util
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from moesort_tune.device import native_library
from moesort_tune.errors import MoesortTuneError

RuntimeName = Literal["amd", "host", "cuda"]
RUNTIMES: tuple[RuntimeName, ...] = ("amd", "cuda", "host")

_MAPS = Path("/proc/self/maps")


class RuntimeLibraryError(MoesortTuneError):
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

    None takes MOESORT_TUNE_RUNTIME, else AMD's where there is an AMD GPU, else NVIDIA's where there is one, else host.
    Raises RuntimeLibraryError for an unknown name and for a second, different choice.
    """
    wanted = _checked_name(runtime or os.environ.get("MOESORT_TUNE_RUNTIME") or None)
    if _chosen is None:
        name = wanted or attached_runtime()
        return adopt(find_libraries(name))
    if wanted is not None and wanted != _chosen.runtime:
        raise RuntimeLibraryError(
            f"this process already uses the {_chosen.runtime} runtime ({_chosen.hip}); "
            f"start another process for {wanted}"
        )
    return _chosen


def adopt(libraries: RuntimeLibraries) -> RuntimeLibraries:
    """Pins these files; for a child process that must use its parent's. Raises RuntimeLibraryError."""
    global _chosen  # noqa: PLW0603 - one choice per process is the point
    if _chosen not in (None, libraries):
        raise RuntimeLibraryError(f"this process already uses {_chosen}, so it cannot use {libraries}")
    _pin(libraries)
    _chosen = libraries
    return libraries


def _checked_name(name: str | None) -> RuntimeName | None:
    if name is not None and name not in RUNTIMES:
        raise RuntimeLibraryError(f"the HIP runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    return name


def attached_runtime() -> RuntimeName:
    """The runtime for the GPU at hand: 'amd', 'cuda', or 'host' where there is none."""
    if Path("/dev/kfd").exists():
        return "amd"
    if Path("/dev/nvidiactl").exists() and ctypes.util.find_library("cuda"):
        return "cuda"
    return "host"


def find_libraries(runtime: RuntimeName) -> RuntimeLibraries:
    """The files of a runtime; our own ones are built if need be. Raises RuntimeLibraryError, NativeBuildError."""
    if runtime != "amd":
        path = str(native_library.library(runtime))
        return RuntimeLibraries(runtime, path, path)
    hip = next(_amd_candidates("amdhip64"), "libamdhip64.so")
    return RuntimeLibraries("amd", hip, _beside(hip, "hiprtc"))


def mapped_libraries(name: str, maps: Path = _MAPS) -> list[str]:
    """Paths of the distinct files called lib`name`.so* that are mapped into this process."""
    found: dict[tuple[str, str], str] = {}
    for line in maps.read_text(errors="replace").splitlines():
        # address permissions offset device inode path; the path may hold spaces
        entry = line.split(maxsplit=5)
        if len(entry) == 6 and Path(entry[5]).name.startswith(f"lib{name}.so"):
            found.setdefault((entry[3], entry[4]), entry[5])
    return list(found.values())


def check_single_copy() -> None:
    """Raises RuntimeLibraryError where more than one libamdhip64 is mapped: they would not know each other's memory."""
    mapped = mapped_libraries("amdhip64")
    if len(mapped) > 1:
        raise RuntimeLibraryError(
            f"two HIP runtimes are loaded in this process ({' and '.join(mapped)}), and memory of one means nothing "
            "to the other; import torch before moesort_tune touches the GPU, or remove one of them"
        )


def _amd_candidates(name: str) -> Iterator[str]:
    """Copies of AMD's library in the order in which they are right: mapped, torch's, ROCm wheels', ROCM_PATH's."""
    yield from mapped_libraries(name)
    for package, folder in (("torch", "lib"), ("_rocm_sdk_core", "lib")):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            yield from _in_folder(Path(root) / folder, name)
    for installation in (os.environ.get("ROCM_PATH"), os.environ.get("ROCM_HOME"), "/opt/rocm"):
        if installation:
            yield from _in_folder(Path(installation) / "lib", name)


def _in_folder(folder: Path, name: str) -> list[str]:
    return [str(path) for path in sorted(folder.glob(f"lib{name}.so*"))[:1]]


def _beside(hip: str, name: str) -> str:
    """lib`name` of the same ROCm as the HIP library `hip`."""
    neighbours = mapped_libraries(name) + _in_folder(Path(hip).resolve().parent, name)
    return neighbours[0] if neighbours else f"lib{name}.so"


def _pin(libraries: RuntimeLibraries) -> None:
    files = {"amdhip64": libraries.hip.encode(), "hiprtc": libraries.hiprtc.encode()}
    try:
        from rocm.bindings.util import paths
    except ImportError:
        _pin_hip_python_7(files)
        return
    original = paths.get_library_path

    def get_library_path(shortname: str, *arguments: object, **options: object) -> bytes:
        pinned = files.get(shortname)
        return pinned if pinned is not None else cast(bytes, original(shortname, *arguments, **options))

    paths.get_library_path = get_library_path


def _pin_hip_python_7(files: dict[str, bytes]) -> None:
    try:
        from hip import chip, chiprtc
    except ImportError as error:
        raise RuntimeLibraryError(
            f"hip-python cannot be imported ({error}); install the version of your ROCm release, "
            "for example: pip install hip-python~=7.2.0"
        ) from error
    chip.DLL = files["amdhip64"]
    chiprtc.DLL = files["hiprtc"]
