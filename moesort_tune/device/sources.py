"""The kernel sources that a target compiles, and the revision that names them. Standard library only."""

import hashlib
import re
from pathlib import Path

from moesort_tune.device.architectures import Vendor, architecture
from moesort_tune.shipped import kernels_folder

_PLATFORM_HEADERS: dict[Vendor, tuple[str, ...]] = {
    "amd": ("amdgcn.h", "amdgcn_builtins.h", "integers.h", "wave_gfx9.h"),
    "nvidia": ("nvrtc.h", "integers.h", "wave_portable.h"),
    "host": ("host.h", "wave_portable.h"),
}

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def headers(arch: str) -> dict[str, bytes]:
    """Headers that `arch` compiles: {name as included: text}."""
    folder = kernels_folder()
    platform = [folder / "platform" / name for name in _PLATFORM_HEADERS[architecture(arch).vendor]]
    files = [*sorted(folder.glob("*.h")), folder / "platform" / "platform.h", *platform]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.exists()}


def source(file: str) -> bytes:
    """Text of one .hip file of the kernels' folder."""
    return (kernels_folder() / file).read_bytes()


def revision(arch: str, files: tuple[str, ...], constants: str = "") -> str:
    """Names what `arch` compiles from `files`: the same for the same code, whatever its comments and spacing.

    constants: further text that changes how the kernels run.
    """
    texts = {**headers(arch), **{file: source(file) for file in files}}
    digest = hashlib.sha256(constants.encode())
    for name in sorted(texts):
        digest.update(f"\n{Path(name).name}\n{_without_comments(texts[name].decode())}".encode())
    return digest.hexdigest()[:16]


def _without_comments(text: str) -> str:
    return " ".join(_COMMENT.sub(" ", text).split())
