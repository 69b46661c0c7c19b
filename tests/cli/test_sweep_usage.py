"""What `sweep` refuses before it opens a device, and what it plans without one."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from moesort_tune.cli.sweep import sweep
from moesort_tune.domain.presets import MODELS


def run(*arguments: str) -> Result:
    """Run `moesort-tune sweep` with these arguments, in this process."""
    return CliRunner().invoke(sweep, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--experts", "0", "--topk", "1"], "expected 1 to 1024 experts, got 0"),
        (["--experts", "8,x", "--topk", "1"], "expected integers with commas between them, got '8,x'"),
        (["--tokens", "5:1"], "expected 1 <= FIRST <= LAST <= 16777215, got '5:1'"),
        (["--tokens", "few"], "expected FIRST:LAST, like 1:16384, got 'few'"),
        (["--experts", "512", "--topk", "300"], "expected topk from 1 to 255, got 300"),
        (["--experts", "4", "--topk", "8"], "topk must not exceed the number of experts, got topk 8 with 4 experts"),
        (["--experts", "8,64,128", "--topk", "2,6"], "got 3 and 2 values"),
        (["--experts", "8"], "--experts and --topk need each other"),
        (["--topk", "8"], "--experts and --topk need each other"),
        (["--arch", "gfx95"], "'gfx95' is not known; did you mean gfx950"),
        (["--arch", "mi300x"], "'mi300x' is a product; its architecture is gfx942"),
        (["--arch", "cdna"], "'cdna' is not known; there are auto, gfx90a, gfx942, gfx950"),
        (["--model", "gpt-5"], "no preset is called 'gpt-5'; there are mixtral-8x7b"),
        (["--model", "GPT-OSS-120"], "no preset is called 'GPT-OSS-120'; did you mean gpt-oss-120b"),
        (["--routing", "zipf:x"], "routing must be uniform or zipf:EXPONENT"),
        (["--routing", "dirichlet:0"], "dirichlet:CONCENTRATION with a concentration from 0.01 to 100"),
        (["--ep", "16", "--experts", "8", "--topk", "2"], "--ep 16 leaves ranks without one of the 8 experts"),
        (["--ep", "8", "--condition", "with-moe-buf"], "--ep 8 needs the condition masked: --condition masked"),
        (["--condition", "masked", "--experts", "2", "--topk", "1"], "--ep 4 leaves ranks without one of the 2"),
        (["--condition", "bare"], "no condition is called 'bare'; there are with-moe-buf, without-moe-buf, masked"),
        (["--cold"], "use eager timing with it"),
        (["--unit-size", "0"], "0 is not in the range 1<=x<=1024"),
        (["--time-budget", "0"], "0.0 is not in the range x>0"),
        (["--timing", "cold"], "'cold' is not one of"),
        (["--operation", "sorting", "--kernels", "align"], "--kernels align compute moe_align_block_size, and"),
        (["--operation", "align", "--kernels", "builtin"], "--operation align is moe_align_block_size; leave one out"),
        (["--operation", "align", "--kernels", "aiter"], "--kernels aiter compute moe_sorting, and --operation align"),
        (["--operation", "align", "--condition", "masked"], "moe_align_block_size has no condition masked: it zeroes"),
        (["--kernels", "align", "--condition", "without-moe-buf,with-moe-buf"], "has no condition with-moe-buf"),
        (["--operation", "align", "--ep", "8"], "an expert map changes one load of a pair"),
        (["--operation", "topk"], "'topk' is not one of 'sorting', 'align'"),
        (["--tokens", "1:16777215", "--experts", "512", "--topk", "255"], "must be below 2^31"),
    ],
)
def test_bad_values_are_bad_usage_and_quoted(arguments: list[str], words: str) -> None:
    """Every bad value ends with status 2 and a sentence that shows it, before any device is opened."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--operation", "align"),
        ("--kernels", "align"),
        ("--operation", "align", "--kernels", "all"),
        ("--operation", "align", "--kernels", "align", "--condition", "without-moe-buf"),
    ],
)
def test_align_operation_has_its_own_kernels_and_one_condition(arguments: tuple[str, ...]) -> None:
    """The operation and its kernels stand for each other, and nobody waits for conditions that change nothing."""
    result = run("--dry-run", "--arch", "sm_90", "--tokens", "1:64", "--experts", "8,64", "--topk", "2", *arguments)
    lines = result.output.splitlines()
    assert "sm_90, kernels align, graph timing -> tables/sm_90.yaml" in lines[0]
    assert "kernels builtin" not in result.output
    assert [line.split()[:2] for line in lines[2:4]] == [[shape, "moe_align_block_size"] for shape in ("8/2", "64/2")]


