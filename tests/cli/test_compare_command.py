"""`moesort-tune compare`: what it prints of two sweeps, and when it fails."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.sweep.samples import Sample, append_samples
from tests.cli.swept import HostMachine, build_clock
from tests.sweep.test_comparison import make_lines, scale


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change into an empty folder."""
    monkeypatch.chdir(tmp_path)


def run_compare(before: Sequence[Sample], after: Sequence[Sample], *options: str) -> int:
    """Return the exit status of `moesort-tune compare` on two files of samples."""
    for name, lines in (("a.csv", before), ("b.csv", after)):
        Path(name).unlink(missing_ok=True)
        append_samples(Path(name), lines)
    return run(["compare", "a.csv", "b.csv", *options])


def change_one(factor: float) -> list[Sample]:
    """Return a sweep of three token counts, in which oneshot takes another time at the second."""
    return [scale(line, factor) if (line.kernel, line.tokens) == ("oneshot", 2) else line for line in make_lines()]


def test_compare_prints_answer_environment_kernels_and_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer comes first; then what may explain it."""
    assert run_compare(make_lines(), change_one(1.1)) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert printed.startswith("B against A: 1 SLOWER, 0 FASTER, 5 SAME, 0 AMBIGUOUS of 6 points")
    assert "A: a.csv, fake, 2 compute units, builtin revision 5c1e, measured 2026-11-22" in printed
    assert ["builtin", "oneshot", "3", "1", "0", "2", "0", "1.032"] in lines
    assert "SLOWER, the largest first (1)" in printed
    assert ["128/4", "2", "oneshot", "4", "4.4", "1.100", "1.100", "1.100"] in lines
    assert sum(cells[:1] == ["128/4"] for cells in lines) == 1


def test_all_prints_points_that_are_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Every point has its answer, on request."""
    assert run_compare(make_lines(), make_lines(), "--all") == 0
    printed = capsys.readouterr().out
    assert "The environments are the same." in printed
    assert "SAME, the largest first (6)" in printed
    assert sum(line.startswith("128/4 ") for line in printed.splitlines()) == 6


def test_many_changes_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A driver that slows everything down must not bury the summary; nothing is left out in silence."""
    before = make_lines(range(1, 31))
    after = [scale(line, 1.1) for line in before]
    assert run_compare(before, after) == 0
    printed = capsys.readouterr().out
    assert "SLOWER, the largest first (20 of 60, --all prints them)" in printed
    assert sum(line.startswith("128/4 ") for line in printed.splitlines()) == 20
    assert run_compare(before, after, "--all") == 0
    assert sum(line.startswith("128/4 ") for line in capsys.readouterr().out.splitlines()) == 60


def test_points_fit_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal of the usual width shows a point in a line."""
    before = [
        replace(scale(line, 100.0), num_experts=512, topk=10, tokens=16384, moe_buf=False) for line in make_lines([1])
    ]
    assert run_compare(before, [scale(line, 1.2345) for line in before]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("512/10 ")]
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80


def test_environment_that_differs_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A driver that was updated between two sweeps is the first suspect."""
    before, after = (
        [replace(line, software=f"driver={version}") for line in make_lines()] for version in ("7.0", "7.1")
    )
    assert run_compare(before, after) == 0
    assert ["driver", "7.0", "7.1"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("factor", "limit", "status"),
    [
        (1.1, "1.05", 1),
        (1.1, "1.2", 0),
        (1.04, "1.01", 0),
        (0.5, "1", 0),
        (1.1, "mean=1.02", 1),
        (1.1, "mean=1.04", 0),
        (1.04, "mean=1.01", 1),
    ],
)
def test_exit_status_is_1_above_a_limit(
    factor: float, limit: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit asks for points that are SLOWER, or for a mean; 4 % at one point of three are 1.3 % in the mean."""
    assert run_compare(make_lines(), change_one(factor), "--fail-above", limit) == status
    assert ("Error: " in capsys.readouterr().err) is bool(status)


