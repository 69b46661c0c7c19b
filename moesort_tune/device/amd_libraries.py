"""Search for AMD's HIP libraries: installed copies, their origin, and those mapped into this process."""

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import installed, loader

MAPS = Path("/proc/self/maps")

UNRESOLVED = "nowhere"
"""Origin of a name for which no file was found; the loader will report the failure."""

DELETED = " (deleted)"
"""Suffix that the kernel appends to the path of a mapped file that was replaced."""


@dataclass(frozen=True)
class Candidate:
    """One copy of a library. origin: where it was found; release: the ROCm it belongs to, '' if unknown."""

    path: str
    origin: str
    release: str = ""


def find_candidates(name: str, maps: Path = MAPS) -> Iterator[Candidate]:
    """Yield copies of lib`name`.so in order of preference, at least one.

    A copy that is already mapped comes first: memory may already be allocated through it. Then torch's own, which torch
    maps on import; the copies of ROCm's wheels, which a newer torch maps; ROCM_PATH, ROCM_HOME and /opt/rocm; last the
    one that the loader finds by name.
    """
    yielded: list[str] = []
    for one in itertools.chain(
        _list_mapped(name, maps), _search_packages(name), _search_installations(name), _search_by_name(name)
    ):
        if not any(is_same_file(one.path, path) for path in yielded):
            yielded.append(one.path)
            yield one
    if not yielded:
        yield Candidate(f"lib{name}.so", UNRESOLVED)


def find_mapped(name: str, maps: Path = MAPS) -> list[str]:
    """Return the paths of the distinct files named lib`name`.so* that are mapped into this process.

    The path of a file that was replaced after mapping ends in DELETED.
    """
    called = re.compile(rf"lib{name}(-[0-9a-f]+)?\.so(\.|$| )")
    found: dict[tuple[str, str], str] = {}
    for line in maps.read_text(errors="replace").splitlines():
        # address permissions offset device inode path; the path may hold spaces
        entry = line.split(maxsplit=5)
        if len(entry) == 6 and called.match(entry[5].rpartition("/")[2]):
            found.setdefault((entry[3], entry[4]), entry[5])
    return list(found.values())


def find_hiprtc(hip: str, maps: Path = MAPS) -> str:
    """Return the run-time compiler that matches the HIP library `hip`: mapped, beside it, or inside it as in ROCm 5."""
    # A name without a folder would search the current folder, which may be untrusted.
    folder = Path(hip).resolve().parent if Path(hip).is_absolute() else None
    neighbours = [*find_mapped("hiprtc", maps), *(loader.list_libraries(folder, "hiprtc") if folder else ())]
    if neighbours:
        return str(neighbours[0])
    return hip if folder and b"hiprtcCreateProgram\0" in Path(hip).read_bytes() else "libhiprtc.so"


def find_release(hip: str) -> str:
    """Return the ROCm release that a libamdhip64 belongs to, '7.2.0'; '' where its location does not tell."""
    known = itertools.chain(_search_packages("amdhip64"), _search_installations("amdhip64"))
    return next((one.release for one in known if is_same_file(one.path, hip)), "")


def _list_mapped(name: str, maps: Path) -> Iterator[Candidate]:
    for path in find_mapped(name, maps):
        yield Candidate(path, "already loaded", find_release(path))


def _search_packages(name: str) -> Iterator[Candidate]:
    torch = installed.find_package_folder("torch")
    if torch is not None:
        yield from _search_folder(torch / "lib", name, "torch", installed.find_rocm_of_torch())
    # The name of the wheels' library folder may contain their version.
    sdk = installed.find_package_folder("rocm_sdk") or installed.find_package_folder("_rocm_sdk_core")
    folders = loader.list_files(sdk.parent, "_rocm_sdk_core*") if sdk else []
    for folder in sorted(folders, key=lambda folder: loader.parse_version(folder.name), reverse=True):
        yield from _search_folder(folder / "lib", name, "ROCm's wheels", installed.find_rocm_of_wheels())


def _search_installations(name: str) -> Iterator[Candidate]:
    for origin, root in installed.list_rocm_installations():
        for folder in (root / "lib", root / "lib64"):
            yield from _search_folder(folder, name, origin, installed.find_rocm_of_installation(root))


def _search_by_name(name: str) -> Iterator[Candidate]:
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder:
            yield from _search_folder(Path(folder), name, "LD_LIBRARY_PATH", "")
    found = loader.find_library(name)
    if found:
        yield Candidate(found, "the loader")


def _search_folder(folder: Path, name: str, origin: str, release: str) -> list[Candidate]:
    """Return the library in a folder; the unversioned name is preferred, but wheels contain only versioned names."""
    return [Candidate(str(path), origin, release) for path in loader.list_libraries(folder, name)[:1]]


def is_same_file(one: str, other: str) -> bool:
    """Return whether two paths refer to the same file."""
    try:
        return one == other or Path(one).samefile(other)
    except OSError:
        return False
