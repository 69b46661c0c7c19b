"""Version and sources of the installed AITER, read without importing it. Standard library only."""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moesort_tune.device import installed
from moesort_tune.device.remedies import REMEDIES

_CSRC: Final = ("aiter_meta/csrc", "csrc")
"""Folders of its C++ sources beside the package: in an installed wheel, in a checkout."""

_SOURCES: Final = ("include/moe_sorting_opus.h", "py_itfs_cu/moe_sorting_opus_kernels.cu")
"""Sources of its two sorting kernels, below the folder of C++ sources."""

_TAKES_ID: Final = re.compile(r"\beid\s*=\s*(?:x|topk_id|p_topk_ids)\[")
"""Matches where a kernel reads an expert id from topk_ids."""

_CHECKS_ID: Final = re.compile(r"\beid\s*>=\s*0|\b0\s*<=\s*eid\b|cast<(?:uint\w*|unsigned\b[^>]*)>\(\s*eid\b")
"""Matches a check that the id is not negative."""

_NEAR: Final = 600
"""Characters after the read within which the check stands."""


@dataclass(frozen=True)
class AiterPackage:
    """The installed AITER. sources: text of its sorting kernels by file name, as far as they are installed.

    lacks: the function or argument that a measurement needs and it does not have, '' if there is none.
    """

    version: str
    sources: dict[str, str]
    lacks: str = ""

    @property
    def revision(self) -> str:
        """The version and a hash of the sources, which name these kernels in a table's entry."""
        if not self.sources:
            return self.version
        text = "\0".join(part for item in sorted(self.sources.items()) for part in item)
        return f"{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def negative_ids_are_safe(self) -> bool:
        """Whether its kernels check for ids below 0, which expert parallelism brings, before they index by them.

        Those of commit e4048607 do not, and write out of bounds (issue 4827); pull requests 4839 and 5295 add the
        check. Without sources it is unknown, which counts as unsafe.
        """
        header = self.sources.get("moe_sorting_opus.h", "")
        places = [match.end() for match in _TAKES_ID.finditer(header)]
        return bool(places) and all(_CHECKS_ID.search(header, place, place + _NEAR) for place in places)


def find() -> AiterPackage | None:
    """Return the AITER that `import aiter` would import, or None."""
    package = installed.find_aiter()
    if package is None:
        return None
    return AiterPackage(package.version, _read_sources(Path(package.folder).parent), package.lacks)


def find_obstacle() -> str:
    """Return why AITER's kernels cannot be measured here, '' where nothing is known against it. Import nothing."""
    package = find()
    if package is None:
        return "AITER is not installed: there is no package aiter"
    return f"AITER {package.version} lacks {package.lacks}: {REMEDIES['aiter too old']}" if package.lacks else ""


def _read_sources(beside: Path) -> dict[str, str]:
    for csrc in _CSRC:
        texts = {Path(name).name: text for name in _SOURCES if (text := _read_text(beside / csrc / name)) is not None}
        if texts:
            return texts
    return {}


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:  # absent or unreadable
        return None
