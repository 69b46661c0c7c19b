"""Library look-up as the dynamic loader does it. ctypes.util runs gcc, which may be absent, broken or hang."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moesort_tune.device import child

_LDCONFIG = "/sbin/ldconfig"
_LDCONFIG_SECONDS = 10
_ABI = {"x86_64": "x86-64", "aarch64": "AArch64"}
"""ldconfig's names of the 64-bit machines' libraries."""

_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
"""Search folders of loaders that have no list of libraries."""


def find_library(name: str) -> str | None:
    """Return the path of the newest lib`name`.so that the loader would find, or None."""
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    found = next((path for folder in folders for path in list_libraries(Path(folder), name)), None)
    if found is not None:
        return str(found)
    listed = sort_newest_first(_read_list(), name) or [
        path for folder in _FOLDERS for path in list_libraries(Path(folder), name)
    ]
    return str(listed[0]) if listed else None


def list_libraries(folder: Path, name: str) -> list[Path]:
    """Return the files named lib`name`.so* in `folder`: the unversioned one first, then the newest first."""
    return sort_newest_first(list_files(folder, f"lib{name}.so*"), name)


def list_files(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in `folder` that match `pattern`; [] where the folder cannot be read."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def sort_newest_first(paths: Iterable[Path], name: str) -> list[Path]:
    """Return the existing files named lib`name`.so, lib`name`.so.7 or similar, ordered as in list_libraries."""
    called = re.compile(rf"lib{re.escape(name)}\.so((?:\.\d+)*)$")
    versions = {path: match[1] for path in paths if (match := called.match(path.name)) and _is_there(path)}
    return sorted(versions, key=lambda path: (versions[path] == "", parse_version(versions[path])), reverse=True)


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers in `text` as a sortable version: (7, 2, 70200) for '.7.2.70200'."""
    return tuple(map(int, re.findall(r"[0-9]+", text)))


def _read_list() -> Iterator[Path]:
    """Yield the libraries in the loader's list that suit this machine."""
    try:
        lines = child.run([_LDCONFIG, "-p"], seconds=_LDCONFIG_SECONDS).stdout.decode(errors="replace").splitlines()
    except child.ChildError:
        return
    abi = _ABI.get(os.uname().machine, "")
    for line in lines:
        kind, arrow, path = line.partition(" => ")
        if arrow and abi in kind:
            yield Path(path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
