"""The library that the dynamic loader has for a name. ctypes.util asks gcc, which may be absent, broken or hang."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moesort_tune.device import child

_LDCONFIG = "/sbin/ldconfig"
_LDCONFIG_SECONDS = 10
_ABI = {"x86_64": "x86-64", "aarch64": "AArch64"}
"""What ldconfig calls the libraries of a 64-bit machine."""

_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
"""Where loaders look that have no list of libraries."""


def find_library(name: str) -> str | None:
    """Return the path of the newest lib`name`.so that the loader would find, or None."""
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    found = next((path for folder in folders for path in libraries_in(Path(folder), name)), None)
    if found is not None:
        return str(found)
    listed = newest_first(_listed(), name) or [path for folder in _FOLDERS for path in libraries_in(Path(folder), name)]
    return str(listed[0]) if listed else None


def libraries_in(folder: Path, name: str) -> list[Path]:
    """Return the files called lib`name`.so* in `folder`, the one without a version first, then the newest first."""
    return newest_first(files_in(folder, f"lib{name}.so*"), name)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Return what matches `pattern` in `folder`; nothing where the folder cannot be read."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def newest_first(paths: Iterable[Path], name: str) -> list[Path]:
    """Return those of `paths` that are there and called lib`name`.so, lib`name`.so.7 or the like, as libraries_in."""
    called = re.compile(rf"lib{re.escape(name)}\.so((?:\.\d+)*)$")
    versions = {path: match[1] for path in paths if (match := called.match(path.name)) and _is_there(path)}
    return sorted(versions, key=lambda path: (versions[path] == "", version(versions[path])), reverse=True)


def version(text: str) -> tuple[int, ...]:
    """Return the numbers in `text`, by which versions are in order: (7, 2, 70200) for '.7.2.70200'."""
    return tuple(map(int, re.findall(r"[0-9]+", text)))


def _listed() -> Iterator[Path]:
    """Libraries of this machine's kind in the loader's list."""
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
