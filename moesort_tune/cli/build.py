"""The command `moesort-tune build`: code objects of the kernels, compiled ahead of time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from moesort_tune.cli.output import print_json, print_result
from moesort_tune.cli.parameters import FilePath, Parameter, parse_words
from moesort_tune.device import ahead_of_time, code_objects
from moesort_tune.device.ahead_of_time import Build
from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.device.code_objects import KernelResources
from moesort_tune.device.sources import ALIGN_FORMS, SORTING_FORM, Form
from moesort_tune.sorting.revision import KERNEL_FILES, compute_align_revision, compute_kernels_revision

_FORMS: Final[dict[Form, Callable[[str], str]]] = {
    SORTING_FORM: compute_kernels_revision,
    **dict.fromkeys(ALIGN_FORMS.values(), compute_align_revision),
}
"""The forms to build, with the function that names their code."""

COMPILER = Parameter("TEXT", parse_words)

_COLUMNS = (
    ("VGPRs", "vgprs"),
    ("AGPRs", "agprs"),
    ("SGPRs", "sgprs"),
    ("spilled VGPRs", "vgpr_spills"),
    ("spilled SGPRs", "sgpr_spills"),
    ("scratch bytes", "scratch_bytes"),
    ("static LDS bytes", "lds_bytes"),
    ("wave size", "wavefront_size"),
    ("argument bytes", "kernarg_bytes"),
    ("code bytes", "code_bytes"),
)


@click.command(short_help="Compile the kernels ahead of time for AMD GPUs.")
@click.option(
    "--arch", type=click.Choice([*AMD_ARCHITECTURES, "all"]), required=True, help="Architecture to compile for."
)
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="Folder for <arch>.co, <arch>.json and those of the align form. Default: nothing is written.",
)
@click.option("--check", is_flag=True, help="Fail if a kernel spills, uses scratch or exceeds the LDS.")
@click.option(
    "--compiler",
    type=COMPILER,
    help="amdclang++, hipcc or clang++ 20 or newer. Default: MOESORT_TUNE_CLANG, else found.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@click.option("--markdown", is_flag=True, help="Print the kernels' resources as the page docs/resources.md.")
def build(*, arch: str, out: Path | None, check: bool, compiler: str | None, as_json: bool, markdown: bool) -> None:
    """Compile the kernels ahead of time for AMD GPUs, with ROCm's compiler or with upstream clang alone.

    <arch>.co computes moe_sorting; <arch>-align32.co and <arch>-align64.co compute moe_align_block_size for ids of 32
    and 64 bits. Each has a manifest of its name.

    At run time, a code object of the same revision in the folder that MOESORT_TUNE_CODE_OBJECTS names replaces
    compiling with hiprtc.

    Example: moesort-tune build --arch gfx950 --out code_objects --check
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other; give only one")
    found = ahead_of_time.find_compiler(compiler)
    builds = [
        ahead_of_time.build(name, KERNEL_FILES, revision=revision_of(name), compiler=found, form=form)
        for name in (AMD_ARCHITECTURES if arch == "all" else (arch,))
        for form, revision_of in _FORMS.items()
    ]
    if check:
        code_objects.check_resources([built.manifest for built in builds])
    if out is not None:
        for built in builds:
            code_objects.write(out, built.manifest, built.code)
    if as_json:
        print_json([built.manifest for built in builds])
    elif markdown:
        print_result(format_markdown(builds), end="")
    else:
        print_result("\n\n".join(_format_summary(built, out) for built in builds))


def _format_summary(built: Build, out: Path | None) -> str:
    manifest = built.manifest
    place = f"{out / manifest.stem}.co" if out else "not written (no --out)"
    lines = [f"{manifest.stem}: {place}", f"  revision {manifest.revision}, {manifest.compiler}"]
    return "\n".join([*lines, *format_resources(manifest.kernels)])


def format_resources(kernels: Sequence[KernelResources]) -> Iterator[str]:
    """Yield a line for each kernel, their columns one below the other."""
    rows = [
        (
            kernel.name,
            f"{kernel.vgprs} VGPRs",
            f"{kernel.agprs} AGPRs",
            f"{kernel.sgprs} SGPRs",
            f"{kernel.vgpr_spills + kernel.sgpr_spills} spills",
            f"{kernel.scratch_bytes} B scratch",
            f"wave{kernel.wavefront_size}",
        )
        for kernel in kernels
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join(
            ["", name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        )


def format_markdown(builds: list[Build]) -> str:
    """Return the page docs/resources.md: one table of all kernels on all targets."""
    compiler = builds[0].manifest.compiler
    heads = ["target", "kernel", *(head for head, _ in _COLUMNS)]
    rows = [
        [built.manifest.stem, f"`{kernel.name}`", *(str(getattr(kernel, field)) for _, field in _COLUMNS)]
        for built in builds
        for kernel in built.manifest.kernels
    ]
    table = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(
        [
            "# What the kernels occupy",
            "",
            "From the metadata of the code objects. Written by `make resources`; do not edit.",
            f"Compiler: {compiler}. The LDS that a launch asks for comes on top of the static LDS.",
            "`-align32` and `-align64`: the align form, for ids of 32 and of 64 bits.",
            "",
            *table,
            "",
        ]
    )
