"""Print, in one run on one NVIDIA GPU, this project's align form beside the kernels of vLLM's moe_align_block_size.

As bench_rivals.py, with our kernels in the form that vLLM's callers take: flat places, no weights, nothing zeroed, the
outputs filled to their end. Every output is checked before anything is timed, ours to the last element.

    MOESORT_RIVALS=~/rivals python scripts/bench_align.py [--seeds 0,77] [--json align.json]

Columns, in microseconds of one operator in a replayed graph: an empty kernel of one workgroup, each of our kernels,
then each rival; then the ratios of our best to the faster of vLLM's paths, to its stable and to its usual one. The
limits that the form must keep are judged at the end. --alone times ours only, on any device.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from bench_gpu import KERNELS, LAUNCHES, Bench, prepare_empty_kernel
from bench_rivals import SHAPES, TOKENS, check_kernels, open_rivals, parse_points
from rivals.gpu import Rivals
from rivals.plans import Sizes
from rivals.sources import RivalsError, find_folder
from rivals.summary import STABLE, VLLM, compute_geometric_mean

from moesort_tune.measure.timers import Work
from moesort_tune.sorting.align import AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.inputs import SortingInputs, make_inputs
from moesort_tune.sorting.reference import moe_sorting


@dataclass(frozen=True)
class Ratio:
    """One comparison of our best. rivals: whose faster one counts; worst, mean: what it must not exceed."""

    title: str
    meaning: str
    rivals: tuple[str, ...]
    worst: float | None
    mean: float | None


RATIOS = (
    Ratio("/vllm", "our best over the faster of vLLM's paths", (VLLM, STABLE), worst=0.9, mean=0.45),
    Ratio("/stable", "our best over vLLM's stable path", (STABLE,), worst=None, mean=0.6),
    Ratio("/usual", "our best over vLLM's usual path", (VLLM,), worst=None, mean=None),
)


@dataclass(frozen=True)
class Point:
    """One measured shape and seed."""

    sizes: Sizes
    seed: int
    times_us: dict[str, float]
    ratios: dict[str, float]

    @property
    def name(self) -> str:
        """The shape in words."""
        return f"{self.sizes.num_experts}/{self.sizes.topk}, {self.sizes.tokens} tokens, seed {self.seed}"


class AlignBench:
    """One device with our kernels in the align form, and the rivals unless there are none. wide: ids of 64 bits."""

    def __init__(self, folder: Path | None, rounds: int, launches: int, *, wide: bool) -> None:
        """Open the device and compile everything. Raise RivalsError where no rival can run."""
        self._bench = Bench(rounds, launches)
        self.device = self._bench.device
        self._kernels = AlignKernels(self.device)
        self._stream = self.device.create_stream()
        self._empty = prepare_empty_kernel(self.device)
        self._wide = wide
        self.rivals = open_rivals(self.device, folder) if folder else None

    def measure(self, sizes: Sizes, seed: int) -> Point:
        """Return the microseconds of everything that takes the shape. Raise WrongOutputError, RivalsError."""
        inputs = make_inputs(rows=sizes.tokens, topk=sizes.topk, num_experts=sizes.num_experts, seed=seed)
        problem = AlignProblem(sizes.tokens, sizes.topk, sizes.num_experts, sizes.unit_size)
        ids = AlignInputs(inputs.topk_ids.astype(np.int64) if self._wide else inputs.topk_ids)
        with self._kernels.prepare(problem, ids) as prepared, self._prepare_rivals(sizes, inputs) as rivals:
            ours = check_kernels(prepared, align_block_size(ids, problem), self._stream)
            works = {"empty": self._empty.launch, **ours, **rivals}
            times = self._bench.measure(works)
        return Point(sizes, seed, times, compute_ratios(times))

    @contextmanager
    def _prepare_rivals(self, sizes: Sizes, inputs: SortingInputs) -> Iterator[dict[str, Work]]:
        """Yield the work of each rival that takes the problem, each run and checked once."""
        if self.rivals is None:
            yield {}
            return
        expected = moe_sorting(inputs, num_experts=sizes.num_experts, unit_size=sizes.unit_size)
        with self.rivals.prepare(sizes, inputs.topk_ids) as rivals:
            for rival in rivals.values():
                rival.check(self._stream, expected)
            yield {name: rival.launch for name, rival in rivals.items()}


def compute_ratios(times: Mapping[str, float]) -> dict[str, float]:
    """Return {title: ratio}, without those whose rivals did not take the shape."""
    best = min(times[name] for name in KERNELS if name in times)
    found = {ratio.title: [times[name] for name in ratio.rivals if name in times] for ratio in RATIOS}
    return {title: best / min(rivals) for title, rivals in found.items() if rivals}


def format_heading(columns: list[str]) -> str:
    """Return the line above the table."""
    names = [*columns, *(ratio.title for ratio in RATIOS)]
    return " ".join(["experts/topk tokens seed", *(name.rjust(max(7, len(name))) for name in names)])


def format_row(point: Point, columns: list[str]) -> str:
    """Return one line; what was not timed is a dash."""
    sizes = point.sizes
    values = [(name, point.times_us.get(name), 2) for name in columns]
    values += [(ratio.title, point.ratios.get(ratio.title), 3) for ratio in RATIOS]
    cells = [
        ("-" if value is None else f"{value:.{digits}f}").rjust(max(7, len(name))) for name, value, digits in values
    ]
    return " ".join([f"{sizes.num_experts}/{sizes.topk}".rjust(12), f"{sizes.tokens:6d} {point.seed:4d}", *cells])


def summarize(points: list[Point]) -> dict[str, dict[str, Any]]:
    """Return the mean, the worst and the number of each ratio, over all token counts and over each."""
    summary: dict[str, dict[str, Any]] = {}
    for ratio in RATIOS:
        found = [(point.ratios[ratio.title], point) for point in points if ratio.title in point.ratios]
        if not found:
            continue
        worst, where = max(found, key=lambda one: one[0])
        counts = sorted({point.sizes.tokens for _, point in found})
        by_tokens = {count: [value for value, point in found if point.sizes.tokens == count] for count in counts}
        summary[ratio.title] = {
            "mean": compute_geometric_mean(value for value, _ in found),
            "worst": worst,
            "worst_at": where.name,
            "points": len(found),
            "by_tokens": {
                count: {"mean": compute_geometric_mean(values), "worst": max(values)}
                for count, values in by_tokens.items()
            },
        }
    return summary


def format_summary(summary: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the summary, with each limit and whether it holds."""
    for ratio in RATIOS:
        if ratio.title not in summary:
            continue
        found = summary[ratio.title]
        yield (
            f"{ratio.meaning}: geometric mean {_judge(found['mean'], ratio.mean)}, "
            f"worst {_judge(found['worst'], ratio.worst)} ({found['worst_at']}), {found['points']} points"
        )
        for count, values in found["by_tokens"].items():
            yield f"  {count:6d} tokens: geometric mean {values['mean']:.3f}, worst {values['worst']:.3f}"


