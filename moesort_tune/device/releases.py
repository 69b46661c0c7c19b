"""Matching of hip-python and ROCm: hip-python's version follows the ROCm release."""

import re
from typing import Literal

Release = tuple[int, int]

HIP_PYTHON_RELEASES: tuple[Release, ...] = ((6, 2), (6, 3), (6, 4), (7, 0), (7, 1), (7, 2), (10, 0))
"""ROCm releases with a hip-python of their own on PyPI."""

OLDEST = HIP_PYTHON_RELEASES[0]

Fit = Literal["same", "near", "foreign"]
"""same: made for this ROCm; near: of the same major release, whose calls keep their form; foreign: neither."""


def parse_release(version: str) -> Release | None:
    """Return major and minor of '7.2.0-43', '7.2.26015-fc0010cf6a', 'rocm6.4' or '10.0.0.0.1.2'; None without them."""
    match = re.search(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


def format_release(release: Release) -> str:
    """Return '7.2' for (7, 2)."""
    return f"{release[0]}.{release[1]}"


def find_hip_python_release(rocm: Release) -> Release | None:
    """Return the hip-python release for a ROCm release; None where ROCm is older than every supported hip-python.

    A release newer than those known is assumed to have its own. Those between 7.2 and 10.0 had none; they use 10.0,
    which finds the libraries in ROCm's wheels, the form in which those releases came.
    """
    if rocm < OLDEST:
        return None
    if rocm > HIP_PYTHON_RELEASES[-1]:
        return rocm
    return next(release for release in HIP_PYTHON_RELEASES if release >= rocm)


def format_requirement(rocm: Release) -> str | None:
    """Return what pip is asked for to get the hip-python of a ROCm release: `hip-python~=7.2.0`."""
    release = find_hip_python_release(rocm)
    return f"hip-python~={format_release(release)}.0" if release else None


def format_pip_command(rocm: Release) -> str | None:
    """Return the command that installs the hip-python of a ROCm release: `pip install 'hip-python~=7.2.0'`."""
    requirement = format_requirement(rocm)
    return f"pip install '{requirement}'" if requirement else None


def rate_fit(hip_python: Release, rocm: Release) -> Fit:
    """Return how well a hip-python fits a ROCm release."""
    right = find_hip_python_release(rocm)
    if hip_python == right:
        return "same"
    near_majors = {rocm[0], right[0] if right else rocm[0]}
    return "near" if rocm >= OLDEST and hip_python[0] in near_majors else "foreign"
