"""Where the kernel sources and the shipped tables lie, in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / "data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def kernels_folder() -> Path:
    """Folder of the HIP kernel sources (`hip_kernels`)."""
    return _folder("hip_kernels")


def tables_folder() -> Path:
    """Folder of the tables that ship with this package (`tables`)."""
    return _folder("tables")
