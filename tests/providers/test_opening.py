"""Opening a provider's kernels on a device, and what is light about it."""

import subprocess
import sys

import pytest

from moesort_tune.device import hip
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.providers.facts import registry
from moesort_tune.providers.work import base
from moesort_tune.providers.work.base import Point, ProviderError, limits_of, open_kernels
from moesort_tune.providers.work.builtin_kernels import BuiltinKernels
from moesort_tune.sorting.revision import compute_kernels_revision
from tests.live_objects import count_live_objects

SHAPE = Shape(8, 2)


@pytest.mark.parametrize("moe_buf", [True, False])
def test_builtin_kernels_are_checked_and_enqueued(device: hip.Device, moe_buf: bool) -> None:
    """Every candidate that the facts name runs, with and without a moe_buf to zero, and nothing is left behind."""
    before = count_live_objects()
    kernels = open_kernels("builtin", device)
    facts = registry.get_facts("builtin")
    point = Point(SHAPE, 40, Settings(model_dim=8, moe_buf=moe_buf), variants=2)
    with device.create_stream() as stream, kernels.prepare(point) as prepared:
        for candidate in facts.candidates:
            prepared.check(candidate.name, 1, stream)
            prepared.work(candidate.name, 0)(stream)
        stream.synchronize()
    assert list(kernels.limits(SHAPE)) == [candidate.name for candidate in facts.candidates]
    assert kernels.revision == base.revision_of("builtin", device.properties.arch)
    kernels.close()
    assert count_live_objects() == before


def test_kernels_that_do_not_warm_up_are_closed(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that fails when it compiles leaves no device memory to the providers after it."""

    def fail(*_: object) -> None:
        raise ProviderError("the compiler failed")

    monkeypatch.setattr(BuiltinKernels, "warm_up", fail)
    before = count_live_objects()
    with pytest.raises(ProviderError, match="the compiler failed"):
        open_kernels("builtin", device)
    assert count_live_objects() == before


def test_unknown_kernels_are_refused_with_what_there_is(device: hip.Device) -> None:
    """A worker that is asked for kernels that nobody registered answers with a sentence."""
    with pytest.raises(
        ProviderError, match=r"of third cannot run here \(no provider of that name is registered\); use"
    ):
        open_kernels("third", device)


def test_revision_of_builtin_kernels_is_known_without_a_device() -> None:
    """Protects doctor and planning: they compare a table's revision on machines without that GPU."""
    assert {base.revision_of("builtin", arch) for arch in ARCHITECTURES} == {
        compute_kernels_revision(arch) for arch in ARCHITECTURES
    }
    assert base.revision_of("builtin", "gfx000") is None


@pytest.mark.parametrize(("num_experts", "limit"), [(818, MAX_TOKENS), (819, 0)])
def test_limits_of_a_sweep_are_never_negative(num_experts: int, limit: int) -> None:
    """A table's row states how many tokens a kernel takes; that it may not even run for none is the facts' matter."""
    device = DeviceLimits("gfx942", 304, 64, 65536)
    limits = limits_of(registry.get_facts("aiter"), Shape(num_experts, 2), device)
    assert limits == {"oneshot": limit, "multiphase": MAX_TOKENS}


def test_asking_for_what_can_run_loads_neither_hip_nor_torch() -> None:
    """Protects the command line's start, and the sweep's parent process, which must not load HIP."""
    code = (
        "import sys; from moesort_tune.providers.work import base;"
        "base.available(), base.revision_of('builtin', 'gfx942'), base.revision_of('aiter', 'gfx942');"
        "print([name for name in ('torch', 'aiter', 'hip', 'rocm') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
