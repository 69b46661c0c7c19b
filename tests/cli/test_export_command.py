"""Exported tables decide as Python does, and read back as what they were."""

import datetime
import itertools
import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from moesort_tune.cli.export import export
from moesort_tune.domain.candidates import choose_by_steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, Condition
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts
from moesort_tune.runtime import Dispatcher
from moesort_tune.tables import json_schema, store
from moesort_tune.tables.schema import Evidence, Kernels, Table
from tests.cli.exported import COMPILER, STRICT, ThreeKernels, compile_program
from tests.tables.examples import align_entry, device, entry, make_published_entry, row, sweep, table

# Prints, for each line 'experts topk compute_units moe_buf masked' of stdin, the policy of 0..20000 tokens as one
# character each.
ASK = """
#include "policy.h"
#include <cstdio>
static_assert(moesort_policy(-1, 128, 4, 304) == 0, "usable at compile time");
int main() {
  int experts, topk, units, moe_buf, masked;
  while (std::scanf("%d %d %d %d %d", &experts, &topk, &units, &moe_buf, &masked) == 5) {
    for (int tokens = 0; tokens <= 20000; ++tokens) {
      std::putchar('0' + moesort_policy(tokens, experts, topk, units, moe_buf != 0, masked != 0));
    }
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
    (100, 3),
    (300, 3),
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


ROWS_OF_THREE = [
    row(64, 3, policy=((1, "wave"), (17, "oneshot"), (200, "multiphase")), limits={"wave": 85, "oneshot": 3000}),
    row(256, 3, policy=((1, "wave"), (40, "oneshot"), (90, "multiphase")), limits={"wave": 60, "oneshot": 3000}),
    row(512, 3, policy=((1, "oneshot"), (30, "wave"), (60, "multiphase"))),
    row(16, 5, policy=((1, "wave"),), limits={"wave": 30}),
    row(128, 5, policy=((1, "wave"),), limits={}),
]
"""Rows of wave too: switches to interpolate, a step back, and last steps past the row's limit or the device's."""

MULTIPHASE = 2
"""Place of multiphase among the builtin kernels, by which a header's steps name it."""


def write_table(folder: Path, one: Table) -> Path:
    """Save the table in a file."""
    store.save(folder / "gfx942.yaml", one)
    return folder / "gfx942.yaml"


