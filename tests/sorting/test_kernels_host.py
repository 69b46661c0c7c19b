"""The kernels under what only the host runtime can do: shuffled threads, other machines, a log of launches."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.device.libraries import detect_runtime
from moesort_tune.sorting.launches import KERNELS
from tests.sorting.edges import EDGES

ALL_CHECKED = f"checked {len(KERNELS) * len(EDGES)} sorts\n"


def run_on_host(*names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the edge cases, or those named, in a process with these settings of the host runtime."""
    settings = {**os.environ, "MOESORT_TUNE_RUNTIME": "host", **environment}
    return subprocess.run(
        [sys.executable, "-m", "tests.sorting.edges", *names],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("seed", ["1", "2", "3", "4", "5", "6"])
def test_sort_is_exact_in_any_order_of_threads(seed: str) -> None:
    """Protects against missing barriers: between two of them, threads and workgroups may run in any order."""
    answer = run_on_host(MOESORT_HOST_SEED=seed)
    assert answer.stdout == ALL_CHECKED, answer.stderr


@pytest.mark.parametrize("compute_units", ["1", "7", "304"])
def test_sort_is_exact_for_any_number_of_compute_units(compute_units: str) -> None:
    """Protects the cutting into chunks, which follows the device."""
    answer = run_on_host(MOESORT_HOST_COMPUTE_UNITS=compute_units)
    assert answer.stdout == ALL_CHECKED, answer.stderr


def test_sort_is_exact_with_waves_of_32() -> None:
    """Protects NVIDIA's GPUs on machines without one: nothing may assume 64 lanes."""
    answer = run_on_host(MOESORT_HOST_WAVEFRONT_SIZE="32")
    assert answer.stdout == ALL_CHECKED, answer.stderr


def test_moe_buf_beyond_32_bits_is_zeroed_whole() -> None:
    """Protects buffers of more than 4 GiB; without checking mode, whose shadow would be as large again."""
    answer = run_on_host("a buffer beyond 32 bits", MOESORT_HOST_CHECK="0")
    assert answer.stdout == "checked 3 sorts\n", answer.stderr


def test_checks_and_virtual_clock_go_together() -> None:
    """Protects sweeps under both: what tells the clock of a launch runs outside every kernel thread."""
    answer = run_on_host("few real rows", MOESORT_HOST_CHECK="1", MOESORT_HOST_CLOCK="*=1+0.1*tokens")
    assert answer.stdout == "checked 3 sorts\n", answer.stderr


def test_forced_kernel_is_the_one_that_runs(tmp_path: Path) -> None:
    """Protects every comparison: a kernel that was asked for is never replaced by another."""
    log = tmp_path / "launches"
    assert run_on_host(MOESORT_HOST_LAUNCH_LOG=str(log)).returncode == 0
    names = [line.split()[0] for line in log.read_text().splitlines()]
    expected: list[str] = []
    for _ in range(len(EDGES)):  # in the candidates' order; multiphase is two launches
        expected += ["moe_sorting_wave", "moe_sorting_oneshot", "moe_sorting_count", "moe_sorting_scatter"]
    assert [re.sub("_([0-9]+|word|many|most)$", "", name) for name in names] == expected


def test_attached_runtime_is_host_without_a_gpu() -> None:
    """Protects the promise that everything runs without a GPU."""
    expected = "host"
    if Path("/dev/kfd").exists():
        expected = "amd"
    elif Path("/dev/nvidiactl").exists():
        expected = "cuda"
    assert detect_runtime() == expected
