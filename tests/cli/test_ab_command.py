"""`moesort-tune ab`: usage, and a replay under a clock whose crossing is known."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from moesort_tune.cli.ab import ab, list_remarks
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.statistics import Interval
from moesort_tune.replay.job import shorten_memory_errors
from moesort_tune.replay.steps import PolicyResult
from moesort_tune.sorting.revision import compute_kernels_revision
from moesort_tune.tables import store
from moesort_tune.tables.schema import Kernels
from tests.cli.swept import build_clock
from tests.tables import examples

CLOCK = build_clock("300+10*tokens", wave="260+10*tokens")
"""Wave takes 40 us less than oneshot, and oneshot and multiphase both take 700 us at 40 tokens."""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--model'"),
        (["--model", "gpt-5"], "no model is called 'gpt-5'; there are mixtral-8x7b"),
        (["--model", "deepseek"], "no model is called 'deepseek'; did you mean deepseek-v3"),
        (["--model", "gpt-oss-120b", "--repeats", "0"], "0 is not in the range 1<=x<=1000"),
        (["--model", "gpt-oss-120b", "--concurrency", "16,x"], "got '16,x'"),
        (["--model", "gpt-oss-120b", "--concurrency", "16,0"], "expected integers from 1 to 8192, got '16,0'"),
        (
            ["--model", "gpt-oss-120b", "--trace", "steps.txt", "--concurrency", "4", "--input-tokens", "9"],
            "--trace names the steps themselves, so --concurrency, --input-tokens cannot be given with it",
        ),
        (["--model", "gpt-oss-120b", "--kernels", "align"], "ab replays the torch operator moe_sorting"),
    ],
)
def test_bad_values_are_bad_usage_and_quoted(arguments: list[str], words: str) -> None:
    """Every bad value ends with status 2 and a sentence that shows it."""
    result = CliRunner().invoke(ab, arguments)
    assert result.exit_code == 2
    assert words in result.output


def run_ab(folder: Path, *options: str, runtime: str = "host") -> "subprocess.CompletedProcess[str]":
    """Run `ab` in a process of its own, on the host runtime whose kernels keep to CLOCK."""
    environment = os.environ | {
        "MOESORT_TUNE_RUNTIME": runtime,
        "MOESORT_HOST_CHECK": "0",
        "MOESORT_HOST_CLOCK": CLOCK,
        "MOESORT_HOST_COMPUTE_UNITS": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "moesort_tune.cli.main", "ab", "--model", "gpt-oss-120b", *options]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def replay(folder: Path, *options: str) -> Any:
    """Return what `ab --json` prints."""
    answer = run_ab(folder, "--json", *options)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def write_table(folder: Path, switch: int) -> Path:
    """Return a table of these kernels on two cores: wave below 20 tokens, multiphase from `switch` on."""
    row = examples.row(128, 4, policy=((1, "wave"), (20, "oneshot"), (switch, "multiphase")))
    entry = examples.entry(
        [row],
        device=examples.device(compute_units=2),
        kernels=Kernels(provider="builtin", revision=compute_kernels_revision("host")),
    )
    path = folder / "host.yaml"
    store.save(path, examples.table(entry, arch="host"))
    return path


def test_replay_says_what_each_way_costs(tmp_path: Path) -> None:
    """Steps of 48, 48 and 16 tokens: AITER's rule takes oneshot for all, 780 + 780 + 460 us; the best is 1820 us.

    The builtin rule takes wave for 16 tokens, which is 40 us less.
    """
    (tmp_path / "steps.txt").write_text("48\n48\n16\n")
    table = write_table(tmp_path, switch=41)
    result = replay(tmp_path, "--trace", "steps.txt", "--table", str(table), "--repeats", "3")
    (run,) = result["runs"]
    per_step = {way["name"]: round(way["us_per_step"]["median"], 1) for way in run["results"]}
    assert per_step == {
        "AITER's rule": 673.3,
        "the builtin rule": 660.0,
        "best constant (2048, else wave)": 606.7,
        "first encounter": 606.7,
        "table": 606.7,
        "oracle": 606.7,
    }
    table_result = next(way for way in run["results"] if way["name"] == "table")
    assert round(table_result["speedup"]["median"], 3) == 1.11


def test_every_layer_sorts_once_a_step(tmp_path: Path) -> None:
    """Protects the unit: microseconds of a step are those of all of the model's MoE layers."""
    (tmp_path / "steps.txt").write_text("16\n")
    result = replay(tmp_path, "--trace", "steps.txt", "--layers", "3", "--repeats", "1")
    way = result["runs"][0]["results"][0]
    assert round(way["us_per_step"]["median"]) == 3 * 460
    assert result["table"] is None


def test_table_is_asked_for_each_size(tmp_path: Path) -> None:
    """Protects the comparison from a table that is wrong: its cost shows."""
    (tmp_path / "steps.txt").write_text("48\n")
    table = write_table(tmp_path, switch=100)
    (run,) = replay(tmp_path, "--trace", "steps.txt", "--table", str(table), "--repeats", "1")["runs"]
    costs = {way["name"]: round(way["us_per_step"]["median"]) for way in run["results"]}
    assert (costs["table"], costs["oracle"]) == (780, 700)


