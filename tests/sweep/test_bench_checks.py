"""Which inputs a bench checks: all of them where it is asked to check, one in turn before it times a point."""

from collections.abc import Iterator

import pytest

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.work.builtin_kernels import PreparedBuiltin
from moesort_tune.sorting.check import WrongOutputError
from moesort_tune.sweep.worker.bench import VARIANTS, Bench
from moesort_tune.sweep.worker.messages import CheckRequest, MeasureRequest, WorkerSpec
from tests.sweep.kernels import KERNELS

SHAPE = Shape(8, 2)
SETTINGS = Settings(model_dim=8)
ONE_ROUND = StoppingRule(min_rounds=1, max_rounds=10_000, max_seconds=0.01, patience=10_000)


@pytest.fixture(name="bench")
def _bench(device: hip.Device) -> Iterator[Bench]:
    bench = Bench(WorkerSpec(device.properties.runtime, None, device.ordinal, "builtin"))
    yield bench
    bench.close()


@pytest.fixture(name="checked")
def _checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Note each check of a kernel on an input, which is made nevertheless."""
    checked: list[tuple[str, int]] = []
    check = PreparedBuiltin.check

    def note(self: PreparedBuiltin, kernel: str, variant: int, stream: hip.Stream) -> None:
        checked.append((kernel, variant))
        check(self, kernel, variant, stream)

    monkeypatch.setattr(PreparedBuiltin, "check", note)
    return checked


def test_check_runs_every_kernel_on_every_input(bench: Bench, checked: list[tuple[str, int]]) -> None:
    """What is wrong for one routing only is found at the counts that every row has."""
    bench.answer(CheckRequest(SHAPE, 4, SETTINGS, KERNELS))
    assert sorted(checked) == sorted((kernel, variant) for kernel in KERNELS for variant in range(VARIANTS))


def test_points_that_are_timed_are_checked_on_their_inputs_in_turn(
    bench: Bench, checked: list[tuple[str, int]]
) -> None:
    """Each point is checked exactly before it is timed, for a third of the time that checking all inputs takes."""
    for tokens in (4, 5, 6):
        bench.answer(MeasureRequest(SHAPE, tokens, SETTINGS, KERNELS, ONE_ROUND))
    assert checked == [(kernel, variant) for variant in (1, 2, 0) for kernel in KERNELS]


def test_point_that_was_checked_is_not_checked_again(bench: Bench, checked: list[tuple[str, int]]) -> None:
    """Its check on all inputs holds for the one that its timing would check."""
    bench.answer(CheckRequest(SHAPE, 4, SETTINGS, KERNELS))
    before = len(checked)
    bench.answer(MeasureRequest(SHAPE, 4, SETTINGS, KERNELS, ONE_ROUND))
    assert len(checked) == before


def test_kernel_that_is_wrong_is_never_timed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it, and no time is returned."""

    def refuse(_self: PreparedBuiltin, kernel: str, _variant: int, _stream: hip.Stream) -> None:
        if kernel == KERNELS[1]:
            raise WrongOutputError(f"{kernel} is wrong")

    monkeypatch.setattr(PreparedBuiltin, "check", refuse)
    with pytest.raises(WrongOutputError, match=KERNELS[1]):
        bench.answer(MeasureRequest(SHAPE, 4, SETTINGS, KERNELS, ONE_ROUND))