def test_failure_names_the_worst_point(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence that CI shows says where to look."""
    assert run_compare(make_lines(), change_one(1.1), "--fail-above", "1.05") == 1
    assert capsys.readouterr().err == (
        "Error: 1 point is slower than 1.05 times, at most 1.1 times (128/4, 2 tokens, oneshot)\n"
    )


def test_row_that_is_gone_fails_with_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    """A row whose kernels crash in B must not pass; a row that is new must not fail."""
    more = [*make_lines(), *(replace(line, num_experts=8, topk=2) for line in make_lines())]
    assert run_compare(more, make_lines(), "--fail-above", "1.05") == 1
    out, err = capsys.readouterr()
    assert "only in A: 1 row of builtin, graph, with moe_buf: 8/2" in out
    assert "B lacks 1 row of A" in err
    assert run_compare(make_lines(), more, "--fail-above", "1.05") == 0


def test_points_that_are_gone_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Sweeps search for token counts, so they differ in some."""
    assert run_compare(make_lines([1, 2, 3]), make_lines([2, 3, 4, 5]), "--fail-above", "1.05") == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "only in A: 2 points of rows that both have",
        "",
        "only in B: 4 points of rows that both have",
    ]


def test_nothing_in_common_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """No point SLOWER among no points is no success."""
    assert run_compare(make_lines([1]), make_lines([2])) == 1
    assert "a.csv and b.csv have no point in common" in capsys.readouterr().err


def test_markdown_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Underscores and bars of names are text there; each table stands apart from what precedes it."""
    before = [replace(line, host="a|b_c_d") for line in make_lines()]
    after = [replace(line, host="node_2_x") for line in change_one(1.1)]
    assert run_compare(before, after, "--markdown") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("**B against A: 1 SLOWER")
    assert "\n\n| environment | A | B |\n| --- | --- | --- |\n| host | a\\|b\\_c\\_d | node\\_2\\_x |\n" in printed
    assert "<details><summary>SLOWER, the largest first (1)</summary>\n\n| experts/topk |" in printed


def test_json_holds_every_point(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: each point with its interval and answer."""
    assert run_compare(make_lines(), change_one(1.1), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [point["change"] for point in data["points"]].count("SAME") == 5
    (slower,) = (point for point in data["points"] if point["change"] == "SLOWER")
    assert (slower["tokens"], slower["kernel"], slower["ratio"]["median"]) == (2, "oneshot", 1.1)
    assert data["kernels"][0]["counts"] == {"SLOWER": 1, "FASTER": 0, "SAME": 2, "AMBIGUOUS": 0}
    assert data["before"]["alone"] == {"rows": {}, "points": 0}


@pytest.mark.parametrize("limit", ["0.9", "nan", "mean", "worst=1.05", "mean="])
def test_limit_that_is_none_is_bad_usage(limit: str) -> None:
    """A limit that can never be exceeded, or always is, is a mistake."""
    assert run_compare(make_lines(), make_lines(), "--fail-above", limit) == 2


def test_sweeps_of_unchanged_and_of_slowed_kernels(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Through sweep, table and samples: A/A says SAME, and 5 % that are planted in one kernel are called there."""

    def sweep(name: str, clock: str, noise_seed: int) -> str:
        host.set(CLOCK=clock, CLOCK_NOISE="0.005", CLOCK_SEED=str(noise_seed))
        table = host.folder / f"{name}.yaml"
        grid = ("--experts", "8", "--topk", "2", "--tokens", "1:32", "--model-dim", "32", "--time-budget", "600")
        assert run(["sweep", "--arch", "host", *grid, "--out", str(table)]) == 0
        return str(table)

    first = sweep("first", build_clock("300+10*tokens"), 1)
    again = sweep("again", build_clock("300+10*tokens"), 2)
    slowed = sweep("slowed", build_clock("(300+10*tokens)*1.05"), 3)
    counts = {}
    for name, other in (("again", again), ("slowed", slowed)):
        capsys.readouterr()
        assert run(["compare", first, other, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        counts[name] = {one["kernel"]: one["counts"] for one in data["kernels"]}
    points = sum(sum(of_kernel.values()) for of_kernel in counts["again"].values())
    assert points >= 90
    assert sum(of_kernel["SAME"] for of_kernel in counts["again"].values()) >= 0.99 * points, counts
    assert counts["slowed"]["oneshot"]["SLOWER"] >= 0.95 * sum(counts["slowed"]["oneshot"].values()), counts
    assert counts["slowed"]["multiphase"]["SLOWER"] == 0, counts
