"""Choose and install the hip-python that fits the ROCm of this machine."""

import subprocess
import sys
from collections.abc import Sequence

from moesort_tune.device import releases
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor.diagnosis import State
from moesort_tune.errors import MoesortTuneError


class InstallError(MoesortTuneError):
    """Report that no hip-python could be chosen or installed."""


def choose_requirement(state: State) -> str | None:
    """Return the requirement to install, None where what is installed was made for this ROCm. Raise InstallError."""
    rocm = state.rocm_release
    if rocm is None:
        raise InstallError(
            f"no ROCm was found that tells its release, so no hip-python fits: {REMEDIES['no HIP library']}"
        )
    if state.fit == "same":
        return None
    requirement = releases.format_requirement(rocm)
    if requirement is None:
        oldest = releases.format_release(releases.OLDEST)
        raise InstallError(
            f"ROCm {releases.format_release(rocm)} is older than any hip-python: it takes {oldest} or newer"
        )
    return requirement


def build_command(requirement: str) -> list[str]:
    """Return the command that installs a requirement into the environment of this Python."""
    return [sys.executable, "-m", "pip", "install", requirement]


def install(command: Sequence[str]) -> None:
    """Run pip, whose output goes to standard error. Raise InstallError."""
    status = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
    if status != 0:
        raise InstallError(f"`{' '.join(command)}` ended with exit status {status}; see its output above")