def test_sorting_is_swept_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people swept before there was another operation is what they sweep now."""
    monkeypatch.chdir(tmp_path)
    result = run("--dry-run", "--arch", "sm_90", "--tokens", "1:64")
    assert "kernels builtin" in result.output
    assert "align" not in result.output


def test_trace_is_swept_for_its_own_shape_alone(tmp_path: Path) -> None:
    """Routing of one model says nothing about another's; without shapes the trace's is meant."""
    trace = tmp_path / "routing.npz"
    np.savez(trace, num_experts=16, tokens=[1], topk_ids=[[0, 1]])
    options = ("--dry-run", "--arch", "gfx950", "--tokens", "1:64", "--routing", f"trace:{trace}")
    assert "16/2" in run(*options).output
    result = run(*options, "--model", "gpt-oss-120b")
    assert result.exit_code == 2
    assert "holds the routing of 16/2, not that of 128/4" in " ".join(result.output.split())


def test_missing_misses_file_is_reported(tmp_path: Path) -> None:
    """A file that is not there is a failure, not a sweep of something else."""
    result = run("--from-misses", str(tmp_path / "none.csv"))
    assert "cannot read misses from" in str(result.exception)


def test_dry_run_prints_the_plan_of_any_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU a person sees what a sweep on one would measure; nothing is written."""
    monkeypatch.chdir(tmp_path)
    result = run("--dry-run", "--arch", "gfx950", "--model", "gpt-oss-120b", "--tokens", "1:64")
    assert result.exit_code == 0
    assert "gfx950, kernels builtin, graph timing -> tables/gfx950.yaml" in result.output
    assert " ".join(map(str, [*range(1, 34), 48, 56, 57, 64])) in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_dry_run_as_json_has_the_default_grid() -> None:
    """The default grid is every preset once, up to 16384 tokens."""
    plan = json.loads(run("--dry-run", "--arch", "gfx942", "--json").stdout)
    assert {(row["num_experts"], row["topk"]) for row in plan["rows"]} == {
        (shape.num_experts, shape.topk) for shape in MODELS.values()
    }
    assert all(row["ladder"][0] == 1 and row["ladder"][-1] == 16384 for row in plan["rows"])


def plan_rows(*options: str) -> list[tuple[int, int, bool, bool]]:
    """Return shape and condition of each row that a sweep would measure."""
    rows = json.loads(run("--dry-run", "--json", *options).stdout)["rows"]
    return [(row["num_experts"], row["topk"], row["moe_buf"], row["masked"]) for row in rows]


def test_three_conditions_are_swept_by_default_and_one_on_the_host() -> None:
    """Serving asks under all three; on the host each would take a minute and serve nobody."""
    shape = ("--model", "gpt-oss-120b")
    with_buffer, without, masked = (128, 4, True, False), (128, 4, False, False), (128, 4, True, True)
    assert plan_rows("--arch", "gfx942", *shape) == [with_buffer, without, masked]
    assert plan_rows("--arch", "host", *shape) == [with_buffer]
    assert plan_rows("--arch", "host", *shape, "--condition", "masked,without-moe-buf") == [without, masked]
    asked = ("--condition", "masked", "--condition", "with-moe-buf", "--ep", "8")
    assert plan_rows("--arch", "gfx942", *shape, *asked) == [with_buffer, masked]


