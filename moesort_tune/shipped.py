"""Where the kernel sources and the shipped tables lie, in a checkout and in an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / "data" / name
    return installed if _is_folder(installed) else _PACKAGE.parent / name


def _is_folder(path: Path) -> bool:
    """Also on a file system that has gone away: reading what is in the folder will say so."""
    try:
        return path.is_dir()
    except OSError:
        return True


def kernels_folder() -> Path:
    """Folder of the HIP kernel sources: MOESORT_TUNE_SOURCES, for those who change them, else the ones shipped."""
    chosen = os.environ.get("MOESORT_TUNE_SOURCES")
    return Path(chosen) if chosen else _folder("hip_kernels")


def tables_folder() -> Path:
    """Folder of the tables that ship with this package (`tables`)."""
    return _folder("tables")
