"""Counts the instructions of the busiest wave of each kernel, beside AITER's: python -m tests.isa.bench --help."""

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from moesort_tune.device import ahead_of_time
from moesort_tune.device.ahead_of_time import Build, OffloadCompiler
from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.launches import KERNELS, KernelTooLargeError
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision
from tests.isa import tinygrad_emulator, where
from tests.isa.counts import LaunchCost, compute_launch_cost
from tests.isa.device import EmulatedDevice, load_emulated_kernels
from tests.isa.program import EmulatedLaunch
from tests.sorting import cases

SHAPES = ("8/2", "32/4", "128/4", "128/8", "256/8", "512/10")
TOKENS = (1, 16, 32, 64, 256, 1024)
ONESHOT_MAX_TOKENS = 64
"""AITER's oneshot is measured up to here."""

COMPUTE_UNITS = 256
UNIT_SIZE = 32
"""Of the AITER figures."""

MANY_EXPERTS = 128
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Point:
    """One sort to count."""

    arch: str
    kernel: KernelName
    num_experts: int
    topk: int
    tokens: int

    @property
    def goal(self) -> float:
        """Largest ratio to AITER's instructions that docs/targets.md asks for."""
        if self.kernel == "multiphase":
            return 1.0
        return 1 / 3 if self.num_experts >= MANY_EXPERTS else 1 / 2


@dataclass(frozen=True)
class Cost:
    """Instructions of the busiest wave and modelled cycles, summed over the launches of one sort."""

    instructions: int
    cycles: int


def read_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of one of AITER's csv files, comments left out."""
    lines = (FOLDER / name).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@functools.cache
def read_aiter_costs() -> dict[tuple[str, int, int, int], Cost]:
    """Return AITER's costs by (kernel, num_experts, topk, tokens)."""
    return {
        (row["kernel"], int(row["num_experts"]), int(row["topk"]), int(row["tokens"])): Cost(
            int(row["instructions"]), int(row["cycles"])
        )
        for row in read_rows("aiter_instructions.csv")
    }


def run(point: Point, code: bytes) -> list[EmulatedLaunch]:
    """Run and check one sort; return its launches. Raise KernelTooLargeError, WrongOutputError."""
    device = EmulatedDevice(point.arch, compute_units=COMPUTE_UNITS)
    case = cases.make_uniform(point.tokens, point.topk, point.num_experts, unit_size=UNIT_SIZE)
    case = cases.Case(case.problem, case.inputs, optional_outputs=())
    outputs = case.run(load_emulated_kernels(device, code), point.kernel)
    check_outputs(outputs, case.expected, kernel=point.kernel, shape=str(case.problem))
    return device.launches


def sum_costs(costs: list[LaunchCost]) -> Cost:
    """Return the cost of one sort."""
    return Cost(sum(cost.instructions for cost in costs), sum(cost.cycles for cost in costs))


def list_points(
    archs: tuple[str, ...], kernels: tuple[KernelName, ...], shapes: tuple[str, ...], tokens: tuple[int, ...]
) -> Iterator[Point]:
    """Yield the points of the grid; oneshot only as far as AITER's figures go."""
    for arch in archs:
        for kernel in kernels:
            for shape in shapes:
                num_experts, topk = map(int, shape.split("/"))
                for count in tokens:
                    if kernel == "multiphase" or count <= ONESHOT_MAX_TOKENS:
                        yield Point(arch, kernel, num_experts, topk, count)


def print_resources(build: Build) -> None:
    """Static resources of our kernels and AITER's."""
    click.echo(f"\n{build.manifest.arch}, {build.manifest.compiler}")
    click.echo(f"{'kernel':28} VGPR AGPR SGPR   LDS scratch spills  code")
    for kernel in build.manifest.kernels:
        print_resource_line(
            kernel.name,
            (kernel.vgprs, kernel.agprs, kernel.sgprs, kernel.lds_bytes, kernel.scratch_bytes),
            kernel.vgpr_spills + kernel.sgpr_spills,
            kernel.code_bytes,
        )
    for row in read_rows("aiter_resources.csv"):
        if row["arch"] == build.manifest.arch:
            numbers = tuple(int(row[name]) for name in ("vgprs", "agprs", "sgprs", "lds_bytes", "scratch_bytes"))
            spills = int(row["vgpr_spills"]) + int(row["sgpr_spills"])
            print_resource_line(f"AITER {row['kernel']}", numbers, spills, int(row["code_bytes"]))


