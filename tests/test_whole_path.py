"""From times to decisions: a sweep of three invented kernels with known crossings, and whoever reads its table."""

import bisect
import dataclasses
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.cli.main import run
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.runtime import Dispatcher
from moesort_tune.sweep.card_points import find_points
from moesort_tune.sweep.records import Conditions, MeasuredPoint
from moesort_tune.sweep.row_search import SweepPlan
from moesort_tune.sweep.runner import Sweep
from moesort_tune.sweep.samples import read_samples
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.table_sink import TableSink
from moesort_tune.tables import store
from moesort_tune.tables.schema import Row
from tests.sweep import invented
from tests.sweep.fakes import FACTS, Formula, ListListener
from tests.sweep.invented import NAMES, POLICIES, InventedWorker

COMPILER = shutil.which("g++") or "c++"

SHAPES = [Shape(8, 2), Shape(64, 2)]

FORMULAS: dict[str, Formula] = {
    "sprint": lambda _, tokens: 1 + 0.1 * tokens,
    "stride": lambda _, tokens: 4 + 0.02 * tokens,
    "march": lambda *_: 11.9,
}
"""sprint and stride cross at 37.5 tokens, stride and march at 395. Within 2 % are 37 and 38, and 384 to 406."""

SWITCHES = {
    SHAPES[0]: ((1, "sprint"), (39, "stride"), (407, "march")),
    SHAPES[1]: ((1, "sprint"), (13, "stride"), (129, "march")),  # where each ends to be legal
}
TIES = {SHAPES[0]: ((37, 38, ("sprint", "stride")), (384, 406, ("stride", "march"))), SHAPES[1]: ()}
LIMITS = {SHAPES[0]: {"sprint": 96, "stride": 1024}, SHAPES[1]: {"sprint": 12, "stride": 128}}

TOKENS = range(2001)

UNITS = 2


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is registered."""
    invented.register(monkeypatch)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the table of a sweep."""
    path = tmp_path / "host.yaml"
    sink = TableSink(path, CONDITIONS)
    plan = SweepPlan(SHAPES, TokenRange(1, 2000), (Settings(),), StoppingRule())
    worker = InventedWorker(FORMULAS, facts=CONDITIONS.facts)
    result = Sweep(plan, workers=[worker], sinks=[sink], listener=ListListener(), clock=lambda: 0.0).run()
    assert not result.failed
    return path


CONDITIONS = Conditions(dataclasses.replace(FACTS, provider="invented"), Settings(), 0.02)


def read_rows(table: Path) -> dict[Shape, Row]:
    """Return the rows by shape."""
    (entry,) = store.load(table).tables
    return {Shape(*row.shape): row for row in entry.rows}


def decide(table: Path, num_experts: int, topk: int = 2) -> list[int]:
    """Return the policies that a serving process takes, by token count."""
    dispatcher = Dispatcher.load(table, compute_units=UNITS, kernels="invented")
    return [dispatcher.policy(tokens, num_experts, topk) for tokens in TOKENS]


def expect(shape: Shape) -> list[int]:
    """Return the policies that follow from the crossings, by token count."""
    starts = [first for first, _ in SWITCHES[shape]]
    return [POLICIES[SWITCHES[shape][max(0, bisect.bisect_right(starts, tokens) - 1)][1]] for tokens in TOKENS]


def test_table_has_the_known_switches_and_ties(table: Path) -> None:
    """Every switch stands behind its tie, or where a kernel ends to be legal."""
    for shape, row in read_rows(table).items():
        assert (row.policy, row.tie, row.limits) == (SWITCHES[shape], TIES[shape], LIMITS[shape])
        assert row.evidence.rule_loss is None  # AITER's rule knows nothing of these kernels


def test_samples_hold_every_candidate_and_are_judged_alike(table: Path) -> None:
    """A sweep that takes the samples over comes to the same row; landmarks and both sides of each limit are there."""
    samples = read_samples(table.with_suffix(".samples.csv"))
    limits = InventedWorker(FORMULAS, facts=CONDITIONS.facts).limits(SHAPES[0])
    points = find_points(samples, conditions=CONDITIONS, shape=SHAPES[0], limits=limits)
    assert {5, 6, 77, 96, 97, 1024, 2000} <= points.keys()
    assert list_kernels_at(points) == {50: NAMES, 500: NAMES[1:], 1500: NAMES[2:]}
    assert len(points) == read_rows(table)[SHAPES[0]].evidence.points
    assert [points[tokens].verdict.best for tokens in (1, 37, 77, 512)] == [
        ("sprint",),
        ("sprint", "stride"),
        ("stride",),
        ("march",),
    ]


def list_kernels_at(points: dict[int, MeasuredPoint]) -> dict[int, tuple[str, ...]]:
    """Return the kernels that were timed at the first measured count from 50, 500 and 1500 tokens on."""
    firsts = {start: min(tokens for tokens in points if tokens >= start) for start in (50, 500, 1500)}
    return {start: tuple(points[tokens].times_us) for start, tokens in firsts.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_python_decides_by_the_crossings(table: Path, shape: Shape) -> None:
    """A serving process gets the policy number that the provider gave each kernel."""
    assert decide(table, shape.num_experts) == expect(shape)


def test_header_decides_as_python_does(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C++ agrees for swept shapes and for those between, below and beyond them, at every token count."""
    experts = [4, 8, 16, 33, 64, 200]
    assert run(["export", str(table), "--format", "cpp", "--kernels", "invented"]) == 0
    (table.parent / "policy.h").write_text(capsys.readouterr().out)
    source = table.parent / "main.cpp"
    source.write_text(f"""\
#include <cstdio>
#include <initializer_list>
#include "policy.h"
int main() {{
  for (int experts : {{{", ".join(map(str, experts))}}})
    for (int tokens = 0; tokens < {len(TOKENS)}; ++tokens)
      std::printf("%d ", moesort_policy(tokens, experts, 2, {UNITS}));
}}
""")
    program = table.parent / "program"
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic")
    subprocess.run([COMPILER, *strict, str(source), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    decided = itertools.chain.from_iterable(decide(table, num_experts) for num_experts in experts)
    assert list(map(int, printed.split())) == list(decided)


def test_json_holds_the_crossings(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs in other languages read limits, policy and ties by the kernels' names."""
    assert run(["export", str(table), "--format", "json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["tables"]
    assert entry["kernels"]["provider"] == "invented"
    for row in entry["rows"]:
        shape = Shape(row["num_experts"], row["topk"])
        assert row["limits"] == LIMITS[shape]
        assert row["policy"] == convert_to_lists(SWITCHES[shape])
        assert row["tie"] == convert_to_lists(TIES[shape])


def convert_to_lists(value: Any) -> Any:
    """Return the data with tuples as lists."""
    return json.loads(json.dumps(value))


def test_table_is_shown_with_a_limit_for_each_kernel(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns and ties name the kernels where there are more than two."""
    assert run(["show", str(table)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "sprint up to stride up to the invented rule" in shown
    assert "sprint to 38, stride to 406, march" in shown
    assert "37-38 sprint=stride, 384-406 stride=march 96 1024" in shown
