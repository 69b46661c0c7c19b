"""Exported tables decide as Python does, and read back as what they were."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
from click.testing import CliRunner

from moesort_tune.cli.export import export
from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, Candidate
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts
from moesort_tune.runtime import Dispatcher
from moesort_tune.runtime.search import Found
from moesort_tune.tables import json_schema, store
from moesort_tune.tables.export.cpp import to_cpp
from moesort_tune.tables.schema import Entry, Kernels, Row, Table
from tests.tables.examples import device, entry, row, sweep, table

COMPILER = shutil.which("g++") or "c++"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-pedantic", "-O1")

# Prints, for each line 'experts topk compute_units' of stdin, the policy of 0..20000 tokens as one character each.
ASK = """
#include "policy.h"
#include <cstdio>
static_assert(moesort_policy(-1, 128, 4, 304) == 0, "usable at compile time");
int main() {
  int experts, topk, units;
  while (std::scanf("%d %d %d", &experts, &topk, &units) == 3) {
    for (int tokens = 0; tokens <= 20000; ++tokens) std::putchar('0' + moesort_policy(tokens, experts, topk, units));
    std::putchar('\\n');
  }
}
"""

ROWS = [
    row(8, 2, None, limits={"oneshot": 5000}),
    row(32, 2, 700),
    row(64, 2, policy=((1, "multiphase"), (30, "oneshot"))),
    row(16, 4, 300),
    row(64, 4, policy=((1, "oneshot"), (40, "multiphase"), (90, "oneshot"), (200, "multiphase"))),
    row(128, 4, 25),
    row(256, 8, 13),
    row(512, 8, policy=((1, "multiphase"),)),
    row(1024, 9, None, limits={"oneshot": 2}),
]
"""Of every kind: one switch, several, none, opposite ones, a limit below the policy."""

UNKNOWN = [
    (8, 4),
    (9, 2),
    (20, 3),
    (48, 2),
    (48, 4),
    (80, 5),
    (100, 4),
    (200, 6),
    (384, 8),
    (1024, 8),
    (3, 1),
    (700, 255),
]


def write_table(folder: Path, one: Table) -> Path:
    """Save the table in a file."""
    store.save(folder / "gfx942.yaml", one)
    return folder / "gfx942.yaml"


def run_export(path: Path, *arguments: str) -> str:
    """Return what the command writes to stdout."""
    result = CliRunner().invoke(export, [str(path), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def compile_program(folder: Path, header: str, source: str) -> Path:
    """Return `source` compiled with the exported header."""
    (folder / "policy.h").write_text(header)
    (folder / "ask.cpp").write_text(source)
    binary = folder / "ask"
    done = subprocess.run(
        [COMPILER, *STRICT, folder / "ask.cpp", "-o", binary], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return binary


@pytest.mark.parametrize("kernels", ["builtin", "aiter"])
def test_header_decides_as_the_runtime_for_every_token_count(tmp_path: Path, kernels: str) -> None:
    """Every row of two devices and a dozen shapes without one, 0 to 20000 tokens, known and unknown compute units."""
    of = Kernels(provider=kernels, revision="1")
    small = device(compute_units=80, lds_bytes=1 << 24)  # more than the architecture has
    boasting = [*ROWS[3:6], row(512, 4, None, limits={"oneshot": 1 << 20})]
    one = table(entry(ROWS, kernels=of), entry(boasting, kernels=of, device=small))
    path = write_table(tmp_path, one)
    binary = compile_program(tmp_path, run_export(path, "--format", "cpp", "--kernels", kernels), ASK)
    asked = [(*shape, 304) for shape in [r.shape for r in ROWS] + UNKNOWN] + [(128, 4, 80), (100, 4, 100), (64, 4, 200)]
    asked += [(512, 4, 80), (400, 4, 80), (700, 4, 80)]
    lines = "".join(f"{experts} {topk} {units}\n" for experts, topk, units in asked)
    answers = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True).stdout.split()
    dispatchers = {units: Dispatcher.load(path, compute_units=units, kernels=kernels) for _, _, units in asked}
    for (experts, topk, units), answer in zip(asked, answers, strict=True):
        policy = dispatchers[units].policy
        assert answer == "".join(str(policy(tokens, experts, topk)) for tokens in range(20001)), (experts, topk, units)


def run_compiled(folder: Path, *sources: str) -> str:
    """Return what a program of these files prints."""
    for index, source in enumerate(sources):
        (folder / f"unit{index}.cpp").write_text(source)
    files = [folder / f"unit{index}.cpp" for index in range(len(sources))]
    program = folder / "program"
    done = subprocess.run([COMPILER, *STRICT, *files, "-o", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def two_headers(tmp_path: Path) -> Path:
    """Return a folder with the header of a table that switches at 10 tokens, and that of one that switches at 20."""
    for switch, name in ((10, "ten"), (20, "twenty")):
        store.save(tmp_path / f"{name}.yaml", table(entry([row(128, 4, switch)])))
        for function in ("moesort_policy", name):
            header = run_export(tmp_path / f"{name}.yaml", "--format", "cpp", "--name", function)
            (tmp_path / f"{name}_{function}.h").write_text(header)
    return tmp_path


def test_headers_of_two_tables_in_one_program_decide_each_by_its_own(two_headers: Path) -> None:
    """Protects from the linker, which takes one definition of a name for all: the second table would decide nothing."""
    unit = (
        '#include "{0}_moesort_policy.h"\nint ask_{0}(int tokens) {{ return moesort_policy(tokens, 128, 4, 304); }}\n'
    )
    main = """
