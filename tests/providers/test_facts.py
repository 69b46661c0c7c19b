"""Facts of each provider agree with each other."""

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import AUTOMATIC, MAX_TOKENS, Condition
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts, map_kernels, map_policies
from tests.providers.third import PROVIDER as THIRD

ALL = [*map(registry.get_facts, registry.BUNDLED), THIRD.facts]

COMPILER = shutil.which("g++") or "c++"

DEVICES = [DeviceLimits("gfx942", 304, 64, 65536), DeviceLimits("gfx950", 256, 64, 163840)]

SHAPES = [(1, 1), (8, 2), (128, 4), (512, 10), (818, 8), (819, 8), (1024, 255)]

ASK = """
#include <cstdio>
namespace {{
{limits}
}}
int main() {{
  int candidate, experts, topk, lds, lanes;
  while (std::scanf("%d %d %d %d %d", &candidate, &experts, &topk, &lds, &lanes) == 5)
    std::printf("%d\\n", max_tokens(candidate, experts, topk, lds, lanes));
}}
"""

pytestmark = pytest.mark.parametrize("facts", ALL, ids=lambda facts: facts.name)


def test_limits_are_the_same_in_cpp(facts: Facts, tmp_path: Path) -> None:
    """An exported table and a Python process refuse a kernel at the same number of tokens."""
    asked, expected = [], []
    for device, (num_experts, topk) in product(DEVICES, SHAPES):
        for candidate, limit in enumerate(facts.limits(num_experts, topk, device).values()):
            asked.append(f"{candidate} {num_experts} {topk} {device.lds_bytes} {device.wavefront_size}")
            expected.append(limit)
    (tmp_path / "ask.cpp").write_text(ASK.format(limits=facts.limits_cpp))
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic")
    subprocess.run([COMPILER, *strict, "-o", tmp_path / "ask", tmp_path / "ask.cpp"], check=True)
    answer = subprocess.run([tmp_path / "ask"], input="\n".join(asked), capture_output=True, text=True, check=True)
    assert list(map(int, answer.stdout.split())) == expected


@pytest.mark.parametrize(("num_experts", "topk"), SHAPES)
def test_limits_name_the_candidates_in_order(facts: Facts, num_experts: int, topk: int) -> None:
    """The order decides ties, and the last candidate remains where no other may run."""
    limits = facts.limits(num_experts, topk, DEVICES[0])
    assert list(limits) == [candidate.name for candidate in facts.candidates]
    assert list(limits.values())[-1] == MAX_TOKENS


@pytest.mark.parametrize(("num_experts", "topk"), SHAPES)
def test_rule_names_candidates_from_one_token_on(facts: Facts, num_experts: int, topk: int) -> None:
    """Without a table every number of tokens has a choice."""
    steps = facts.rule(num_experts, topk, DEVICES[0], Condition())
    starts = [tokens for tokens, _ in steps]
    assert starts[0] == 1
    assert starts == sorted(set(starts))
    assert {kernel for _, kernel in steps} <= {candidate.name for candidate in facts.candidates}


def test_policies_and_kernels_are_mapped_in_order(facts: Facts) -> None:
    """What asks for a candidate by its number gets the one that the number was made from."""
    policies = map_policies(facts)
    assert list(policies) == [candidate.name for candidate in facts.candidates]
    assert map_kernels(facts) == {policy: name for name, policy in policies.items()}


def test_policies_tell_candidates_apart(facts: Facts) -> None:
    """A policy number means one kernel, and 0 leaves the choice."""
    policies = [candidate.policy for candidate in facts.candidates]
    assert len(set(policies)) == len(policies)
    assert AUTOMATIC not in policies
