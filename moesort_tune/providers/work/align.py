"""Work module of this project's own kernels in the align form."""

from typing import TYPE_CHECKING

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.sorting.revision import compute_align_revision

if TYPE_CHECKING:
    from moesort_tune.device import hip
    from moesort_tune.providers.work.align_kernels import OpenedAlign


def why_not() -> str:
    """Return '': the kernels are part of this package."""
    return ""


def revision_of(arch: str) -> str | None:
    """Return the revision of the kernels and their launches, None for an architecture that they are not built for."""
    return compute_align_revision(arch) if arch in ARCHITECTURES else None


def open_kernels(device: "hip.Device") -> "OpenedAlign":
    """Load the kernels for ids of 32 bits. Raise HipError, CompileError."""
    from moesort_tune.providers.work.align_kernels import OpenedAlign

    return OpenedAlign(device)