#include <cstdio>
int ask_ten(int tokens);
int ask_twenty(int tokens);
int main() { std::printf("%d %d", ask_ten(15), ask_twenty(15)); }
"""
    assert run_compiled(two_headers, unit.format("ten"), unit.format("twenty"), main) == "2 1"
    assert run_compiled(two_headers, unit.format("twenty"), unit.format("ten"), main) == "2 1"


def test_one_file_includes_headers_of_two_tables(two_headers: Path) -> None:
    """Protects programs that sort by two sets of kernels: each function has the name that was asked for."""
    source = """
#include "ten_ten.h"
#include "ten_moesort_policy.h"
#include "twenty_twenty.h"
#include <cstdio>
int main() { std::printf("%d %d %d", ten(15, 128, 4, 304), moesort_policy(15, 128, 4, 304), twenty(15, 128, 4, 304)); }
"""
    assert run_compiled(two_headers, source) == "2 2 1"


class ThreeKernels:
    """Facts of three invented kernels, whose limits depend on every argument."""

    name = "invented"
    label = "invented"
    candidates: tuple[Candidate, ...] = (Candidate("wave", 3), Candidate("oneshot", 1), Candidate("multiphase", 7))
    rule_name = "no rule"
    decides_itself = False
    limits_cpp = """\
constexpr int max_tokens(int candidate, int num_experts, int topk, int lds_bytes, int wavefront_size) {
  if (candidate == 0) return num_experts > 16 * wavefront_size ? -1 : 2 * wavefront_size / topk;
  return candidate == 1 ? lds_bytes / num_experts / 4 : 16777215;
}
"""

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        """Return limits by wave size and LDS, one of them below 0."""
        wave = -1 if num_experts > 16 * device.wavefront_size else 2 * device.wavefront_size // topk
        return {"wave": wave, "oneshot": device.lds_bytes // num_experts // 4, "multiphase": MAX_TOKENS}

    def rule(self, num_experts: int, topk: int, device: DeviceLimits) -> Steps:
        """Return one step."""
        del num_experts, topk, device
        return ((1, "multiphase"),)

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:
        """Return none."""
        del num_experts, topk, device, first, last
        return ()


@pytest.mark.parametrize("facts", [registry.get_facts("builtin"), registry.get_facts("aiter"), ThreeKernels()])
def test_limits_in_cpp_are_those_of_the_facts(tmp_path: Path, facts: Facts) -> None:
    """For every number of experts and each LDS size that an architecture has: the limits stand in two languages."""
    source = f"""
