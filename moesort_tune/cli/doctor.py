"""`moesort-tune doctor`: what is attached and installed, and what to do about what is missing."""

import platform
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from moesort_tune import __version__
from moesort_tune.cli.doctor_text import lines
from moesort_tune.cli.output import print_json, results
from moesort_tune.device import releases
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.doctor import probing
from moesort_tune.doctor.device_worker import Kernels
from moesort_tune.doctor.diagnosis import State, problems
from moesort_tune.doctor.found_tables import found_tables
from moesort_tune.sorting.revision import KERNEL_FILES, revision

EPILOG = """\b
Examples:
  moesort-tune doctor
  moesort-tune doctor --json > doctor.json
"""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(as_json: bool) -> None:
    """Say what is attached and installed, and what to do about what is missing.

    Each HIP runtime is asked in a process of its own, so a driver that crashes is reported like everything else. The
    exit status is 0 whenever the report could be made.
    """
    state = _look()
    if as_json:
        print_json(report(state))
        return
    console = results()
    for line in lines(state, about()):
        console.print(line, markup=True, soft_wrap=True)


def _look() -> State:
    console = Console(stderr=True)
    with console.status("looking at this machine", spinner="line") as status:
        return probing.look(
            tables=found_tables(),
            kernels=Kernels(KERNEL_FILES, {arch: revision(arch) for arch in ARCHITECTURES}),
            notify=lambda text: status.update(f"{text} (the first time takes a while)"),
        )


def about() -> dict[str, str]:
    """Versions of this package and of what it runs on."""
    return {
        "moesort_tune": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def report(state: State) -> dict[str, Any]:
    """The report as --json prints it."""
    found = asdict(state)
    machine = found.pop("machine")
    return {
        **about(),
        "revisions": found["revisions"],
        "runtimes": found["runtimes"],
        "devices": [
            {"runtime": runtime.name, **asdict(device)} for runtime in state.runtimes for device in runtime.devices
        ],
        "compilers": found["compilers"],
        "rocm": found["rocm"],
        "hip_python": _hip_python(state),
        "torch": found["torch"],
        "aiter": found["aiter"],
        "tables": found["tables"],
        "cache": found["cache"],
        "environment": machine.pop("environment"),
        "machine": machine,
        "problems": [asdict(problem) for problem in problems(state)],
    }


def _hip_python(state: State) -> dict[str, Any] | None:
    """Version, how it fits the ROCm that is used ('same', 'near', 'foreign', None), and what pip should install."""
    if state.hip_python is None:
        return None
    rocm = state.rocm_release
    return {
        "version": state.hip_python.version,
        "rocm": releases.text(rocm) if rocm else None,
        "fit": state.fit,
        "pip": releases.pip_command(rocm) if rocm else None,
    }
