"""Print, in one run, the floors and both kernels' times over the grid of shapes that the kernels are judged by.

Columns, in microseconds of one operator in a replayed graph: an empty kernel of one workgroup, a memset of moe_buf
(tokens x 4096 x bfloat16), oneshot, multiphase, then the better kernel over the empty kernel and over the memset.

    python scripts/bench_gpu.py [--tokens 1,16,64] [--shapes 8/2,128/4] [--rounds 5] [--padding 0.25]
"""

import ctypes
from contextlib import closing

import click

from moesort_tune.device import hip
from moesort_tune.measure.engine import ONE_ROUND, Engine
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import GraphTimer, Launches, Stopwatch, Work
from moesort_tune.providers.facts.builtin import PROVIDER
from moesort_tune.sorting.inputs import make_inputs
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


def bench_shape(bench: Bench, num_experts: int, topk: int, tokens: int, padding: float) -> dict[str, float]:
    """Return the times of everything that is legal for one shape. padding: share of rows with one expert alone."""
    nbytes = tokens * MODEL_DIM * 2
    problem = Problem(tokens, topk, num_experts, moe_buf_bytes=nbytes)
    inputs = make_inputs(rows=tokens, topk=topk, num_experts=num_experts, seed=0)
    inputs.topk_ids[tokens - int(tokens * padding) :] = 0
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


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="experts/topk, separated by commas")
@click.option("--tokens", default=TOKENS, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="interleaved replays of each graph")
@click.option("--launches", default=LAUNCHES, show_default=True, help="operators in one graph")
@click.option("--padding", default=0.0, show_default=True, help="share of rows that name expert 0 in every slot")
def main(shapes: str, tokens: str, rounds: int, launches: int, padding: float) -> None:
    """Print floors and both kernels' times on the attached GPU."""
    bench = Bench(rounds, launches)
    properties = bench.device.properties
    print(
        f"{properties.name}, {properties.arch}, {properties.compute_units} compute units, HIP {properties.hip_version}"
    )
    print("experts/topk  tokens    empty   memset  oneshot   multi  better/empty  better/memset  better-memset")
    for shape in shapes.split(","):
        num_experts, topk = map(int, shape.split("/"))
        for count in map(int, tokens.split(",")):
            times = bench_shape(bench, num_experts, topk, count, padding)
            best = min(times[kernel] for kernel in KERNELS if kernel in times)
            oneshot = f"{times['oneshot']:8.2f}" if "oneshot" in times else "       -"
            floors = f"{times['empty']:8.2f} {times['memset']:8.2f}"
            print(
                f"{shape:>12} {count:7d} {floors} {oneshot} {times['multiphase']:7.2f}"
                f" {best / times['empty']:13.2f} {best / times['memset']:14.2f} {best - times['memset']:14.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
