"""Print the host cost of one alignment from Python, ours beside the C++ operator that vLLM's own sources make.

    MOESORT_RIVALS=~/rivals python scripts/bench_align_operator.py [--json align_operator.json]

Needs an NVIDIA GPU, CUDA's compiler, and a whole checkout of vLLM in that folder: its operator is compiled as it is,
which takes a minute or two. Both fill tensors that the caller has made, as vLLM's call site does. Every batch of calls
begins with an idle device, and ends when its launches are queued; the last column is the time of a call when nothing
is queued before it, until the device has ended it. --alone times ours only, on any device.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import torch
from bench_operator import measure_us
from rivals.sources import RivalsError, find_folder, find_source

from moesort_tune.operator.align import fill_aligned
from moesort_tune.sorting.align import AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.inputs import make_inputs

SHAPES = "8/2,128/4,128/8,256/8,384/8"
TOKENS = "1,8,32,128,512,2048"
BLOCK_SIZE = 32
SINGLE_CALLS = 200

BINDING = """\
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <optional>
using torch::stable::Tensor;
void moe_align_block_size(Tensor, int64_t, int64_t, Tensor, Tensor, Tensor, std::optional<Tensor>,
                          std::optional<Tensor>);
STABLE_TORCH_LIBRARY_FRAGMENT(rival_vllm, m) {
  m.def("moe_align_block_size(Tensor topk_ids, int num_experts, int block_size, Tensor! sorted_token_ids, "
        "Tensor! experts_ids, Tensor! num_tokens_post_pad, Tensor? maybe_expert_map, Tensor? scatter_idx) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(rival_vllm, CUDA, m) {
  m.impl("moe_align_block_size", TORCH_BOX(&moe_align_block_size));
}
"""

Call = Callable[[], None]


class Operands:
    """The tensors of one alignment on a device, with the lengths that vLLM allocates."""

    def __init__(self, num_experts: int, topk: int, tokens: int, device: torch.device) -> None:
        self.inputs = AlignInputs(make_inputs(rows=tokens, topk=topk, num_experts=num_experts, seed=0).topk_ids)
        self.problem = AlignProblem(tokens, topk, num_experts, BLOCK_SIZE)
        self.ids = torch.from_numpy(self.inputs.topk_ids).to(device)
        lengths = (self.problem.capacity_rows, self.problem.capacity_blocks, 1)
        self.outputs = tuple(self.ids.new_empty(length) for length in lengths)

    def call_ours(self) -> None:
        """Enqueue ours."""
        fill_aligned(self.ids, self.problem.num_experts, BLOCK_SIZE, *self.outputs)

    def call_vllm(self) -> None:
        """Enqueue vLLM's."""
        operator = torch.ops.rival_vllm.moe_align_block_size
        operator(self.ids, self.problem.num_experts, BLOCK_SIZE, *self.outputs, None, None)

    def check(self, call: Call, *, stable: bool) -> None:
        """Run one call and compare its outputs; where it is not stable, the rows of each block as a set."""
        for output in self.outputs:
            output.fill_(-99)
        call()
        rows, blocks, used = (output.cpu().numpy().astype("int64") for output in self.outputs)
        expected = align_block_size(self.inputs, self.problem)
        number = int(expected.num_tokens_post_pad[0])
        expert_of_row = expected.expert_ids.astype("int64").repeat(BLOCK_SIZE)[:number]
        wanted = expected.sorted_token_ids.astype("int64")[:number]
        got = rows[:number]
        if not stable:
            got, wanted = (one[(expert_of_row << 32 | one).argsort()] for one in (got, wanted))
        blocks_differ = (blocks[: number // BLOCK_SIZE] != expected.expert_ids[: number // BLOCK_SIZE]).any()
        if int(used[0]) != number or blocks_differ or (got != wanted).any():
            raise RivalsError(f"the outputs are wrong for {self.problem}")


def load_vllm(folder: Path) -> None:
    """Compile vLLM's operator from its sources. Raise RivalsError where they are not there."""
    from torch.utils import cpp_extension  # only where there is a compiler

    source = find_source(folder, "vllm*", "moe_align_sum_kernels.cu", "count_and_sort_expert_tokens_kernel")
    root = next((parent for parent in source.parents if parent.name == "csrc"), None) if source else None
    if source is None or root is None or not (root / "torch_utils.h").exists():
        raise RivalsError("this folder has no whole checkout of vLLM, whose operator is to be compiled")
    binding = Path(tempfile.mkdtemp()) / "binding.cpp"
    binding.write_text(BINDING)
    cpp_extension.load(
        "rival_vllm",
        [str(source), str(binding)],
        extra_include_paths=[str(root)],
        extra_cuda_cflags=["-O3", "-DUSE_CUDA", "--expt-relaxed-constexpr", "-std=c++20"],
        extra_cflags=["-O3", "-DUSE_CUDA", "-std=c++20"],
        is_python_module=False,
    )


def measure_single_us(call: Call, device: torch.device) -> float:
    """Return the median time of a call that finds an idle device, until the device has ended it."""
    times = []
    for _ in range(SINGLE_CALLS):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - started) * 1e6)
    return median(times)


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="experts/topk, separated by commas")
@click.option("--tokens", default=TOKENS, show_default=True)
@click.option("--alone", is_flag=True, help="time ours without vLLM's")
@click.option("--json", "path", default="align_operator.json", show_default=True, type=click.Path(path_type=Path))
def main(shapes: str, tokens: str, alone: bool, path: Path) -> None:
    """Print the host cost of an alignment, ours beside vLLM's."""
    try:
        if not alone:
            load_vllm(find_folder(os.environ))
    except RivalsError as error:
        print(f"skipped: {error}")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "host"
    names = ("ours",) if alone else ("ours", "vllm")
    print(f"{name}: host microseconds of a call; in brackets until the device has ended it")
    points = []
    for shape in shapes.split(","):
        num_experts, topk = map(int, shape.split("/"))
        for count in map(int, tokens.split(",")):
            operands = Operands(num_experts, topk, count, device)
            calls: dict[str, Call] = {"ours": operands.call_ours, "vllm": operands.call_vllm}
            times = {}
            for one in names:
                operands.check(calls[one], stable=one == "ours")
                times[one] = (measure_us(calls[one], device), measure_single_us(calls[one], device))
            points.append({"num_experts": num_experts, "topk": topk, "tokens": count, "times_us": times})
            text = "  ".join(f"{one} {queued:6.1f} ({single:6.1f})" for one, (queued, single) in times.items())
            print(f"{shape:>8} {count:6d}  {text}", flush=True)
    path.write_text(json.dumps({"device": name, "block_size": BLOCK_SIZE, "points": points}, indent=1) + "\n")


if __name__ == "__main__":
    main()
