"""What is known of the installed AITER without importing it. Standard library only."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moesort_tune.device import installed
from moesort_tune.device.remedies import REMEDIES

_CSRC: Final = ("aiter_meta/csrc", "csrc")
"""Where its C++ sources lie beside the package: in an installed wheel, in a checkout."""

_SOURCES: Final = ("include/moe_sorting_opus.h", "py_itfs_cu/moe_sorting_opus_kernels.cu")
"""What its two sorting paths are compiled from, below the folder of C++ sources."""

_TAKES_ID: Final = re.compile(r"\beid\s*=\s*(?:x|topk_id|p_topk_ids)\[")
"""Where a kernel takes an expert id out of topk_ids."""

_CHECKS_ID: Final = re.compile(r"\beid\s*>=\s*0|\b0\s*<=\s*eid\b|cast<(?:uint\w*|unsigned\b[^>]*)>\(\s*eid\b")
"""How it can make sure that the id is not negative."""

_NEAR: Final = 600
"""Characters behind the place within which it would."""


@dataclass(frozen=True)
class AiterPackage:
    """The installed AITER. sources: text of its sorting kernels by name, as far as it comes with them.

    lacks: what it does not have of what is called to measure it, '' where nothing is missing.
    """

    version: str
    sources: dict[str, str]
    lacks: str = ""

    @property
    def revision(self) -> str:
        """What a table's entry calls these kernels: the version, and a hash of the sources."""
        if not self.sources:
            return self.version
        text = "\0".join(part for item in sorted(self.sources.items()) for part in item)
        return f"{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def negative_ids_are_safe(self) -> bool:
        """Whether its kernels look for ids below 0, which expert parallelism brings, before they index by them.

        Those of commit e4048607 do not and write out of bounds (issue 4827); pull requests 4839 and 5295 made them.
        Without sources nobody knows, which counts as no.
        """
        header = self.sources.get("moe_sorting_opus.h", "")
        places = [match.end() for match in _TAKES_ID.finditer(header)]
        return bool(places) and all(_CHECKS_ID.search(header, place, place + _NEAR) for place in places)


def find() -> AiterPackage | None:
    """Return the AITER that `import aiter` would take, or None."""
    package = installed.aiter_package()
    if package is None:
        return None
    return AiterPackage(package.version, _sources(Path(package.folder).parent), package.lacks)


def why_not_measured() -> str:
    """Return why AITER's kernels cannot be measured here, '' where nothing speaks against it; imports nothing."""
    package = find()
    if package is None:
        return "AITER is not installed: there is no package aiter"
    return too_old(package.version, package.lacks) if package.lacks else ""


def too_old(version: str, lacks: str) -> str:
    """Return the sentence about an AITER that lacks something."""
    return f"AITER {version} lacks {lacks}: {REMEDIES['aiter too old']}"


def _sources(beside: Path) -> dict[str, str]:
    for csrc in _CSRC:
        texts = {Path(name).name: text for name in _SOURCES if (text := _text(beside / csrc / name)) is not None}
        if texts:
            return texts
    return {}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not there, or not to be read
        return None
