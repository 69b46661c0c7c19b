"""The kernel sources that a target compiles, and the revision that names them. Standard library only."""

import hashlib
import re
from pathlib import Path

from moesort_tune.device.architectures import Vendor, get_architecture
from moesort_tune.shipped import get_kernels_folder

_PLATFORM_HEADERS: dict[Vendor, tuple[str, ...]] = {
    "amd": ("amdgcn.h", "amdgcn_builtins.h", "integers.h", "wave_gfx9.h"),
    "nvidia": ("nvrtc.h", "integers.h", "wave_portable.h"),
    "host": ("host.h", "wave_portable.h"),
}

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def read_headers(arch: str) -> dict[str, bytes]:
    """Return the headers that `arch` compiles: {name as included: text}."""
    folder = get_kernels_folder()
    platform = [folder / "platform" / name for name in _PLATFORM_HEADERS[get_architecture(arch).vendor]]
    files = [*sorted(folder.glob("*.h")), folder / "platform" / "platform.h", *platform]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.exists()}


def read_source(file: str) -> bytes:
    """Return the text of one .hip file of the kernels' folder."""
    return (get_kernels_folder() / file).read_bytes()


def compute_revision(arch: str, files: tuple[str, ...], constants: str = "") -> str:
    """Return the name of the code that `arch` compiles from `files`; comments and spacing do not change it.

    constants: further text that changes how the kernels run.
    """
    texts = {**read_headers(arch), **{file: read_source(file) for file in files}}
    digest = hashlib.sha256(constants.encode())
    for name in sorted(texts):
        digest.update(f"\n{Path(name).name}\n{_strip_comments(texts[name].decode())}".encode())
    return digest.hexdigest()[:16]


def _strip_comments(text: str) -> str:
    return " ".join(_COMMENT.sub(" ", text).split())