def run_export(path: Path, *arguments: str) -> str:
    """Return what the command writes to stdout."""
    result = CliRunner().invoke(export, [str(path), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("kernels", ["builtin", "aiter", "align"])
def test_header_decides_as_the_runtime_for_every_token_count(tmp_path: Path, kernels: str) -> None:
    """Every row of two devices and a dozen shapes without one, 0 to 20000 tokens, known and unknown compute units."""
    of = Kernels(provider=kernels, revision="1")
    small = device(compute_units=80, lds_bytes=1 << 24)  # more than the architecture has
    boasting = [*ROWS[3:6], row(512, 4, None, limits={"oneshot": 1 << 20})]
    rows = [*ROWS, *([] if kernels == "aiter" else ROWS_OF_THREE)]
    make = align_entry if kernels == "align" else entry
    one = table(make(rows, kernels=of), make(boasting, kernels=of, device=small))
    path = write_table(tmp_path, one)
    header = run_export(path, "--format", "cpp", "--kernels", kernels)
    assert (", moe_align_block_size, measured" in header) == (kernels == "align")
    binary = compile_program(tmp_path, header, ASK)
    shapes = [(*shape, 304) for shape in [r.shape for r in rows] + UNKNOWN] + [
        (128, 4, 80),
        (100, 4, 100),
        (64, 4, 200),
    ]
    shapes += [(512, 4, 80), (400, 4, 80), (700, 4, 80)]
    asked = [(*shape, True, False) for shape in shapes]
    asked += [(128, 4, 304, False, False), (129, 4, 304, True, True), (100, 4, 304, False, True)]
    lines = "".join(f"{' '.join(str(int(value)) for value in question)}\n" for question in asked)
    answers = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True).stdout.split()
    dispatchers = {units: Dispatcher.load(path, compute_units=units, kernels=kernels) for _, _, units, *_ in asked}
    for (experts, topk, units, *condition), answer in zip(asked, answers, strict=True):
        policy = dispatchers[units].policy
        expected = "".join(str(policy(tokens, experts, topk, *condition)) for tokens in range(20001))
        assert answer == expected, (experts, topk, units, condition)


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


@pytest.mark.parametrize("facts", [*map(registry.get_facts, registry.BUNDLED), ThreeKernels()])
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


@pytest.mark.parametrize("facts", [*map(registry.get_facts, registry.BUNDLED), ThreeKernels()])
def test_rule_in_cpp_is_that_of_the_facts(tmp_path: Path, facts: Facts) -> None:
    """On both sides of each of the rule's steps, for each condition: it decides where nothing was measured."""
    source = f"""
#include <cstdio>
namespace gfx942 {{ {facts.rule_cpp("gfx942")} }}
namespace sm_90 {{ {facts.rule_cpp("sm_90")} }}
int main() {{
  int nvidia, tokens, experts, topk, moe_buf, masked;
  while (std::scanf("%d %d %d %d %d %d", &nvidia, &tokens, &experts, &topk, &moe_buf, &masked) == 6) {{
    std::putchar('0' + (nvidia != 0 ? sm_90::rule(tokens, experts, topk, moe_buf != 0, masked != 0)
                                    : gfx942::rule(tokens, experts, topk, moe_buf != 0, masked != 0)));
  }}
}}
"""
    names = [candidate.name for candidate in facts.candidates]
    lines, expected = [], ""
    for nvidia, experts, topk, moe_buf, masked in itertools.product(
        (0, 1), (*range(1, 1025, 7), 511, 512, 818, 819, 1024), (1, 2, 9, 255), (False, True), (False, True)
    ):
        device = DeviceLimits(("gfx942", "sm_90")[nvidia], 132, 32, 65536)
        steps = facts.rule(experts, topk, device, Condition(moe_buf, masked))
        for tokens in sorted({1, MAX_TOKENS, *(t for first, _ in steps for t in (first - 1, first) if t >= 1)}):
            lines.append(f"{nvidia} {tokens} {experts} {topk} {moe_buf:d} {masked:d}\n")
            expected += str(names.index(choose_by_steps(steps, tokens)))
    binary = compile_program(tmp_path, "", source)
    assert subprocess.run([binary], input="".join(lines), capture_output=True, text=True, check=True).stdout == expected


def test_entries_of_each_product_are_exported_and_named(tmp_path: Path) -> None:
    """The plain function takes the newest; entries of another kind of figures stay outside."""
    old = entry([row(128, 4, 20)], device=device(id="0x74a1"))
    new = entry([row(128, 4, 30)], device=device(id="0x74a5"), sweep=sweep(date=datetime.date(2026, 12, 1)))
    modelled = entry([row(128, 4, 40)], device=device(id="0x74a9"), evidence="modelled")
    header = run_export(write_table(tmp_path, table(old, modelled, new)), "--format", "cpp")
    assert "graph, MI300X (0x74a1), measured 2026-11-22" in header
    assert "graph, MI325X (0x74a5), measured 2026-12-01" in header
    assert "0x74a9" not in header
    assert header.index(f"{{30, {MULTIPHASE}}}") < header.index(f"{{20, {MULTIPHASE}}}")
    assert "{0x74a5u, 0x74b9u}" in header


def test_entries_of_each_size_are_of_its_newest_revision(tmp_path: Path) -> None:
    """Protects from mixing kernels: a process that names no revision goes by the first one of its own size."""
    newer = sweep(date=datetime.date(2026, 12, 1))
    small, revision = device(compute_units=80), Kernels(provider="builtin", revision="7")
    entries = (
        entry([row(128, 4, 10)], device=small, kernels=revision),
        entry([row(128, 4, 20)]),
        entry([row(128, 4, 30)], kernels=revision, sweep=newer),
    )
    path = write_table(tmp_path, table(*entries))
    header = run_export(path, "--format", "cpp")
    assert [f"{{{switch}, {MULTIPHASE}}}" in header for switch in (10, 20, 30)] == [True, False, True]
    named = run_export(path, "--format", "cpp", "--revision", "5c1e0f")
    assert [f"{{{switch}, {MULTIPHASE}}}" in named for switch in (10, 20, 30)] == [False, True, False]


def test_published_figures_are_exported_where_nothing_was_measured(tmp_path: Path) -> None:
    """Protects measured entries of any size from figures of others, as in Python."""
    published = make_published_entry(
        [row(128, 4, 10, evidence=Evidence(source="a page"))], device=device(compute_units=80)
    )
    measured = entry([row(128, 4, 20)], kernels=Kernels(provider="aiter", revision="1"))
    for entries, exported in (((published,), [True, False]), ((published, measured), [False, True])):
        header = run_export(write_table(tmp_path, table(*entries)), "--format", "cpp", "--kernels", "aiter")
        assert [f"{{{switch}, 1}}" in header for switch in (10, 20)] == exported


def test_header_says_of_what_kind_its_table_is_and_names_each_entry_once(tmp_path: Path) -> None:
    """Protects who ships the header from taking a model's figures for measured ones."""
    one = Kernels(provider="aiter", revision="1")
    modelled = entry([row(128, 4, 10)], kernels=one, evidence="modelled", device=device(compute_units=80))
    published = make_published_entry([row(128, 4, 20, evidence=Evidence(source="a page"))])
    measured = entry([row(128, 4, 30)], kernels=one)
    for entries, kind in (
        ((modelled,), "a modelled table, which nobody measured."),
        ((modelled, published), "published figures."),
        ((modelled, published, measured), "a measured table."),
    ):
        header = run_export(write_table(tmp_path, table(*entries)), "--format", "cpp", "--kernels", "aiter")
        first, _, about, after, *_ = header.splitlines()
        assert first.endswith(f"Decides as moesort_tune.runtime does, by {kind}")
        assert (str(entries[-1].key) in about, after.startswith("#ifndef")) == (True, True)
        assert [f"{{{switch}, 1}}" in header for switch in (10, 20, 30)].index(True) == len(entries) - 1


def test_header_of_a_hostile_name_is_still_only_a_comment(tmp_path: Path) -> None:
    """A device's name comes from a driver: it must not continue a comment or end up as code."""
    one = table(entry(ROWS, device=device(name='MI300X ??/ \\ */ int x = "')))
    header = run_export(write_table(tmp_path, one), "--format", "cpp")
    assert header.splitlines()[2].startswith("// MI300X ??? ? ?? int x ? ?, 304 compute units, builtin,")


def test_entry_is_chosen_by_kernels_timing_and_revision(tmp_path: Path) -> None:
    """Several entries of one device: flags say which, and an error lists what there is."""
    path = write_table(tmp_path, table(entry([row(128, 4, 20)]), entry([row(128, 4, 30)], sweep=sweep(timing="eager"))))
    assert f"{{20, {MULTIPHASE}}}" in run_export(path, "--format", "cpp")
    assert f"{{30, {MULTIPHASE}}}" in run_export(path, "--format", "cpp", "--timing", "eager")
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


def test_export_without_a_format_is_the_header(tmp_path: Path) -> None:
    """A C++ program is what export is for; JSON is asked for."""
    store.save(tmp_path / "gfx942.yaml", table())
    plain, cpp = (
        CliRunner().invoke(export, [str(tmp_path / "gfx942.yaml"), *options]) for options in ((), ("--format", "cpp"))
    )
    assert plain.exit_code == 0
    assert "constexpr int moesort_policy(" in plain.output
    assert plain.output == cpp.output