def _judge(value: float, limit: float | None) -> str:
    if limit is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({'within' if value <= limit else 'ABOVE'} {limit})"


def write_result(path: Path, device: Mapping[str, Any], points: list[Point], summary: Mapping[str, Any]) -> None:
    """Write everything that was measured."""
    measured = [{**asdict(point.sizes), **asdict(point), "sizes": None} for point in points]
    for one in measured:
        del one["sizes"]
    path.write_text(json.dumps({**device, "summary": summary, "points": measured}, indent=1) + "\n")


def describe(bench: AlignBench, **options: Any) -> dict[str, Any]:
    """Return where and how a run was measured."""
    properties = bench.device.properties
    rivals: Rivals | None = bench.rivals
    return {
        "device": properties.name,
        "arch": properties.arch,
        "compute_units": properties.compute_units,
        "hip": properties.hip_version,
        "rivals": rivals.notes if rivals else [],
        **options,
    }


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="experts/topk, separated by commas")
@click.option("--tokens", default=f"{TOKENS},16384", show_default=True)
@click.option("--seeds", default="0", show_default=True, help="of the inputs, separated by commas")
@click.option("--block-size", default=32, show_default=True, help="rows of a block, a multiple of 4")
@click.option("--rounds", default=5, show_default=True, help="interleaved replays of each graph")
@click.option("--launches", default=LAUNCHES, show_default=True, help="operators in one graph")
@click.option("--wide", is_flag=True, help="give our kernels ids of 64 bits (the rivals keep 32)")
@click.option("--alone", is_flag=True, help="time our kernels without the rivals")
@click.option("--json", "path", default="align.json", show_default=True, type=click.Path(path_type=Path))
def main(
    *,
    shapes: str,
    tokens: str,
    seeds: str,
    block_size: int,
    rounds: int,
    launches: int,
    wide: bool,
    alone: bool,
    path: Path,
) -> None:
    """Print our align form beside vLLM's kernels, whose sources are in the folder that MOESORT_RIVALS names."""
    try:
        bench = AlignBench(None if alone else find_folder(os.environ), rounds, launches, wide=wide)
    except RivalsError as error:
        print(f"skipped: {error}")
        return
    device = describe(bench, rounds=rounds, launches=launches, wide=wide)
    print("\n".join(f"{name}: {value}" for name, value in device.items() if name != "rivals"))
    print("\n".join(device["rivals"]))
    columns = ["empty", *KERNELS, *(bench.rivals.names if bench.rivals else [])]
    print(format_heading(columns))
    points: list[Point] = []
    for sizes, seed in parse_points(shapes, tokens, seeds, block_size):
        points.append(bench.measure(sizes, seed))
        print(format_row(points[-1], columns), flush=True)
        write_result(path, device, points, summarize(points))  # after each, so that a crash loses nothing
    print("\n".join(format_summary(summarize(points))))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
