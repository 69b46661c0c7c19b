"""Print, in one run, the floors and each kernel's times over the grid of shapes that the kernels are judged by.

Columns, in microseconds of one operator in a replayed graph: an empty kernel of one workgroup, a memset of moe_buf
(tokens x 4096 x bfloat16), each kernel, then the best kernel over the empty kernel and over the memset, and wave over
oneshot.

    python scripts/bench_gpu.py [--tokens 1,16,64 | --pairs 32,64] [--shapes 8/2,128/4] [--rounds 5] [--padding 0.25]
"""

import ctypes
from contextlib import closing
from dataclasses import dataclass, replace

import click

from moesort_tune.device import hip
from moesort_tune.measure.engine import ONE_ROUND, Engine
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import GraphTimer, Launches, Stopwatch, Work
from moesort_tune.providers.facts.builtin import PROVIDER
from moesort_tune.sorting.inputs import SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import Problem

SHAPES = "8/2,32/4,128/4,128/8,256/8,384/8,512/10"
TOKENS = "1,16,64,256,1024,4096,16384"
KERNELS = tuple(candidate.name for candidate in PROVIDER.facts.candidates)
MODEL_DIM = 4096
LAUNCHES = 200
EMPTY = b'struct Nothing { void* nothing; };\nextern "C" __global__ void empty(const Nothing nothing) {}\n'


class Nothing(ctypes.Structure):
    """Arguments of the empty kernel."""

    _fields_ = (("nothing", ctypes.c_void_p),)


class Bench:
    """Hold one device with its kernels. rounds: that count; launches: of one work in its graph."""

    def __init__(self, rounds: int, launches: int) -> None:
        """Open the attached device."""
        self.device = hip.open_device()
        self.kernels = SortingKernels(self.device)
        self._stopwatch = Stopwatch(self.device, self.device.create_stream())
        self._rule = StoppingRule.make_fixed(rounds)
        self._launches = Launches(launches, launches)

    def measure(self, works: dict[str, Work]) -> dict[str, float]:
        """Return the median microseconds of each work, its replays interleaved with the others'."""
        variants = {(name, 0): work for name, work in works.items()}
        with closing(GraphTimer(self._stopwatch, variants, launches=self._launches)) as timer:
            engine = Engine(timer, tuple(works), variants=1, rule=self._rule, warm_up=ONE_ROUND)
            return {name: interval.median for name, interval in engine.measure().times_us.items()}


def prepare_empty_kernel(device: hip.Device) -> hip.PreparedLaunch:
    """Prepare a kernel that does nothing, one workgroup of one wave."""
    options = (f"--offload-arch={device.properties.arch}", "-std=c++17")
    code = hip.compile_source(name="empty.hip", source=EMPTY, headers={}, options=options)
    kernel = device.load(code).get_kernel("empty")
    return kernel.prepare(grid=1, block=device.properties.wavefront_size, lds_bytes=0, arguments=Nothing())


@dataclass(frozen=True)
class Options:
    """Options of every sort. padding: share of rows that name expert 0 in every slot."""

    padding: float
    moe_buf: bool
    masked: bool
    counted: bool

    def make_inputs(self, tokens: int, topk: int, num_experts: int) -> SortingInputs:
        """Return uniform inputs; masked ones enable half of the experts, counted ones all rows."""
        inputs = make_inputs(rows=tokens, topk=topk, num_experts=num_experts, seed=0)
        inputs.topk_ids[tokens - int(tokens * self.padding) :] = 0
        if self.masked:
            inputs = replace(inputs, local_expert_mask=make_mask(num_experts, rank=0, ranks=2))
        return replace(inputs, num_local_tokens=tokens) if self.counted else inputs


def bench_shape(bench: Bench, num_experts: int, topk: int, tokens: int, options: Options) -> dict[str, float]:
    """Return the times of everything that is legal for one shape."""
    nbytes = tokens * MODEL_DIM * 2
    problem = Problem(tokens, topk, num_experts, moe_buf_bytes=nbytes if options.moe_buf else 0)
    inputs = options.make_inputs(tokens, topk, num_experts)
    with bench.kernels.prepare(problem, inputs) as prepared, bench.device.allocate(nbytes) as buffer:
        works: dict[str, Work] = {
            "empty": prepare_empty_kernel(bench.device).launch,
            "memset": lambda stream: stream.memset(buffer, 0, nbytes),
        }
        for kernel in KERNELS:
            try:
                prepared.prepare_launches(kernel)
            except KernelTooLargeError:
                continue
            works[kernel] = lambda stream, kernel=kernel: prepared.launch(kernel, stream)  # type: ignore[misc]
        return bench.measure(works)


def format_line(shape: str, tokens: int, times: dict[str, float]) -> str:
    """Return the line of one shape."""
    best = min(times[kernel] for kernel in KERNELS if kernel in times)
    columns = [f"{times[name]:10.2f}" if name in times else "         -" for name in ("empty", "memset", *KERNELS)]
    ratio = f"{times['wave'] / times['oneshot']:12.3f}" if {"wave", "oneshot"} <= times.keys() else ""
    over = f"{best / times['empty']:10.2f} {best / times['memset']:11.2f}"
    return f"{shape:>12} {tokens:6d} {''.join(columns)} {over}{ratio}"


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="experts/topk, separated by commas")
@click.option("--tokens", default=TOKENS, show_default=True)
@click.option("--pairs", help="instead of tokens: as many as have at most so many (token, slot) pairs")
@click.option("--rounds", default=5, show_default=True, help="interleaved replays of each graph")
@click.option("--launches", default=LAUNCHES, show_default=True, help="operators in one graph")
@click.option("--padding", default=0.0, show_default=True, help="share of rows that name expert 0 in every slot")
@click.option("--moe-buf/--no-moe-buf", default=True, show_default=True, help="zero a moe_buf")
@click.option("--masked", is_flag=True, help="half of the experts are on")
@click.option("--counted", is_flag=True, help="the number of tokens is read on the device")
def main(shapes: str, tokens: str, pairs: str | None, rounds: int, launches: int, **options: float | bool) -> None:
    """Print floors and each kernel's times on the attached GPU."""
    bench = Bench(rounds, launches)
    properties = bench.device.properties
    print(
        f"{properties.name}, {properties.arch}, {properties.compute_units} compute units, HIP {properties.hip_version}"
    )
    columns = "".join(f"{name:>10}" for name in ("empty", "memset", *KERNELS))
    print(f"experts/topk tokens {columns} best/empty best/memset wave/oneshot")
    for shape in shapes.split(","):
        num_experts, topk = map(int, shape.split("/"))
        counts = (
            [int(limit) // topk for limit in pairs.split(",")] if pairs else [int(count) for count in tokens.split(",")]
        )
        for count in dict.fromkeys(max(1, count) for count in counts):
            times = bench_shape(bench, num_experts, topk, count, Options(**options))  # type: ignore[arg-type]
            print(format_line(shape, count, times), flush=True)


if __name__ == "__main__":
    main()