#include <cstdio>
{facts.limits_cpp}
int main() {{
  const int sizes_kib[] = {{8, 64, 99, 160, 227}};
  const int topks[] = {{1, 2, 8, 255}};
  const int waves[] = {{32, 64}};
  for (int lds_kib : sizes_kib)
    for (int experts = 1; experts <= 1024; ++experts)
      for (int topk : topks)
        for (int wave : waves)
          for (int candidate = 0; candidate < {len(facts.candidates)}; ++candidate)
            std::printf("%d\\n", max_tokens(candidate, experts, topk, lds_kib * 1024, wave));
}}
"""
    binary = compile_program(tmp_path, "", source)
    answers = subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split()
    expected = [
        limit
        for kib in (8, 64, 99, 160, 227)
        for experts in range(1, 1025)
        for topk in (1, 2, 8, 255)
        for wave in (32, 64)
        for limit in facts.limits(experts, topk, DeviceLimits("gfx942", 304, wave, kib * 1024)).values()
    ]
    assert list(map(int, answers)) == expected


TURNS = [
    *(("wave",), ("oneshot",), ("multiphase",), ("oneshot", "multiphase"), ("wave", "oneshot", "multiphase")),
    *(("multiphase", "oneshot", "wave", "multiphase"), ("wave", "multiphase", "wave", "oneshot")),
]
"""Kernels one after another; few enough that neighbouring rows often have the same."""


def make_random_row(random: Random, num_experts: int, topk: int) -> Row:
    """Return a row with switches and limits below 400 tokens, each limit above or below what the policy asks for."""
    turns = random.choice(TURNS)
    firsts = [1, *sorted(random.sample(range(2, 400), len(turns) - 1))]
    limits = {kernel: random.randrange(400) for kernel in ("wave", "oneshot", "multiphase") if random.random() < 0.4}
    return row(num_experts, topk, policy=tuple(zip(firsts, turns, strict=True)), limits=limits)


def make_random_entry(random: Random, compute_units: int, wavefront_size: int) -> Entry:
    """Return an entry of the invented kernels with rows of four topks."""
    rows = [
        make_random_row(random, num_experts, topk)
        for topk in (1, 2, 4, 9)
        for num_experts in random.sample(range(topk, 1025), 8)
    ]
    on = device(compute_units=compute_units, wavefront_size=wavefront_size, lds_bytes=random.choice((8192, 65536)))
    return entry(rows, kernels=Kernels(provider="invented", revision="1"), device=on)


@pytest.mark.parametrize("seed", range(4))
def test_header_of_three_kernels_decides_as_the_runtime(tmp_path: Path, seed: int) -> None:
    """Rows that agree, disagree and are interpolated at several switches; limits that clip each of the kernels."""
    random = Random(seed)
    entries = [make_random_entry(random, 304, 64), make_random_entry(random, 80, 32)]
    facts = ThreeKernels()
    binary = compile_program(tmp_path, to_cpp("gfx942", entries, facts), ASK.replace("20000", "450"))
    shapes = [one.shape for found in entries for one in found.rows]
    shapes += [(num_experts, 3 * topk) for num_experts, topk in shapes]  # rows of a nearest topk limit nothing
    shapes += [(random.randint(1, 1100), random.randint(1, 12)) for _ in range(400)]
    asked = [(*shape, found) for shape in shapes for found in entries]
    lines = "".join(f"{experts} {topk} {found.device.compute_units}\n" for experts, topk, found in asked)
    answers = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True).stdout.split()
    dispatchers = {id(one): Dispatcher(Found("gfx942", None, Path("t.yaml"), one, (), ()), facts) for one in entries}
    chosen = set()
    for (experts, topk, found), answer in zip(asked, answers, strict=True):
        policy = dispatchers[id(found)].policy
        assert answer == "".join(str(policy(tokens, experts, topk)) for tokens in range(451)), (experts, topk)
        chosen |= set(answer)
    assert chosen == {"3", "1", "7"}


def test_header_of_a_hostile_name_is_still_only_a_comment(tmp_path: Path) -> None:
    """A device's name comes from a driver: it must not continue a comment or end up as code."""
    one = table(entry(ROWS, device=device(name='MI300X ??/ \\ */ int x = "')))
    header = run_export(write_table(tmp_path, one), "--format", "cpp")
    assert header.splitlines()[2].startswith("// MI300X ??? ? ?? int x ? ?, 304 compute units, builtin,")


def test_entry_is_chosen_by_kernels_timing_and_revision(tmp_path: Path) -> None:
    """Several entries of one device: flags say which, and an error lists what there is."""
    path = write_table(tmp_path, table(entry([row(128, 4, 20)]), entry([row(128, 4, 30)], sweep=sweep(timing="eager"))))
    assert "{20, 1}" in run_export(path, "--format", "cpp")
    assert "{30, 1}" in run_export(path, "--format", "cpp", "--timing", "eager")
    with pytest.raises(MoesortTuneError, match="has no entry for builtin, 77, graph; it has entries for 304 compute"):
        run_export(path, "--format", "cpp", "--revision", "77")


def test_json_is_the_whole_table(tmp_path: Path) -> None:
    """Nothing is lost on the way to JSON and back."""
    one = table(entry(ROWS), entry(sweep=sweep(timing="eager")))
    assert msgspec.json.decode(run_export(write_table(tmp_path, one), "--format", "json"), type=Table) == one


def test_schema_page_describes_what_is_exported() -> None:
    """docs/table.schema.json is written by `python -m moesort_tune.tables.json_schema`."""
    page = (Path(__file__).parents[2] / "docs" / "table.schema.json").read_text()
    assert page == json_schema.format_schema()
    row_fields = json.loads(page)["$defs"]["Row"]["properties"]
    assert row_fields["topk"] == {"type": "integer", "minimum": 1}
