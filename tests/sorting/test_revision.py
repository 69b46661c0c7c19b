"""The revision names what runs: every constant of the launches changes it, where the constants stand does not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.domain import vocabulary
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.providers.facts.builtin import PROVIDER
from moesort_tune.sorting import geometry, launch_changes, launches, revision
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.revision import compute_kernels_revision

MI300X = DeviceLimits("gfx942", 304, 64, 65536)

CONSTANTS = [
    (module, name)
    for module in (geometry, launches)
    for name, value in vars(module).items()
    if name.isupper() and not hasattr(vocabulary, name)
    if all(isinstance(one, int) for one in (value if isinstance(value, tuple) else (value,)))
]


NVIDIA_ONLY = {"MOST_SORTING_QUARTERS", "RESERVED_LDS_SIXTEENTHS"}
"""Constants of launches that no AMD GPU makes."""


@pytest.fixture(autouse=True)
def recompute() -> Iterator[None]:
    """Forget revisions before and after each test."""
    compute_kernels_revision.cache_clear()
    yield
    compute_kernels_revision.cache_clear()


def scale(value: int | tuple[int, ...], factor: int) -> int | tuple[int, ...]:
    return tuple(one * factor for one in value) if isinstance(value, tuple) else value * factor


@pytest.mark.parametrize(("module", "name"), CONSTANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_revision_changes_with_every_constant(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Protects tables from being used for launches that they were not measured with."""
    targets = {"sm_90"} if name in NVIDIA_ONLY else {"sm_90", "gfx942"}
    before = {target: compute_kernels_revision(target) for target in ("sm_90", "gfx942")}
    compute_kernels_revision.cache_clear()
    changed = scale(getattr(module, name), 2)
    for place in (geometry, launches):  # also where it was imported to
        if hasattr(place, name):
            monkeypatch.setattr(place, name, changed)
    moved = {target for target, revision in before.items() if compute_kernels_revision(target) != revision}
    assert moved == targets, f"{name} = {changed} has the revision of {name} as it was"


@pytest.mark.parametrize("pairs", [2, 3, 5, 6, 8, 16])
def test_revision_changes_with_the_least_change_of_a_constant(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    """Protects from a grid so coarse that a boundary moves between two of its problems."""
    before = compute_kernels_revision("gfx942")
    compute_kernels_revision.cache_clear()
    monkeypatch.setattr(launches, "MANY_PAIRS", pairs)
    assert compute_kernels_revision("gfx942") != before


@pytest.mark.parametrize("bound", [0, 1])
def test_revision_changes_with_each_bound_of_a_workgroup(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    """Protects either end of SORTING_THREADS by itself."""
    before = compute_kernels_revision("gfx942")
    compute_kernels_revision.cache_clear()
    low, high = launches.SORTING_THREADS
    monkeypatch.setattr(launches, "SORTING_THREADS", (low // 2, high) if bound == 0 else (low, high * 2))
    assert compute_kernels_revision("gfx942") != before


def test_revision_changes_with_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects tables from other arithmetic around the same constants."""
    before = compute_kernels_revision("gfx942")
    compute_kernels_revision.cache_clear()

    def threads(problem: Problem, pairs: int, limits: DeviceLimits) -> int:
        del pairs, limits
        return 1024 if problem.num_experts > 512 else 512

    monkeypatch.setattr(launches, "_count_threads", threads)
    assert compute_kernels_revision("gfx942") != before


def test_revision_stays_when_nothing_changes() -> None:
    """Protects tables from being refused for the code that they were measured with, target by target."""
    first = {arch: compute_kernels_revision(arch) for arch in ARCHITECTURES}
    compute_kernels_revision.cache_clear()
    assert {arch: compute_kernels_revision(arch) for arch in ARCHITECTURES} == first


def test_candidates_are_those_of_the_facts() -> None:
    """A kernel that the facts offer has launches, and is described here, in the order that decides ties."""
    assert PROVIDER.facts.candidates == launches.CANDIDATES
    assert launches.KERNELS == tuple(launches._PLANNERS) == tuple(geometry.compute_limits(8, 2, MI300X))


@pytest.mark.parametrize("arch", ["gfx942", "sm_90", "host"])
def test_description_has_every_variant_of_every_candidate(arch: str) -> None:
    """Protects tables from a kernel whose launches could change without a change of the revision."""
    text = "\n".join(revision._describe_launches(arch))
    for kernel in (name for names in launches.SOURCES.values() for name in names):
        assert f"('{kernel}', " in text


def test_revision_changes_with_another_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kernel enters the revision and the landmarks with its entries in the lists of kernels alone."""
    before = compute_kernels_revision("gfx942")
    compute_kernels_revision.cache_clear()

    def limit(num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        return {**geometry.compute_limits(num_experts, topk, device), "fourth": 100}

    def plan(problem: Problem, device: DeviceLimits) -> tuple[launches.Launch, ...]:
        return tuple(replace(launch, kernel="fourth") for launch in launches._plan_oneshot(problem, device))

    for module in (revision, launches, launch_changes):
        monkeypatch.setattr(module, "compute_limits", limit)
    monkeypatch.setattr(revision, "KERNELS", (*launches.KERNELS, "fourth"))
    monkeypatch.setitem(launches._PLANNERS, "fourth", plan)
    text = "\n".join(revision._describe_launches("gfx942"))
    assert f"\n8 2 128 {geometry.compute_oneshot_max_tokens(8, 2, MI300X.lds_bytes)} 100\n" in text
    assert "('fourth', " in text
    assert compute_kernels_revision("gfx942") != before
    assert {100, 101} <= set(launch_changes.find_launch_changes(8, 2, MI300X, 1, 4096))
