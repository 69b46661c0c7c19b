"""Print, in one run on one NVIDIA GPU, this project's kernels beside vLLM's and SGLang's token alignment.

The rivals' sources are taken, unchanged, from the folder that MOESORT_RIVALS names; none of them is in this
repository. Without it the run is skipped, with what is missing and how to get it.

    MOESORT_RIVALS=~/rivals python scripts/bench_rivals.py [--shapes 8/2,128/4] [--tokens 1,24] [--seeds 0,1]

Columns, in microseconds of one operator in a replayed graph: an empty kernel of one workgroup, a memset of moe_buf
(tokens x 4096 x bfloat16), each of our kernels without moe_buf and (+buf) with it, then each rival. A rival writes no
weights and does not zero moe_buf. Every output is checked against the reference before anything is timed.

MOESORT_CUDA_INCLUDE: CUDA's headers, if not in CUDA_HOME or /usr/local/cuda; vLLM's kernels use its CUB.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from bench_gpu import KERNELS, LAUNCHES, MODEL_DIM, Bench, prepare_empty_kernel
from rivals import summary
from rivals.gpu import Rivals
from rivals.plans import Sizes
from rivals.sources import RivalsError, find_folder
from rivals.summary import MEMSET, WITH_BUFFER, Summary

from moesort_tune.device import hip
from moesort_tune.measure.timers import Work
from moesort_tune.sorting.align import AlignedOutputs
from moesort_tune.sorting.align_kernels import PreparedAlign
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.inputs import make_inputs
from moesort_tune.sorting.kernels import PreparedSort
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting

SHAPES = "8/2,32/4,64/6,128/4,128/8,160/8,256/8,257/9,384/8,512/10"
TOKENS = "1,8,24,48,96,192,768,3072,12288"


class RivalsBench:
    """One device with our kernels and the rivals."""

    def __init__(self, folder: Path, rounds: int, launches: int) -> None:
        """Open the device and compile everything. Raise RivalsError where no rival can run."""
        self._bench = Bench(rounds, launches)
        self.device = self._bench.device
        self._stream = self.device.create_stream()
        self._empty = prepare_empty_kernel(self.device)
        self.rivals = open_rivals(self.device, folder)

    def measure(self, sizes: Sizes, seed: int) -> dict[str, float]:
        """Return the microseconds of everything that takes the shape. Raise WrongOutputError, RivalsError."""
        nbytes = sizes.tokens * MODEL_DIM * 2
        inputs = make_inputs(rows=sizes.tokens, topk=sizes.topk, num_experts=sizes.num_experts, seed=seed)
        expected = moe_sorting(inputs, num_experts=sizes.num_experts, unit_size=sizes.unit_size)
        prepare = self._bench.kernels.prepare
        with (
            prepare(make_problem(sizes, 0), inputs) as plain,
            prepare(make_problem(sizes, nbytes), inputs) as zeroing,
            self.device.allocate(nbytes) as buffer,
            self.rivals.prepare(sizes, inputs.topk_ids) as rivals,
        ):
            works: dict[str, Work] = {
                "empty": self._empty.launch,
                MEMSET: lambda stream: stream.memset(buffer, 0, nbytes),
                **check_kernels(plain, expected, self._stream),
                **check_kernels(zeroing, expected, self._stream, WITH_BUFFER),
            }
            for name, rival in rivals.items():
                rival.check(self._stream, expected)
                works[name] = rival.launch
            return self._bench.measure(works)


def check_kernels(
    prepared: PreparedSort | PreparedAlign,
    expected: SortedOutputs | AlignedOutputs,
    stream: hip.Stream,
    ending: str = "",
) -> dict[str, Work]:
    """Return the work of each of our kernels that takes the problem, each run and checked once. ending: of its name."""
    works: dict[str, Work] = {}
    for kernel in KERNELS:
        try:
            prepared.prepare_launches(kernel)
        except KernelTooLargeError:
            continue
        prepared.spoil()
        prepared.launch(kernel, stream)
        stream.synchronize()
        check_outputs(prepared.read_outputs(), expected, kernel=kernel, shape=str(prepared.problem))
        works[kernel + ending] = lambda stream, kernel=kernel: prepared.launch(kernel, stream)  # type: ignore[misc]
    return works


def open_rivals(device: hip.Device, folder: Path) -> Rivals:
    """Compile the rivals for the device. Raise RivalsError where none can run."""
    arch = device.properties.arch
    if not arch.startswith("sm_"):
        raise RivalsError(f"the rivals' sources are CUDA, and the attached device is {arch}, not an NVIDIA GPU")
    rivals = Rivals(device, folder)
    if not rivals.names:
        raise RivalsError("none of the rivals could be prepared\n" + "\n".join(rivals.notes))
    return rivals


def make_problem(sizes: Sizes, nbytes: int) -> Problem:
    """Return our problem of these sizes. nbytes: of moe_buf."""
    return Problem(sizes.tokens, sizes.topk, sizes.num_experts, sizes.unit_size, moe_buf_bytes=nbytes)


class Table:
    """The printed table: a line a shape and seed. columns: names of the times."""

    def __init__(self, columns: list[str]) -> None:
        """Set the widths."""
        self._columns = columns
        self._titles = [ratio.title for ratio in summary.RATIOS]

    def format_heading(self) -> str:
        """Return the line above the table."""
        names = [name.rjust(_get_width(name)) for name in (*self._columns, *self._titles)]
        return " ".join(["experts/topk tokens seed", *names])

    def format_row(self, sizes: Sizes, seed: int, times: Mapping[str, float], ratios: Mapping[str, float]) -> str:
        """Return one line; what was not timed is a dash."""
        head = f"{_format_shape(sizes):>12} {sizes.tokens:6d} {seed:4d}"
        cells = [_format_cell(name, times, 2) for name in self._columns]
        return " ".join([head, *cells, *(_format_cell(title, ratios, 3) for title in self._titles)])


def _get_width(name: str) -> int:
    return max(len(name), 7)


def _format_cell(name: str, values: Mapping[str, float], digits: int) -> str:
    text = f"{values[name]:.{digits}f}" if name in values else "-"
    return text.rjust(_get_width(name))


def _format_shape(sizes: Sizes) -> str:
    return f"{sizes.num_experts}/{sizes.topk}"


def measure_all(bench: RivalsBench, points: Iterable[tuple[Sizes, int]]) -> Summary:
    """Print a line for each shape and seed as soon as it is measured; return what they come to."""
    ours = [name + ending for ending in ("", WITH_BUFFER) for name in KERNELS]
    rivals = bench.rivals.names
    table, result = Table(["empty", MEMSET, *ours, *rivals]), Summary()
    print(table.format_heading())
    for sizes, seed in points:
        times = bench.measure(sizes, seed)
        ratios = summary.compute_ratios(times, KERNELS, rivals)
        print(table.format_row(sizes, seed, times, ratios), flush=True)
        best = min(times[name] for name in KERNELS if name in times)
        columns = {name: times[name] / best for name in (*KERNELS, *rivals) if name in times}
        result.add(f"{_format_shape(sizes)}, {sizes.tokens} tokens, seed {seed}", ratios, columns)
    return result


def parse_points(shapes: str, tokens: str, seeds: str, unit_size: int) -> list[tuple[Sizes, int]]:
    """Return every shape with every token count and seed."""
    pairs = [tuple(map(int, shape.split("/"))) for shape in shapes.split(",")]
    counts = [int(count) for count in tokens.split(",")]
    return [
        (Sizes(count, topk, num_experts, unit_size), int(seed))
        for seed in seeds.split(",")
        for num_experts, topk in pairs
        for count in counts
    ]


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="experts/topk, separated by commas")
@click.option("--tokens", default=TOKENS, show_default=True)
@click.option("--seeds", default="0", show_default=True, help="of the inputs, separated by commas")
@click.option("--unit-size", default=32, show_default=True, help="rows of a tile, a multiple of 4")
@click.option("--rounds", default=5, show_default=True, help="interleaved replays of each graph")
@click.option("--launches", default=LAUNCHES, show_default=True, help="operators in one graph")
def main(*, shapes: str, tokens: str, seeds: str, unit_size: int, rounds: int, launches: int) -> None:
    """Print our kernels beside vLLM's and SGLang's, whose sources are in the folder that MOESORT_RIVALS names."""
    points = parse_points(shapes, tokens, seeds, unit_size)
    try:
        bench = RivalsBench(find_folder(os.environ), rounds, launches)
    except RivalsError as error:
        print(f"skipped: {error}")
        return
    properties = bench.device.properties
    print(
        f"{properties.name}, {properties.arch}, {properties.compute_units} compute units, HIP {properties.hip_version}"
    )
    for note in bench.rivals.notes:
        print(note)
    result = measure_all(bench, points)
    print("\n".join(result.format_lines()))


if __name__ == "__main__":
    main()
