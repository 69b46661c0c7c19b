"""An exported header decides as Python does: random tables of three kernels, with many entries, and random calls."""

import datetime
import subprocess
from pathlib import Path
from random import Random
from typing import Final

import pytest

from moesort_tune.domain.vocabulary import Condition
from moesort_tune.runtime import Dispatcher
from moesort_tune.runtime.search import Found
from moesort_tune.runtime.selection import Source, order_by_date, select_sources
from moesort_tune.tables.export.cpp import to_cpp
from moesort_tune.tables.schema import Entry, Evidence, Kernels, Row
from tests.cli.exported import ThreeKernels, compile_program
from tests.tables.examples import device, entry, row, sweep

LAST: Final = 450
"""Calls have up to so many tokens."""

# Prints for each line 'experts topk compute_units device_id moe_buf masked' of stdin the policy of 0..450 tokens.
ASK: Final = f"""
#include "policy.h"
#include <cstdio>
static_assert(moesort_policy_for(-1, 128, 4, 304, 0x74a1, false, true) == 0, "usable at compile time");
int main() {{
  int experts, topk, units, moe_buf, masked;
  unsigned id;
  while (std::scanf("%d %d %d %x %d %d", &experts, &topk, &units, &id, &moe_buf, &masked) == 6) {{
    for (int n = 0; n <= {LAST}; ++n) {{
      const int policy = moesort_policy_for(n, experts, topk, units, id, moe_buf != 0, masked != 0);
      if (id == 0 && policy != moesort_policy(n, experts, topk, units, moe_buf != 0, masked != 0)) return 1;
      std::putchar('0' + policy);
    }}
    std::putchar('\\n');
  }}
}}
"""

TURNS: Final = [
    *(("wave",), ("oneshot",), ("multiphase",), ("oneshot", "multiphase"), ("wave", "oneshot", "multiphase")),
    *(("multiphase", "oneshot", "wave", "multiphase"), ("wave", "multiphase", "wave", "oneshot")),
]
"""Kernels one after another; few enough that neighbouring rows often have the same."""

TIED: Final = [
    ("wave", "oneshot"),
    ("wave", "multiphase"),
    ("oneshot", "multiphase"),
    ("wave", "oneshot", "multiphase"),
]

PRODUCT_IDS: Final = ("0x74a1", "0x74b5", "0x74a5", "0x74b9", "0x1234", "", "NVIDIA H200")
"""Two products and their virtual functions, an id without a name, none, and an id that is no PCI number."""

CONDITIONS: Final = [Condition(moe_buf, masked) for moe_buf in (True, False) for masked in (True, False)]


def make_random_row(random: Random, num_experts: int, topk: int) -> Row:
    """Return a row with switches, limits and a swept range below 400 tokens, and often a tie at an end of the range."""
    turns = random.choice(TURNS)
    firsts = [1, *sorted(random.sample(range(2, 400), len(turns) - 1))]
    limits = {kernel: random.randrange(400) for kernel in ("wave", "oneshot", "multiphase") if random.random() < 0.4}
    first, last = random.choice([(1, 16384), (1, 16), (1, random.randint(1, 440)), (random.randint(1, 90), 200)])
    ties = [(first, first + 2), (max(1, last - 5), last + 3), (300, 310)]
    tie = [(*ends, random.choice(TIED)) for ends in ties if random.random() < 0.5]
    steps = tuple(zip(firsts, turns, strict=True))
    return row(num_experts, topk, policy=steps, limits=limits, tie=tuple(tie), evidence=Evidence(tokens=(first, last)))


def make_random_shapes(random: Random) -> list[tuple[int, int]]:
    """Return shapes of some topks."""
    topks = random.sample((1, 2, 3, 4, 9), 3)
    return [(num_experts, topk) for topk in topks for num_experts in random.sample(range(topk, 1025), 5)]


def make_random_entries(random: Random) -> list[Entry]:
    """Return entries of three sizes, of several conditions, products and days; many of them hold the same shapes."""
    shapes = [make_random_shapes(random) for _ in range(2)]
    entries = []
    for units, wavefront_size, count in ((304, 64, 7), (80, 32, 3), (38, 64, 1)):
        for _ in range(count):
            own = random.choice([*shapes, make_random_shapes(random)])
            condition = random.choice(CONDITIONS)
            on = device(
                compute_units=units,
                wavefront_size=wavefront_size,
                lds_bytes=random.choice((8192, 65536)),
                id=random.choice(PRODUCT_IDS) or None,
            )
            when = sweep(date=datetime.date(2026, 11, random.randint(1, 9)), **condition._asdict())
            rows = [make_random_row(random, *shape) for shape in own]
            entries.append(entry(rows, kernels=Kernels(provider="invented", revision="1"), device=on, sweep=when))
    return entries


Question = tuple[int, int, int, str, bool, bool]
"""Experts, topk, compute units, device id, moe_buf, masked."""


def make_random_questions(random: Random, entries: list[Entry]) -> list[Question]:
    """Return shapes with a row, with one expert more, of another topk, and any, each for a random device and call."""
    known = [shape for one in entries for shape in (one_row.shape for one_row in one.rows)]
    shapes = [*known, *((num_experts + 1, topk) for num_experts, topk in known)]
    shapes += [(num_experts, 3 * topk) for num_experts, topk in known[::4]]
    shapes += [(random.randint(1, 1100), random.randint(1, 12)) for _ in range(100)]
    return [
        (
            *shape,
            random.choice((304, 304, 304, 80, 200, 38, 1)),
            random.choice((*PRODUCT_IDS[:6], "0x9999")),
            *condition,
        )
        for shape in shapes
        for condition in [random.choice(CONDITIONS)]
    ]


def load_dispatcher(entries: list[Entry], compute_units: int, device_id: str) -> Dispatcher:
    """Return the dispatcher of a device by these entries."""
    sources = [Source(Path("t.yaml"), "", one) for one in entries]
    selected = select_sources("gfx942", sources, compute_units, one_revision=True)
    found = Found("gfx942", compute_units, device_id or None, tuple(selected.sources), (), ())
    return Dispatcher(found, ThreeKernels())


@pytest.mark.parametrize("seed", range(4))
def test_header_decides_as_the_runtime(tmp_path: Path, seed: int) -> None:
    """Conditions, products, masks with a sentinel; rows that agree, disagree and end early; limits and ties."""
    random = Random(seed)
    entries = order_by_date(make_random_entries(random))
    binary = compile_program(tmp_path, to_cpp("gfx942", entries, ThreeKernels()), ASK)
    questions = make_random_questions(random, entries)
    lines = "".join(
        f"{experts} {topk} {units} {device_id or 0} {moe_buf:d} {masked:d}\n"
        for experts, topk, units, device_id, moe_buf, masked in questions
    )
    answers = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    devices = {question[2:4] for question in questions}
    dispatchers = {(units, device_id): load_dispatcher(entries, units, device_id) for units, device_id in devices}
    for question, answer in zip(questions, answers, strict=True):
        experts, topk, units, device_id, *condition = question
        policy = dispatchers[units, device_id].policy
        expected = "".join(str(policy(tokens, experts, topk, *condition)) for tokens in range(LAST + 1))
        assert answer == expected, question
    reasons = {reason for dispatcher in dispatchers.values() for reason in dispatcher.counts()}
    assert reasons == {
        *("exact row", "neighbours", "neighbours disagree", "nearest experts", "nearest topk", "no tokens"),
        *("beyond the swept range", "clipped by oneshot's limit", "clipped by a kernel's limit"),
    }
