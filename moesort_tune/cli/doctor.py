"""The command `moesort-tune doctor`: attached GPUs, installed software, and remedies for what is missing."""

import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from moesort_tune import __version__
from moesort_tune.cli.doctor_text import format_report
from moesort_tune.cli.output import create_console, print_json, print_remark, print_result
from moesort_tune.cli.parameters import DEVICE, FilePath
from moesort_tune.device import releases
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.child import make_printable
from moesort_tune.doctor import probing
from moesort_tune.doctor.bundle import BundleError, Contents, check_target, collect_files, find_homes, write_bundle
from moesort_tune.doctor.device_worker import Kernels
from moesort_tune.doctor.diagnosis import State, find_problems
from moesort_tune.doctor.found_tables import find_samples, find_tables, list_own_files
from moesort_tune.doctor.gap_probe import ProbedGap, probe_launch_gap
from moesort_tune.doctor.hip_python import build_command, choose_requirement, install
from moesort_tune.errors import escape_unprintable
from moesort_tune.sorting.revision import KERNEL_FILES, compute_align_revision, compute_kernels_revision
from moesort_tune.tables.errors import format_path

EPILOG = """\b
Examples:
  moesort-tune doctor
  moesort-tune doctor --json > doctor.json
  moesort-tune doctor --probe --device 3
  moesort-tune doctor --bundle
"""

BUNDLE = "moesort-tune-bundle.zip"
SAMPLE_LINES = 4
"""Lines of a samples file that are shown before a bundle is written."""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--probe", "is_probed", is_flag=True, help="Measure what each further launch costs; takes seconds.")
@click.option("--device", "ordinal", type=DEVICE, default=0, show_default=True, help="Device that --probe measures.")
@click.option(
    "--bundle",
    type=FilePath(),
    is_flag=False,
    flag_value=BUNDLE,
    help=f"Show what would help the project, and after a yes pack it into FILE ({BUNDLE}).",
)
@click.option("--yes", is_flag=True, help="Write the bundle without asking.")
@click.option(
    "--install-hip-python", is_flag=True, help="Install the hip-python that fits the ROCm found here, with pip."
)
def doctor(
    *, as_json: bool, is_probed: bool, ordinal: int, bundle: Path | None, yes: bool, install_hip_python: bool
) -> None:
    """Report attached GPUs and installed software, and what to do about what is missing.

    Each HIP runtime is queried in its own process, so a driver that crashes is reported like everything else. The exit
    status is 0 whenever a report could be made.

    --probe times one, two and four empty kernels on the device that a sweep would use: in one long graph, as a graph of
    their own that is replayed, and launched one by one. multiphase pays the difference for each launch after its first.

    --bundle packs this report with the figures of --probe, and the tables and samples of ./tables and of
    MOESORT_TUNE_TABLE. Before it asks, it prints the report, the tables, and the first lines of samples. Your home
    folder and the machines' names are left out.
    """
    _check_usage(as_json=as_json, is_probed=is_probed, bundle=bundle, yes=yes, installs=install_hip_python)
    replaces = check_target(bundle, list_own_files()) if bundle else False
    state = _probe()
    if install_hip_python:
        _install_hip_python(state)
        return
    gap = _measure_gap(state, ordinal) if is_probed or bundle else None
    if bundle:
        contents = collect_files(build_report(state, gap), state.tables, find_samples(), find_homes())
        _pack(bundle, contents, yes=yes, replaces=replaces)
        return
    if as_json:
        print_json(build_report(state, gap))
        return
    console = create_console()
    for line in format_report(state, describe_versions(), gap):
        console.print(line, markup=True, soft_wrap=True)


def _check_usage(*, as_json: bool, is_probed: bool, bundle: Path | None, yes: bool, installs: bool) -> None:
    """Raise UsageError for an option that nothing would come of."""
    source = click.get_current_context().get_parameter_source("ordinal")
    is_device_named = source is not ParameterSource.DEFAULT
    if installs:
        given = {"--json": as_json, "--probe": is_probed, "--bundle": bundle, "--yes": yes, "--device": is_device_named}
        if names := [name for name, is_given in given.items() if is_given]:
            raise click.UsageError(f"--install-hip-python makes no report; leave out {', '.join(names)}")
    if as_json and bundle:
        raise click.UsageError("--bundle writes the JSON report into the bundle; leave out --json")
    if is_device_named and not (is_probed or bundle):
        raise click.UsageError("--device is the device that --probe or --bundle measures; add one of them")
    if yes and not bundle:
        raise click.UsageError("--yes answers the question of --bundle; add --bundle")


def _install_hip_python(state: State) -> None:
    """Install the hip-python of this machine's ROCm, unless it is installed."""
    requirement = choose_requirement(state)
    if requirement is None and state.hip_python is not None:
        print_remark(f"hip-python {state.hip_python.version} fits this ROCm; nothing to install")
    elif requirement is not None:
        command = build_command(requirement)
        print_remark(" ".join(command))
        install(command)


def _pack(path: Path, contents: Contents, *, yes: bool, replaces: bool) -> None:
    """Print what a bundle holds, and write it if the user agrees. replaces: an earlier zip file."""
    files = contents.files
    for name, data in files.items():
        print_result(format_file(name, data))
    print_result(f"{len(files)} files, {sum(map(len, files.values()))} bytes")
    for reason in contents.left_out:
        print_remark(f"left out: {escape_unprintable(reason)}")
    place = f"{format_path(path)}, replacing the zip file that is there" if replaces else format_path(path)
    if not yes and not _confirm(f"Write them into {place}?"):
        print_remark("nothing was written")
        return
    write_bundle(path, files)
    print_remark(f"{format_path(path)} is written; attach it to an issue or a pull request")


def _confirm(question: str) -> bool:
    """Return the answer. Raise BundleError where nobody can answer, and click.Abort for ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise BundleError("nobody answered, so nothing was written; pass --yes to write without asking") from None


def format_file(name: str, data: bytes) -> str:
    """Return a file of the bundle as text; of long samples the beginning, since each line is like the first."""
    lines = make_printable(data).splitlines()
    shown = lines[:SAMPLE_LINES] if name.endswith(".samples.csv") else lines
    left = len(lines) - len(shown)
    return "\n".join([f"--- {name}", *shown, *([f"... and {left} lines like these"] if left else [])])


def _measure_gap(state: State, ordinal: int) -> ProbedGap:
    with Console(stderr=True).status("timing empty kernels", spinner="line"):
        return probe_launch_gap(state, ordinal)


def _probe() -> State:
    console = Console(stderr=True)
    with console.status("looking at this machine", spinner="line") as status:
        return probing.probe(
            tables=find_tables(),
            kernels=Kernels(
                KERNEL_FILES,
                {arch: compute_kernels_revision(arch) for arch in ARCHITECTURES},
                {arch: compute_align_revision(arch) for arch in ARCHITECTURES},
            ),
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
        "align_revisions": found["align_revisions"],
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