def print_resource_line(name: str, numbers: tuple[int, ...], spills: int, code_bytes: int) -> None:
    """One kernel's line."""
    vgprs, agprs, sgprs, lds_bytes, scratch = numbers
    click.echo(f"{name:28} {vgprs:4} {agprs:4} {sgprs:4} {lds_bytes:5} {scratch:7} {spills:6} {code_bytes:5}")


def format_line(point: Point, launches: list[LaunchCost]) -> str:
    """Return one point's line: ours, AITER's, the ratio and the goal."""
    ours = sum_costs(launches)
    parts = "+".join(str(cost.instructions) for cost in launches)
    head = f"{point.num_experts:4}/{point.topk:<3} {point.tokens:5}  {point.kernel:10} {ours.instructions:6}"
    key = (point.kernel, point.num_experts, point.topk, point.tokens)
    theirs = read_aiter_costs().get(key)
    if theirs is None:
        return f"{head}      -      -     -        {ours.cycles:6}      -  {parts}"
    ratio = ours.instructions / theirs.instructions
    verdict = "ok  " if ratio <= point.goal else "MISS"
    return (
        f"{head} {theirs.instructions:6}  {ratio:5.2f} {point.goal:5.2f} {verdict}   "
        f"{ours.cycles:6} {theirs.cycles:6}  {parts}"
    )


def parse_list(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return comma-separated values; 'all' stands for all known ones."""
    return known if text == "all" else tuple(text.split(","))


def build_for(arch: str, compiler: OffloadCompiler, options: tuple[str, ...]) -> Build:
    """Return the kernels of this checkout, with line tables, which change no instruction."""
    return ahead_of_time.build(
        arch,
        KERNEL_FILES,
        revision=compute_kernels_revision(arch),
        compiler=compiler,
        extra_options=("-gline-tables-only", *options),
    )


@click.command()
@click.option("--arch", default="gfx950", show_default=True, help="gfx90a, gfx942, gfx950, comma-separated, or all.")
@click.option("--kernel", default="all", show_default=True, help="oneshot, multiphase or all.")
@click.option("--shape", default="all", show_default=True, help="Experts/topk, like 128/4,256/8.")
@click.option("--tokens", default=",".join(map(str, TOKENS)), show_default=True)
@click.option("--where", "show_where", is_flag=True, help="Also print which lines the busiest wave's instructions are.")
@click.option("--compiler", help="clang++ to use; found by itself if left out.")
@click.option("--option", "options", multiple=True, help="One more option for the compiler, to try it out.")
def main(
    *,
    arch: str,
    kernel: str,
    shape: str,
    tokens: str,
    show_where: bool,
    compiler: str | None,
    options: tuple[str, ...],
) -> None:
    """Run the kernels in the emulator (TINYGRAD_REPO) and print what the busiest wave executes.

    AITER's figures are those of gfx950 for every target. Cycles are a model, never to be quoted as measured.

    Example: python -m tests.isa.bench --shape 128/4,256/8 --tokens 1,64 --kernel oneshot --where
    """
    reason = tinygrad_emulator.missing()
    if reason is not None:
        raise click.ClickException(f"emulator: not run because {reason}")
    found = ahead_of_time.find_compiler(compiler)
    archs = parse_list(arch, AMD_ARCHITECTURES)
    builds = {name: build_for(name, found, options) for name in archs}
    kernels: tuple[KernelName, ...] = tuple(name for name in KERNELS if kernel in {name, "all"})
    for name, build in builds.items():
        print_resources(build)
        click.echo("\n   shape tokens kernel       ours  AITER  ratio  goal        cycles  AITER  launches")
        for point in list_points((name,), kernels, parse_list(shape, SHAPES), tuple(map(int, tokens.split(",")))):
            try:
                launches = run(point, build.code)
            except KernelTooLargeError:
                continue
            costs = [compute_launch_cost(launch) for launch in launches]
            click.echo(format_line(point, costs))
            for launch, cost in zip(launches, costs, strict=True):
                if show_where:
                    click.echo(where.report(launch, cost, build.code))


if __name__ == "__main__":
    main()
