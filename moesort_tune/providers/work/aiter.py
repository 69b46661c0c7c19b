"""Work module of AITER's own two sorting kernels."""

from typing import TYPE_CHECKING

from moesort_tune.providers.work import aiter_package

if TYPE_CHECKING:
    from moesort_tune.device import hip
    from moesort_tune.providers.work.aiter_kernels import AiterKernels


def why_not() -> str:
    """Return why the installed AITER cannot be measured, '' where nothing is known against it."""
    return aiter_package.find_obstacle()


def revision_of(arch: str) -> str | None:  # noqa: ARG001 - AITER has the same sources for every architecture
    """Return version and hash of the installed AITER, None where there is none."""
    package = aiter_package.find()
    return None if package is None else package.revision


def open_kernels(device: "hip.Device") -> "AiterKernels":
    """Import AITER. Raise ProviderError where it does not run."""
    from moesort_tune.providers.work.aiter_kernels import AiterKernels

    return AiterKernels(device)
