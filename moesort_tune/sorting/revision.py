"""Names the builtin kernels: what their target compiles and how they are launched. Standard library only."""

from moesort_tune.device import sources
from moesort_tune.sorting import launches

KERNEL_FILES = ("oneshot.hip", "multiphase.hip")


def revision(arch: str) -> str:
    """16 hexadecimal digits that change with the code that `arch` runs and with its launch geometry."""
    return sources.revision(arch, KERNEL_FILES, constants=repr(launches.GEOMETRY))
