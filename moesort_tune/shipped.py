"""Where the kernel sources and the shipped tables lie, in a checkout and in an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"


def _is_folder(path: Path) -> bool:
    """Also on a file system that has gone away: reading what is in the folder will say so."""
    try:
        return path.is_dir()
    except OSError:
        return True


def kernels_folder() -> Path:
    """Folder of the HIP kernel sources: MOESORT_TUNE_SOURCES, for those who change them, else the ones shipped."""
    chosen = os.environ.get("MOESORT_TUNE_SOURCES")
    if chosen:
        return Path(chosen)
    installed = _DATA / "hip_kernels"
    return installed if _is_folder(installed) else _PACKAGE.parent / "hip_kernels"


def tables_folder() -> Path:
    """Return the folder of the tables that ship with this package, `moesort_tune/data/tables`.

    It is inside the package in a checkout too: a sweep there writes into `tables/` of the current folder, and what a
    sweep writes is never a shipped table.
    """
    return _DATA / "tables"