def test_model_under_expert_parallelism_gets_the_masked_rows_that_serving_asks_for() -> None:
    """Of its own shape and of that with its shared expert: vLLM's mask has one entry more than either."""
    assert plan_rows("--arch", "gfx942", "--model", "deepseek-v3", "--ep", "8") == [
        (256, 8, True, True),
        (257, 9, True, True),
    ]
    assert plan_rows("--arch", "gfx942", "--model", "gpt-oss-120b", "--ep", "8") == [(128, 4, True, True)]


def test_shape_with_too_few_experts_for_the_default_ranks_is_swept_without_a_mask() -> None:
    """Nobody asked for a mask, so the shape is no error."""
    assert plan_rows("--arch", "gfx942", "--experts", "2", "--topk", "1") == [(2, 1, True, False), (2, 1, False, False)]


def test_dry_run_names_the_conditions() -> None:
    """A person sees which rows there will be."""
    text = run("--dry-run", "--arch", "gfx942", "--model", "gpt-oss-120b").output
    for key in ("128/4", "128/4 without moe_buf", "128/4 masked"):
        assert f"\n{key:>21}  " in text


def test_dry_run_has_each_provider_s_own_limit() -> None:
    """AITER's oneshot takes any number of tokens, and none from 819 experts on, whatever LDS a device has."""
    shapes = ("--experts", "8,819", "--topk", "2", "--condition", "with-moe-buf")
    plan = json.loads(run("--dry-run", "--json", "--arch", "gfx942", "--kernels", "aiter", *shapes).stdout)
    assert [(row["kernels"], row["limits"]) for row in plan["rows"]] == [("aiter", {}), ("aiter", {"oneshot": 0})]


def test_dry_run_takes_the_shapes_of_misses(tmp_path: Path) -> None:
    """What a deployment asked for in vain is the next grid, beside shapes named otherwise."""
    misses = tmp_path / "misses.csv"
    misses.write_text("num_experts,topk,arch,compute_units,kernels,tokens\n96,4,gfx942,304,builtin,7\n")
    options = ("--from-misses", str(misses), "--experts", "8", "--topk", "2", "--condition", "masked")
    plan = json.loads(run("--dry-run", "--json", "--arch", "gfx942", *options).stdout)
    assert [(row["num_experts"], row["topk"]) for row in plan["rows"]] == [(8, 2), (96, 4)]


def test_misses_are_of_the_operation_that_is_swept(tmp_path: Path) -> None:
    """Protects whoever uses the hook: its misses need a sweep of its own kernels, and are not taken for others'."""
    misses = tmp_path / "misses.csv"
    misses.write_text("num_experts,topk,arch,compute_units,kernels,tokens\n96,4,gfx942,304,align,7\n")
    options = ("--from-misses", str(misses), "--dry-run", "--json", "--arch", "gfx942")
    assert str(run(*options).exception) == (
        f"{misses} holds 1 shape that kernels of another operation missed, and none of moe_sorting; use --operation"
        " align"
    )
    with misses.open("a") as file:
        file.write("64,6,gfx942,304,builtin,7\n")
    for operation, shape in (("align", (96, 4)), ("sorting", (64, 6))):
        result = run(*options, "--operation", operation)
        assert {(row["num_experts"], row["topk"]) for row in json.loads(result.stdout)["rows"]} == {shape}
        assert "holds 1 shape that kernels of another operation missed, left out here" in result.stderr


def test_help_has_examples() -> None:
    """A person learns the command from its help."""
    result = run("--help")
    assert result.exit_code == 0
    assert "moesort-tune sweep --arch gfx950 --model gpt-oss-120b" in result.output
