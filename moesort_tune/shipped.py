"""Location of the kernel sources and the shipped tables, in a checkout and in an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"


def _is_folder(path: Path) -> bool:
    """Return whether it is a folder, True also on a file system that has gone away: reading it will report that."""
    try:
        return path.is_dir()
    except OSError:
        return True


def get_kernels_folder() -> Path:
    """Return the folder of the HIP kernel sources: MOESORT_TUNE_SOURCES if set, else the shipped one."""
    chosen = os.environ.get("MOESORT_TUNE_SOURCES")
    if chosen:
        return Path(chosen)
    installed = _DATA / "hip_kernels"
    return installed if _is_folder(installed) else _PACKAGE.parent / "hip_kernels"


def get_tables_folder() -> Path:
    """Return the folder of the tables that ship with this package, `moesort_tune/data/tables`.

    It is inside the package in a checkout too: a sweep there writes into `tables/` of the current folder, so its output
    is never a shipped table.
    """
    return _DATA / "tables"
