"""The hip-python that is installed for the ROCm of a machine."""

import sys
from dataclasses import replace

import pytest

from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.installed import Package
from moesort_tune.doctor.diagnosis import State
from moesort_tune.doctor.hip_python import InstallError, build_command, choose_requirement, install
from tests.doctor import states

LIBRARY = "/opt/rocm/lib/libamdhip64.so"


def make_state(rocm: str, hip_python: str | None) -> State:
    """Return a container with a ROCm release and a hip-python."""
    package = Package("hip-python", hip_python, "/site/hip") if hip_python else None
    return replace(states.CONTAINER, rocm=(Candidate(LIBRARY, "/opt/rocm", rocm),), hip_python=package)


@pytest.mark.parametrize(
    ("rocm", "hip_python", "requirement"),
    [
        ("7.2.0", "10.0.0.0.1.2", "hip-python~=7.2.0"),
        ("7.2.0", None, "hip-python~=7.2.0"),
        ("7.2.0", "7.2.2.562.43", None),
        ("6.4.1", "7.2.2.562.43", "hip-python~=6.4.0"),
        ("10.0.0", "7.2.2.562.43", "hip-python~=10.0.0"),
        ("10.0.0", "10.0.0.0.1.2", None),
    ],
)
def test_hip_python_of_the_found_rocm_is_chosen(rocm: str, hip_python: str | None, requirement: str | None) -> None:
    """Protects the newest hip-python, which pip installs unasked, from staying on a ROCm that it does not fit."""
    assert choose_requirement(make_state(rocm, hip_python)) == requirement


def test_machine_that_no_hip_python_fits_says_why() -> None:
    """Neither a guess nor a silence where there is no ROCm, or one that is too old."""
    with pytest.raises(InstallError, match=r"no ROCm was found .* ROCM_PATH"):
        choose_requirement(states.BARE)
    with pytest.raises(InstallError, match=r"ROCm 5\.2 is older than any hip-python: it takes 6\.2 or newer"):
        choose_requirement(make_state("5.2.3", None))


def test_pip_runs_in_this_environment_and_its_failure_is_an_error() -> None:
    """Protects against another environment's pip, and against a setup that goes on without hip-python."""
    assert build_command("hip-python~=7.2.0") == [sys.executable, "-m", "pip", "install", "hip-python~=7.2.0"]
    install([sys.executable, "-c", "pass"])
    with pytest.raises(InstallError, match=r"ended with exit status 3; see its output above"):
        install([sys.executable, "-c", "raise SystemExit(3)"])
