"""Work module of the provider: importing it loads neither HIP nor the kernels."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moesort_tune.device import hip

    from .kernels import ThirdKernels


def why_not() -> str:
    """Return '': the kernels run wherever HIP does."""
    return ""


def revision_of(_arch: str) -> str:
    """Return the revision of the kernels."""
    return "1"


def open_kernels(device: "hip.Device") -> "ThirdKernels":
    """Compile and load the kernels."""
    from .kernels import ThirdKernels

    return ThirdKernels(device)
