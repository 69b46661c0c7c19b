"""What scripts/bench_align.py does without a GPU and without the rivals' sources."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bench_align
import pytest
from bench_align import Point
from rivals.plans import Sizes

REPOSITORY = Path(__file__).parents[2]


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the host runtime, without MOESORT_RIVALS."""
    kept = {name: value for name, value in os.environ.items() if name != "MOESORT_RIVALS"}
    return subprocess.run(
        [sys.executable, "scripts/bench_align.py", "--json", str(folder / "align.json"), *arguments],
        cwd=REPOSITORY,
        env={**kept, "PYTHONPATH": str(REPOSITORY), "MOESORT_TUNE_RUNTIME": "host"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_script_without_the_folder_says_what_to_get(tmp_path: Path) -> None:
    """A run that compares nothing must say so, and leaves no result."""
    assert run_script(tmp_path).stdout.startswith("skipped: MOESORT_RIVALS is not set\n")
    assert not (tmp_path / "align.json").exists()


def test_script_alone_checks_times_and_writes_each_kernel(tmp_path: Path) -> None:
    """Protects the one call on a GPU: all that is ours runs here as it does there."""
    options = ("--shapes", "8/2", "--tokens", "1,40", "--seeds", "0,3", "--rounds", "1", "--launches", "1")
    answer = run_script(tmp_path, "--alone", *options)
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "align.json").read_text())
    assert [(point["tokens"], point["seed"]) for point in result["points"]] == [(1, 0), (40, 0), (1, 3), (40, 3)]
    assert set(result["points"][0]["times_us"]) == {"empty", "wave", "oneshot", "multiphase"}
    assert result["arch"] == "host"
    assert result["summary"] == {}


def make_point(tokens: int, times: dict[str, float]) -> Point:
    """Return a point whose ratios are those of its times."""
    return Point(Sizes(tokens, 2, 8), 0, times, bench_align.compute_ratios(times))


POINTS = [
    make_point(1, {"empty": 1, "wave": 2, "oneshot": 3, "vllm": 8, "vllm-stable": 4, "sglang": 1}),
    make_point(2048, {"empty": 1, "multiphase": 5, "vllm": 5}),
]


def test_ratios_are_of_our_best_to_each_path() -> None:
    """Protects the limits from another rival's times: SGLang's are printed only."""
    assert POINTS[0].ratios == {"/vllm": 0.5, "/stable": 0.5, "/usual": 0.25}
    assert POINTS[1].ratios == {"/vllm": 1.0, "/usual": 1.0}


def test_summary_names_the_worst_and_what_exceeds_a_limit() -> None:
    """Protects the verdict: means, worst and limits over all points and for each token count."""
    summary = bench_align.summarize(POINTS)
    assert summary["/vllm"]["mean"] == pytest.approx(0.5**0.5)
    assert summary["/vllm"]["by_tokens"][2048] == {"mean": 1.0, "worst": 1.0}
    first, *_ = lines = list(bench_align.format_summary(summary))
    assert first == (
        "our best over the faster of vLLM's paths: geometric mean 0.707 (ABOVE 0.45), "
        "worst 1.000 (ABOVE 0.9) (8/2, 2048 tokens, seed 0), 2 points"
    )
    assert any(line.startswith("our best over vLLM's stable path: geometric mean 0.500 (within 0.6)") for line in lines)
