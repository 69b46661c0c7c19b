"""The kernel sources that a target compiles, and the revision that names them. Standard library only."""

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

from moesort_tune.device.architectures import Vendor, get_architecture
from moesort_tune.shipped import get_kernels_folder

_PLATFORM_HEADERS: dict[Vendor, tuple[str, ...]] = {
    "amd": ("amdgcn.h", "amdgcn_builtins.h", "integers.h", "wave_gfx9.h"),
    "nvidia": ("nvrtc.h", "integers.h", "wave_portable.h"),
    "host": ("host.h", "wave_portable.h"),
}

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

_ALIGN_FOLDER = "align"
"""Folder of the headers that only the align form includes."""

_FORM_GUARD = re.compile(
    r"^#if(n?)def MOESORT_ALIGN\b[^\n]*\n(.*?)(?:^#else\n(.*?))?^#endif\n", re.MULTILINE | re.DOTALL
)
"""Lines of one output form, and after #else those of the other; no other condition may stand inside."""


class Form(NamedTuple):
    """An output form of the kernels. name: in the names of prebuilt files; definition: of its macro, '' for none."""

    name: str = ""
    definition: str = ""


SORTING_FORM: Final = Form()
"""AITER's moe_sorting."""

ALIGN_FORMS: Final = {bits: Form(f"align{bits}", f"MOESORT_ALIGN={bits}") for bits in (32, 64)}
"""The align form, moe_align_block_size, by the bits of an id."""


def read_headers(arch: str) -> dict[str, bytes]:
    """Return the headers that `arch` compiles, in whichever form: {name as included: text}."""
    folder = get_kernels_folder()
    platform = [folder / "platform" / name for name in _PLATFORM_HEADERS[get_architecture(arch).vendor]]
    files = [*sorted(folder.glob("*.h")), *sorted((folder / _ALIGN_FOLDER).glob("*.h"))]
    files += [folder / "platform" / "platform.h", *platform]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.exists()}


def read_source(file: str) -> bytes:
    """Return the text of one .hip file of the kernels' folder."""
    return (get_kernels_folder() / file).read_bytes()


def compute_revision(arch: str, files: tuple[str, ...], constants: str = "", *, align: bool = False) -> str:
    """Return the name of the code of one form that `arch` compiles from `files`.

    Comments, spacing and what only the other form compiles do not change it.

    constants: further text that changes how the kernels run. align: the align form, for ids of either width.
    """
    headers = {name: text for name, text in read_headers(arch).items() if align or not _is_of_align_form(name)}
    texts = {**headers, **{file: read_source(file) for file in files}}
    select = select_align_form if align else select_sorting_form
    digest = hashlib.sha256(constants.encode())
    for name in sorted(texts):
        label = name if align else Path(name).name  # two headers of the align form have the name of a shared one
        digest.update(f"\n{label}\n{_strip_comments(select(texts[name].decode()))}".encode())
    return digest.hexdigest()[:16]


def _is_of_align_form(header: str) -> bool:
    return Path(header).parent.name == _ALIGN_FOLDER


def select_sorting_form(text: str) -> str:
    """Return a kernel source without what only the align form compiles, as a preprocessor leaves it."""
    return _FORM_GUARD.sub(lambda guard: guard[2] if guard[1] else guard[3] or "", text)


def select_align_form(text: str) -> str:
    """Return a kernel source without what only the sorting form compiles, as a preprocessor leaves it."""
    return _FORM_GUARD.sub(lambda guard: (guard[3] or "") if guard[1] else guard[2], text)


def _strip_comments(text: str) -> str:
    return " ".join(_COMMENT.sub(" ", text).split())
