"""Which hip-python belongs to which ROCm."""

import pytest

from moesort_tune.device import releases
from moesort_tune.device.releases import Release


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("7.2.0-43", (7, 2)),
        ("7.2.26015-fc0010cf6a", (7, 2)),
        ("rocm6.4", (6, 4)),
        ("10.0.0.0.1.2", (10, 0)),
        ("7.13.0a20260401", (7, 13)),
        ("unknown", None),
        ("", None),
    ],
)
def test_release_is_the_first_two_numbers(text: str, release: Release | None) -> None:
    """Protects every form in which ROCm, HIP, torch and hip-python write their version."""
    assert releases.parse_release(text) == release


@pytest.mark.parametrize(
    ("rocm", "command"),
    [
        ((6, 2), "pip install 'hip-python~=6.2.0'"),
        ((7, 2), "pip install 'hip-python~=7.2.0'"),
        ((7, 13), "pip install 'hip-python~=10.0.0'"),
        ((10, 0), "pip install 'hip-python~=10.0.0'"),
        ((10, 1), "pip install 'hip-python~=10.1.0'"),
        ((5, 2), None),
    ],
)
def test_command_installs_the_hip_python_of_the_release(rocm: Release, command: str | None) -> None:
    """Protects the exact command: releases between 7.2 and 10.0 have no hip-python of their own."""
    assert releases.format_pip_command(rocm) == command


@pytest.mark.parametrize(
    ("hip_python", "rocm", "fit"),
    [
        ((7, 2), (7, 2), "same"),
        ((10, 0), (7, 13), "same"),
        ((7, 2), (7, 0), "near"),
        ((7, 2), (7, 13), "near"),
        ((10, 0), (7, 2), "foreign"),
        ((7, 2), (6, 4), "foreign"),
        ((7, 2), (10, 0), "foreign"),
        ((6, 2), (5, 2), "foreign"),
        ((6, 2), (6, 0), "foreign"),
    ],
)
def test_fit_follows_the_release(hip_python: Release, rocm: Release, fit: str) -> None:
    """Protects the difference between a neighbour, which is let pass, and a stranger, which is a problem."""
    assert releases.rate_fit(hip_python, rocm) == fit
