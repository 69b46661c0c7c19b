"""The command `moesort-tune doctor`: attached GPUs, installed software, and remedies for what is missing."""

import platform
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from moesort_tune import __version__
from moesort_tune.cli.doctor_text import format_report
from moesort_tune.cli.output import create_console, print_json
from moesort_tune.cli.parameters import DEVICE
from moesort_tune.device import releases
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.doctor import probing
from moesort_tune.doctor.device_worker import Kernels
from moesort_tune.doctor.diagnosis import State, find_problems
from moesort_tune.doctor.found_tables import find_tables
from moesort_tune.doctor.gap_probe import ProbedGap, probe_launch_gap
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision

EPILOG = """\b
Examples:
  moesort-tune doctor
  moesort-tune doctor --json > doctor.json
  moesort-tune doctor --probe --device 3
"""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--probe", "is_probed", is_flag=True, help="Measure what each further launch costs; takes seconds.")
@click.option("--device", "ordinal", type=DEVICE, default=0, show_default=True, help="Device that --probe measures.")
def doctor(as_json: bool, is_probed: bool, ordinal: int) -> None:
    """Report attached GPUs and installed software, and what to do about what is missing.

    Each HIP runtime is queried in its own process, so a driver that crashes is reported like everything else. The exit
    status is 0 whenever a report could be made.

    --probe times one, two and four empty kernels on the device that a sweep would use: in one long graph, as a graph of
    their own that is replayed, and launched one by one. multiphase pays the difference for each launch after its first.
    """
    state = _probe()
    gap = _measure_gap(state, ordinal) if is_probed else None
    if as_json:
        print_json(build_report(state, gap))
        return
    console = create_console()
    for line in format_report(state, describe_versions(), gap):
        console.print(line, markup=True, soft_wrap=True)


def _measure_gap(state: State, ordinal: int) -> ProbedGap:
    with Console(stderr=True).status("timing empty kernels", spinner="line"):
        return probe_launch_gap(state, ordinal)


def _probe() -> State:
    console = Console(stderr=True)
    with console.status("looking at this machine", spinner="line") as status:
        return probing.probe(
            tables=find_tables(),
            kernels=Kernels(KERNEL_FILES, {arch: compute_kernels_revision(arch) for arch in ARCHITECTURES}),
            notify=lambda text: status.update(f"{text} (the first time takes a while)"),
        )


def describe_versions() -> dict[str, str]:
    """Return the versions of this package and of its platform."""
    return {
        "moesort_tune": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def build_report(state: State, gap: ProbedGap | None = None) -> dict[str, Any]:
    """Return the report that --json prints; with `launch_gap` if it was asked for."""
    found = asdict(state)
    machine = found.pop("machine")
    return {
        **describe_versions(),
        "revisions": found["revisions"],
        "runtimes": found["runtimes"],
        "devices": [
            {"runtime": runtime.name, **asdict(device)} for runtime in state.runtimes for device in runtime.devices
        ],
        "compilers": found["compilers"],
        "rocm": found["rocm"],
        "hip_python": _describe_hip_python(state),
        "torch": found["torch"],
        "aiter": found["aiter"],
        "tables": found["tables"],
        "cache": found["cache"],
        "environment": machine.pop("environment"),
        "machine": machine,
        "problems": [asdict(problem) for problem in find_problems(state)],
        **({"launch_gap": asdict(gap)} if gap else {}),
    }


def _describe_hip_python(state: State) -> dict[str, Any] | None:
    """Return its version, its fit to the used ROCm ('same', 'near', 'foreign', None), and pip's command."""
    if state.hip_python is None:
        return None
    rocm = state.rocm_release
    return {
        "version": state.hip_python.version,
        "rocm": releases.format_release(rocm) if rocm else None,
        "fit": state.fit,
        "pip": releases.format_pip_command(rocm) if rocm else None,
    }
