"""What is known of the installed AITER without importing it. Standard library only."""

import hashlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DISTRIBUTIONS: Final = ("amd-aiter", "aiter")
"""Names that AITER has been published under."""

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
    """The installed AITER. sources: text of its sorting kernels by name, as far as it comes with them."""

    version: str
    sources: dict[str, str]

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
    """The AITER that `import aiter` would take, or None."""
    try:
        spec = importlib.util.find_spec("aiter")
    except ValueError:  # in sys.modules without a spec
        return None
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None  # without an origin it is any folder of that name
    beside = Path(next(iter(spec.submodule_search_locations))).parent
    return AiterPackage(_version(), _sources(beside))


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _sources(beside: Path) -> dict[str, str]:
    for csrc in _CSRC:
        files = [path for name in _SOURCES if (path := beside / csrc / name).is_file()]
        if files:
            return {path.name: path.read_text(errors="replace") for path in files}
    return {}
