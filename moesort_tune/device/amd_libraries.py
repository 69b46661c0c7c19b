"""Finds AMD's HIP libraries: which copies there are, where each comes from, which are mapped into this process."""

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import installed, loader

MAPS = Path("/proc/self/maps")

UNRESOLVED = "nowhere"
"""Origin of a name that nothing was found for, left for the loader to fail on."""

DELETED = " (deleted)"
"""What the kernel writes behind the path of a mapped file that was replaced since."""


@dataclass(frozen=True)
class Candidate:
    """One copy of a library. origin: where it was found; release: the ROCm that it belongs to, '' if unknown."""

    path: str
    origin: str
    release: str = ""


def candidates(name: str, maps: Path = MAPS) -> Iterator[Candidate]:
    """Copies of lib`name`.so, never none, the right one first.

    First one that is already mapped: whoever mapped it holds memory of that copy. Then torch's own, which torch will
    map when it is imported; the copies of ROCm's wheels, which a newer torch maps; ROCM_PATH, ROCM_HOME and
    /opt/rocm; at last what the loader finds by name.
    """
    yielded: list[str] = []
    for one in itertools.chain(_mapped(name, maps), _in_packages(name), _in_installations(name), _by_name(name)):
        if not any(same_file(one.path, path) for path in yielded):
            yielded.append(one.path)
            yield one
    if not yielded:
        yield Candidate(f"lib{name}.so", UNRESOLVED)


def mapped(name: str, maps: Path = MAPS) -> list[str]:
    """Paths of the distinct files called lib`name`.so* that are mapped into this process.

    That of a file that was replaced since ends in DELETED.
    """
    called = re.compile(rf"lib{name}(-[0-9a-f]+)?\.so(\.|$| )")
    found: dict[tuple[str, str], str] = {}
    for line in maps.read_text(errors="replace").splitlines():
        # address permissions offset device inode path; the path may hold spaces
        entry = line.split(maxsplit=5)
        if len(entry) == 6 and called.match(entry[5].rpartition("/")[2]):
            found.setdefault((entry[3], entry[4]), entry[5])
    return list(found.values())


def hiprtc_of(hip: str, maps: Path = MAPS) -> str:
    """The run-time compiler that belongs to the HIP library `hip`: mapped, beside it, or inside it as in ROCm 5."""
    # Beside a name without a folder is the current one, which may be anybody's.
    folder = Path(hip).resolve().parent if Path(hip).is_absolute() else None
    neighbours = [*mapped("hiprtc", maps), *(loader.libraries_in(folder, "hiprtc") if folder else ())]
    if neighbours:
        return str(neighbours[0])
    return hip if folder and b"hiprtcCreateProgram\0" in Path(hip).read_bytes() else "libhiprtc.so"


def release_of(hip: str) -> str:
    """The ROCm release that a libamdhip64 belongs to, '7.2.0'; '' where its place does not say."""
    known = itertools.chain(_in_packages("amdhip64"), _in_installations("amdhip64"))
    return next((one.release for one in known if same_file(one.path, hip)), "")


def _mapped(name: str, maps: Path) -> Iterator[Candidate]:
    for path in mapped(name, maps):
        yield Candidate(path, "already loaded", release_of(path))


def _in_packages(name: str) -> Iterator[Candidate]:
    torch = installed.package_folder("torch")
    if torch is not None:
        yield from _candidates_in(torch / "lib", name, "torch", installed.rocm_of_torch())
    # The wheels' folder of libraries may carry their version in its name.
    sdk = installed.package_folder("rocm_sdk") or installed.package_folder("_rocm_sdk_core")
    folders = loader.files_in(sdk.parent, "_rocm_sdk_core*") if sdk else []
    for folder in sorted(folders, key=lambda folder: loader.version(folder.name), reverse=True):
        yield from _candidates_in(folder / "lib", name, "ROCm's wheels", installed.rocm_of_wheels())


def _in_installations(name: str) -> Iterator[Candidate]:
    for origin, root in installed.rocm_installations():
        for folder in (root / "lib", root / "lib64"):
            yield from _candidates_in(folder, name, origin, installed.rocm_of_installation(root))


def _by_name(name: str) -> Iterator[Candidate]:
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder:
            yield from _candidates_in(Path(folder), name, "LD_LIBRARY_PATH", "")
    found = loader.find_library(name)
    if found:
        yield Candidate(found, "the loader")


def _candidates_in(folder: Path, name: str, origin: str, release: str) -> list[Candidate]:
    """The library in a folder: its name without a version where there is one, as wheels have only versioned ones."""
    return [Candidate(str(path), origin, release) for path in loader.libraries_in(folder, name)[:1]]


def same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file."""
    try:
        return one == other or Path(one).samefile(other)
    except OSError:
        return False
