"""What scripts/bench_rivals.py does without a GPU and without the rivals' sources."""

import ctypes
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rivals import plans, summary, triton_kernel
from rivals.gpu import check_alignment, convert_to_pairs
from rivals.plans import Pointers, RivalLaunch, Sizes
from rivals.sources import (
    RivalsError,
    find_source,
    find_symbol,
    instantiate,
    list_parameters,
    take_definition,
    take_line,
)

from moesort_tune.sorting.inputs import make_inputs
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting

REPOSITORY = Path(__file__).parents[2]
POINTERS = Pointers(topk_ids=0x1000, sorted_token_ids=0x2000, expert_ids=0x3000, total=0x4000, scratch=0x5000)
SOURCE = """\
#define CEILDIV(x, y) (((x) + (y) - 1) / (y))

namespace theirs {
// A brace in a comment: {
template <typename scalar_t, int32_t threads>
__global__ void align_kernel(
    const scalar_t* __restrict__ topk_ids, int32_t* out,
    size_t numel) {
  /* } */
  for (int i = 0; i < threads; ++i) {
    out[i] = topk_ids[i];  // }
  }
}

struct Arguments {
  int32_t numel;
};
}  // namespace theirs
"""


def run_script(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with these variables and without MOESORT_RIVALS unless it is among them."""
    kept = {name: value for name, value in os.environ.items() if name != "MOESORT_RIVALS"}
    return subprocess.run(
        [sys.executable, "scripts/bench_rivals.py"],
        cwd=REPOSITORY,
        env={**kept, "PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_script_without_the_folder_says_what_to_get() -> None:
    """A run that compares nothing must say so, and how to make one that does."""
    answer = run_script()
    assert answer.returncode == 0
    assert answer.stdout.startswith("skipped: MOESORT_RIVALS is not set\n")
    assert "vllm-project/vllm" in answer.stdout
    assert "pull/34131" in answer.stdout


def test_script_names_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    """A mistyped folder is no reason to compare with nothing silently."""
    missing = tmp_path / "nowhere"
    assert f"names {missing}, which is not a folder" in run_script(MOESORT_RIVALS=str(missing)).stdout


def list_launches(launches: list[RivalLaunch]) -> list[tuple[str, tuple[int, int], int, int]]:
    """Return what a launch is without its arguments."""
    return [(launch.kernel, launch.grid, launch.block, launch.lds_bytes) for launch in launches]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (Sizes(1, 2, 8), [("small_batch", (1, 1), 288, 4 * (33 * 8 + 9))]),
        (Sizes(170, 6, 64), [("small_batch", (1, 1), 320, 4 * (65 * 64 + 65))]),
        (Sizes(171, 6, 64), [("align", (2, 1), 1024, 256), ("sort", (1, 5), 256, 0)]),
        (Sizes(1, 4, 128), [("align", (2, 1), 1024, 512), ("sort", (1, 1), 256, 0)]),
        (Sizes(48, 9, 257), [("align", (2, 1), 1024, 1152), ("sort", (1, 2), 256, 0)]),
        (Sizes(12288, 10, 512), [("align", (2, 1), 1024, 2048), ("sort", (1, 480), 256, 0)]),
        (Sizes(4, 2, 1000), []),
    ],
)
def test_vllm_launches_as_its_host_code_does(
    sizes: Sizes, expected: list[tuple[str, tuple[int, int], int, int]]
) -> None:
    """Below 1024 pairs with up to 64 experts one kernel, else two; both sides of each limit."""
    names = {
        "small_batch": "moe_align_block_size_small_batch_expert_kernel",
        "align": "moe_align_block_size_kernel",
        "sort": "count_and_sort_expert_tokens_kernel",
    }
    launches = list_launches(plans.plan_vllm(sizes, POINTERS))
    assert launches == [(names[name], *rest) for name, *rest in expected]


def test_vllm_stable_path_ends_at_256_pairs() -> None:
    """Beyond them its host code refuses."""
    (launch,) = plans.plan_vllm_stable(Sizes(32, 8, 256), POINTERS)
    assert (launch.grid, launch.block, launch.lds_bytes) == ((1, 1), 1024, 0)
    assert plans.plan_vllm_stable(Sizes(33, 8, 256), POINTERS) == []


@pytest.mark.parametrize(
    ("sizes", "kernel", "block", "vectors"),
    [
        (Sizes(1, 8, 256), "moe_align_small_kernel", 256, 64),
        (Sizes(4, 8, 256), "moe_align_small_kernel", 1024, 256),
        (Sizes(5, 7, 8), "moe_align_small_x2_kernel", 576, (35 + 9 * 31) // 4),
        (Sizes(8, 8, 128), "moe_align_small_x2_kernel", 1024, 512),
    ],
)
def test_sglang_gives_each_warp_one_pair_or_two(sizes: Sizes, kernel: str, block: int, vectors: int) -> None:
    """Up to 32 pairs a warp each, up to 64 half as many; the vectors to fill are those of the worst case, floored."""
    (launch,) = plans.plan_sglang(sizes, POINTERS)
    assert (launch.kernel, launch.block) == (kernel, block)
    (params,) = launch.arguments
    assert isinstance(params, plans.MoEAlignParams)
    assert (params.numel, params.num_buckets, params.buffer_vecs) == (sizes.pairs, sizes.num_experts + 1, vectors)
    assert ctypes.sizeof(params) == 72


def test_sglang_pair_axis_ends_at_64_pairs() -> None:
    """Beyond them SGLang has other kernels, which scan the experts."""
    assert plans.plan_sglang(Sizes(13, 5, 8), POINTERS) == []


@pytest.mark.parametrize(
    ("sizes", "vllm", "sglang"),
    [
        (Sizes(1, 8, 256), 256, 256),
        (Sizes(32, 8, 256), 256 + 256 * 31, 256 * 32),
        (Sizes(48, 9, 257), 432 + 257 * 31, 432 + 258 * 31),
    ],
)
def test_outputs_are_as_large_as_the_wrappers_allocate(sizes: Sizes, vllm: int, sglang: int) -> None:
    """The kernels fill all of sorted_token_ids, so its length is part of their time."""
    assert (sizes.vllm_padded, sizes.sglang_padded) == (vllm, sglang)


def test_older_sources_get_no_scatter_argument() -> None:
    """scatter_idx came last; a signature of any other length is not the one that was planned for."""
    (launch,) = plans.plan_vllm(Sizes(1, 2, 8), POINTERS)
    names = [f"p{i}" for i in range(len(launch.arguments))]
    assert plans.match_parameters(launch, [*names[:-1], "scatter_idx"]) == launch
    assert len(plans.match_parameters(launch, names[:-1]).arguments) == len(names) - 1
    with pytest.raises(RivalsError, match=f"takes {len(names) + 1} arguments"):
        plans.match_parameters(launch, [*names, "new"])


def test_definition_is_cut_whole_and_unchanged() -> None:
    """Braces in comments end nothing."""
    kernel = take_definition(SOURCE, "align_kernel")
    assert kernel in SOURCE
    assert kernel.startswith("template <typename scalar_t, int32_t threads>\n__global__")
    assert kernel.endswith("// }\n  }\n}\n")
    assert list_parameters(kernel) == ["topk_ids", "out", "numel"]
    assert take_definition(SOURCE, "Arguments") == "struct Arguments {\n  int32_t numel;\n};\n"
    assert take_line(SOURCE, "#define CEILDIV(") == SOURCE.split("\n", 1)[0] + "\n"
    with pytest.raises(RivalsError, match="no definition of kernel"):
        take_definition(SOURCE, "kernel")


def test_instance_has_the_kernels_own_signature() -> None:
    """A declaration of ours would have to follow every change of theirs."""
    instance = instantiate(take_definition(SOURCE, "align_kernel"), "int32_t", "256")
    assert " ".join(instance.split()) == (
        "template __global__ void align_kernel<int32_t, 256>( "
        "const int32_t* __restrict__ topk_ids, int32_t* out, size_t numel);"
    )


def test_symbol_is_the_instance_of_that_kernel() -> None:
    """Sections and variables of a kernel have names that contain its own, and so do other kernels."""
    code = b"\0.text._ZN1a4sortIiEEvv\0_ZN1a4sortIiEEvv\0_ZZN1a4sortIiEEvvE4temp\0_ZN1a10count_sortIiEEvv\0"
    assert find_symbol(code, "sort") == "_ZN1a4sortIiEEvv"
    with pytest.raises(RivalsError, match="no instance of other"):
        find_symbol(code, "other")


def test_source_is_found_by_what_it_defines(tmp_path: Path) -> None:
    """A release and a branch lie side by side, and only one of them has the kernel."""
    for checkout, text in (("vllm", "// nothing\n"), ("vllm-branch", SOURCE)):
        (tmp_path / checkout / "csrc").mkdir(parents=True)
        (tmp_path / checkout / "csrc" / "align.cu").write_text(text)
    found = find_source(tmp_path, "vllm*", "align.cu", "align_kernel")
    assert found == tmp_path / "vllm-branch" / "csrc" / "align.cu"
    assert find_source(tmp_path, "vllm*", "align.cu", "other") is None


def test_triton_kernel_is_cut_with_its_decorator() -> None:
    """The file around it imports PyTorch and SGLang."""
    kernel = f"@triton.jit\ndef {triton_kernel.KERNEL}(\n    numel,\n):\n    pass\n"
    assert triton_kernel.cut_kernel(f"import torch\n\n\n{kernel}\n\ndef other():\n    pass\n") == kernel
    constants = triton_kernel.choose_constants(Sizes(1, 10, 512))
    assert constants == {"NP": 16, "NB": 16, "USE_GDC": False}


def make_expected() -> tuple[SortedOutputs, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    """Return the reference of 40 tokens with two of four experts, and its rows as pairs."""
    expected = moe_sorting(make_inputs(rows=40, topk=2, num_experts=4, seed=1), num_experts=4, unit_size=32)
    return expected, convert_to_pairs(expected, 2)


def test_rival_may_order_an_experts_pairs_as_it_likes() -> None:
    """vLLM's usual path takes its places by atomic additions; the stable ones promise the order of the pairs."""
    expected, wanted = make_expected()
    shuffled = wanted.copy()
    shuffled[[0, 1]] = shuffled[[1, 0]]
    outputs = len(wanted), shuffled, expected.sorted_expert_ids
    check_alignment("vllm", outputs, expected, topk=2, stable=False)
    with pytest.raises(RivalsError, match="at row 0"):
        check_alignment("vllm-stable", outputs, expected, topk=2, stable=True)


def test_wrong_rival_is_not_timed() -> None:
    """A pair of another expert, a padding row before a pair, a tile of another expert, or too few rows."""
    expected, wanted = make_expected()
    experts = expected.sorted_expert_ids
    first_padding = int(np.flatnonzero(wanted == 80)[0])
    for one, other in ((0, len(wanted) - 32), (first_padding - 1, first_padding)):
        exchanged = wanted.copy()
        exchanged[[one, other]] = exchanged[[other, one]]
        with pytest.raises(RivalsError, match="vllm has pair"):
            check_alignment("vllm", (len(wanted), exchanged, experts), expected, topk=2, stable=False)
    with pytest.raises(RivalsError, match="other experts"):
        check_alignment("vllm", (len(wanted), wanted, experts[::-1]), expected, topk=2, stable=False)
    with pytest.raises(RivalsError, match="rows"):
        check_alignment("vllm", (0, wanted[:0], experts[:0]), expected, topk=2, stable=False)


TIMES = {"empty": 0.8, "memset": 1.0, "a": 2.0, "a+buf": 3.0, "b": 4.0, "b+buf": 2.5, "vllm": 4.0, "vllm-stable": 3.2}


def test_ratios_take_our_best_and_the_faster_of_vllms_paths() -> None:
    """The kernel that is best with moe_buf need not be best without it."""
    ratios = summary.compute_ratios(TIMES, ("a", "b", "c"), ("vllm", "vllm-stable", "sglang"))
    assert ratios == {"buf/vllm": 2.5 / 5.0, "/vllm": 2.0 / 3.2, "/fastest": 2.0 / 3.2}
    without = {name: time for name, time in TIMES.items() if not name.startswith("vllm")}
    assert summary.compute_ratios({**without, "sglang": 5.0}, ("a", "b"), ("sglang",)) == {"/fastest": 0.4}


def test_summary_is_the_geometric_mean_and_the_worst_shape() -> None:
    """An arithmetic mean of ratios would weigh the slow shapes more."""
    assert math.isclose(summary.compute_geometric_mean([0.25, 1.0]), 0.5)
    result = summary.Summary()
    result.add("8/2, 1 tokens", {"/vllm": 0.25}, {"a": 1.0, "vllm": 4.0})
    result.add("8/2, 8 tokens", {"/vllm": 1.0}, {"a": 1.0, "vllm": 1.0})
    first, *columns = result.format_lines()
    assert first.endswith("geometric mean 0.500, worst 1.000 (8/2, 8 tokens), 2 shapes")
    assert [line.split(":")[0].strip() for line in columns] == ["a", "vllm"]
    assert " 2.00 times our best" in columns[1]


def test_sizes_of_a_tile_may_change() -> None:
    """The wrappers' formulas hold for every unit."""
    assert replace(Sizes(1, 8, 256), unit_size=64).vllm_padded == 512
