"""What is known of the installed AITER without importing it. Standard library only."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DISTRIBUTIONS: Final = ("amd-aiter", "aiter")
"""Names that AITER has been published under."""

_CSRC: Final = ("aiter_meta/csrc", "csrc")
"""Where its C++ sources lie beside the package: in an installed wheel, in a checkout."""

_SOURCES: Final = ("include/moe_sorting_opus.h", "py_itfs_cu/moe_sorting_opus_kernels.cu")
"""What its two sorting paths are compiled from, below the folder of C++ sources."""

_UNGUARDED: Final = "if(eid < kargs.num_experts)"
"""How multiphase looked at an expert id while it wrote out of bounds for negative ones (issue 4827)."""


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
        """Whether its multiphase is known to leave ids below 0 alone, which expert parallelism brings.

        Pull request 4839 made it so; without sources nobody knows.
        """
        header = self.sources.get("moe_sorting_opus.h", _UNGUARDED)
        return _UNGUARDED not in header


def find() -> AiterPackage | None:
    """The AITER that `import aiter` would take, or None."""
    try:
        spec = importlib.util.find_spec("aiter")
    except ValueError:  # in sys.modules without a spec
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
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