def test_result_as_json_says_what_was_replayed(tmp_path: Path) -> None:
    """Protects whoever keeps results: model, repeats and seed are in them."""
    (tmp_path / "steps.txt").write_text("16\n")
    result = replay(tmp_path, "--trace", "steps.txt", "--repeats", "2", "--seed", "7")
    assert (result["name"], result["repeats"], result["seed"]) == ("gpt-oss-120b", 2, 7)
    assert result["model"]["shape"] == {"num_experts": 128, "topk": 4}


def test_tokens_may_be_routed_as_they_were_served(tmp_path: Path) -> None:
    """Protects a replay of served routing: its name is in the result, and a trace of another model is refused."""
    (tmp_path / "steps.txt").write_text("16\n")
    ids = [[0, 1, 2, 127], [5, 6, 7, 8]]
    np.savez(tmp_path / "routing.npz", num_experts=128, tokens=[2], topk_ids=ids)
    options = ("--trace", "steps.txt", "--repeats", "1", "--routing", "trace:routing.npz")
    assert replay(tmp_path, *options)["routing"].startswith("trace:")
    np.savez(tmp_path / "routing.npz", num_experts=8, tokens=[1], topk_ids=[[0, 1]])
    answer = run_ab(tmp_path, *options)
    assert answer.returncode == 2
    assert "holds the routing of 8/2, not that of gpt-oss-120b, 128/4" in answer.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("repeats", "words"),
    [("1", "one repeat, so nothing is known of the scatter"), ("5", "medians of 5 repeats [their range]")],
)
def test_brackets_say_what_they_are(tmp_path: Path, repeats: str, words: str) -> None:
    """Protects the reader: five repeats give a range, and one gives nothing."""
    (tmp_path / "steps.txt").write_text("16\n")
    answer = run_ab(tmp_path, "--trace", "steps.txt", "--repeats", repeats)
    assert words in answer.stdout
    assert ("[460.00" in answer.stdout) == (repeats == "5")


def make_result(name: str, us: float, speedup: tuple[float, float, float]) -> PolicyResult:
    """Return one way, its speedup as median, low and high."""
    return PolicyResult(name, Interval(us, us - 1, us + 1), Interval(*speedup))


RULE = make_result("AITER's rule", 100.0, (1.0, 1.0, 1.0))
BETTER = make_result("table", 90.0, (1.11, 1.09, 1.12))
LIKE_RULE = make_result("first encounter", 99.0, (1.01, 0.99, 1.02))


@pytest.mark.parametrize(
    ("others", "oracle_us", "sentences"),
    [
        ([BETTER], 90.0, []),
        ([BETTER, LIKE_RULE], 89.0, ["No difference from AITER's rule is shown for first encounter: "]),
        ([BETTER], 90.9, ["loses to table: differences of 1.0% mean nothing here."]),
        ([], 101.0, ["loses to AITER's rule: differences of 1.0% mean nothing here."]),
    ],
)
def test_differences_that_mean_nothing_are_named(
    others: list[PolicyResult], oracle_us: float, sentences: list[str]
) -> None:
    """Protects the reader from a gain that is noise: brackets that hold 1, and an oracle that is beaten."""
    results = [RULE, *others, make_result("oracle", oracle_us, (1.1, 1.08, 1.12))]
    remarks = list(list_remarks(results, repeats=5))
    assert len(remarks) == len(sentences)
    assert all(sentence in remark for sentence, remark in zip(sentences, remarks, strict=True))


def test_one_repeat_has_no_brackets_to_speak_of() -> None:
    """Protects from a sentence on a scatter that nobody has seen."""
    oracle = make_result("oracle", 90.0, (1.1, 1.1, 1.1))
    assert list(list_remarks([RULE, LIKE_RULE, oracle], repeats=1)) == []


def test_columns_of_long_and_short_names_stand_below_each_other(tmp_path: Path) -> None:
    """Protects whoever reads down a column: the constant's name is longer than the others."""
    (tmp_path / "steps.txt").write_text("48\n16\n")
    lines = run_ab(tmp_path, "--trace", "steps.txt", "--repeats", "2").stdout.splitlines()
    ways = [line for line in lines if line.endswith("]") and line.startswith("  ")]
    assert len({line.index("[") for line in ways}) == 1
    assert any(line.startswith("  best constant (") for line in ways)


@pytest.mark.parametrize(
    ("options", "runtime", "words"),
    [
        (["--device", "5"], "host", "the host runtime has one device, number 0, so --device 5 is not there"),
        ([], "xyz", "the HIP runtime must be one of"),
        (["--table", "gfx942.yaml"], "host", "gfx942.yaml has no entry for this device and these kernels: "),
    ],
)
def test_device_or_table_that_cannot_be_used_is_an_error(
    tmp_path: Path, options: list[str], runtime: str, words: str
) -> None:
    """Protects results from another device's, or another table's, name."""
    store.save(tmp_path / "gfx942.yaml", examples.table())
    (tmp_path / "steps.txt").write_text("16\n")
    answer = run_ab(tmp_path, "--trace", "steps.txt", *options, runtime=runtime)
    assert answer.returncode == 1
    assert words in answer.stderr


def test_lack_of_memory_is_told_in_a_sentence() -> None:
    """Protects from torch's many: the step that was too large is named."""
    with pytest.raises(MoesortTuneError, match="not enough memory for steps of 99 tokens"), shorten_memory_errors(99):
        torch.empty(1 << 60, dtype=torch.uint8)
