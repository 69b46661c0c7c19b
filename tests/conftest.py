"""Fixtures of every test session: a cache of its own sources' builds, and the checking mode of the host runtime."""

import os
import signal

import pytest

from moesort_tune.device import hip, libraries
from moesort_tune.sorting.kernels import SortingKernels

pytest_plugins = ["tests.opt_in"]

# In the background of a script SIGINT is ignored, and so it would be in every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Kernel tests on the host runtime find every access outside an allocation and every read of what nobody wrote.
os.environ.setdefault("MOESORT_HOST_CHECK", "1")


@pytest.fixture(scope="session")
def device() -> hip.Device:
    """Return the attached GPU, or the host runtime where there is none (or where MOESORT_TUNE_RUNTIME asks for it)."""
    return hip.open_device(os.environ.get("MOESORT_TUNE_RUNTIME") or libraries.detect_runtime())


@pytest.fixture(scope="session")
def kernels(device: hip.Device) -> SortingKernels:
    """Return the builtin kernels, loaded on `device`."""
    return SortingKernels(device)
