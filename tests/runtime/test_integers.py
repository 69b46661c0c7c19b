"""What callers take for an integer: numpy's decide as Python's do, and what is none is refused each time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moesort_tune import runtime
from moesort_tune.runtime import Dispatcher
from moesort_tune.tables import store
from tests.tables.examples import device, entry, row, table

ROWS = [row(64, 2, 300), row(64, 8, 100), row(255, 16, 40)]
SHAPES = [(20, 64, 20), (40, 255, 16), (101, 64, 8), (120, 100, 5), (127, 127, 127)]
"""Each fits into 8 bits; on the way to a decision their products do not."""


Load = Callable[[], Any]  # a Dispatcher, whose types say int


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Make dispatchers that remember nothing yet."""
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    store.save(tmp_path / "gfx942.yaml", table(entry(ROWS, device=device(compute_units=80)), entry(ROWS)))
    return lambda: Dispatcher.load(tmp_path / "gfx942.yaml", compute_units=304)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.int64, np.uint64, np.array])
def test_integers_of_numpy_decide_as_pythons_do(load: Load, kind: Callable[[int], Any]) -> None:
    """First and remembered, one of the three or all of them; what is remembered is right for plain integers too."""
    right = load()
    for shape in SHAPES:
        for wide in range(1, 8):  # which of the three are numpy's
            mixed = tuple(kind(value) if wide >> place & 1 else value for place, value in enumerate(shape))
            dispatcher = load()
            decisions = [dispatcher.policy(*mixed), dispatcher.policy(*mixed), dispatcher.policy(*shape)]
            assert decisions == [right.policy(*shape)] * 3
            assert dispatcher.explain(*mixed) == right.explain(*shape)
            assert dispatcher.has_row(*mixed[1:]) == right.has_row(*shape[1:])


def test_decision_of_a_small_type_does_not_overflow(load: Load) -> None:
    """topk 20 as eight bits: its square is 400, which eight bits take for 144."""
    dispatcher = load()
    assert dispatcher.policy(500, 64, np.uint8(20)) == load().policy(500, 64, 20) == dispatcher.policy(500, 64, 20)
    assert {type(value) for shape in dispatcher._memo for value in shape} == {int}
    assert type(dispatcher.explain(np.uint8(5), np.uint8(64), np.uint8(8)).tokens) is int


NO_INTEGERS = [20.0, 20.5, float("nan"), float("inf"), "20", b"20", None, np.float32(20), np.array([20, 20]), [20], 20j]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize("name", ["tokens", "num_experts", "topk"])
def test_what_is_no_integer_is_a_type_error_before_and_after_its_equal(load: Load, name: str, value: Any) -> None:
    """20.0 finds in a dict what was remembered for 20; the same call must not fail first and pass later."""
    dispatcher = load()
    plain = {"tokens": 20, "num_experts": 20, "topk": 20}
    for remembered in (False, True):
        for ask in (dispatcher.policy, dispatcher.explain):
            with pytest.raises(TypeError, match=f"{name} must be an integer, got"):
                ask(**plain | {name: value})
        if not remembered:
            dispatcher.policy(**plain)
    if name != "tokens":
        with pytest.raises(TypeError, match=f"{name} must be an integer, got"):
            dispatcher.has_row(**{"num_experts": 64, "topk": 8} | {name: value})
    assert sum(dispatcher.counts().values()) == 1


def test_tensors_that_are_no_integers_are_a_type_error_too(load: Load) -> None:
    """torch's floats have a `|` that fails in its own way."""
    torch = pytest.importorskip("torch")
    dispatcher = load()
    assert dispatcher.policy(torch.tensor(101), 64, 8) == dispatcher.policy(101, 64, 8)
    with pytest.raises(TypeError, match="tokens must be an integer, got Tensor"):
        dispatcher.policy(torch.tensor(101.0), 64, 8)


def test_truth_values_are_one_and_zero(load: Load) -> None:
    """Python's are integers, and numpy's are treated alike."""
    dispatcher = load()
    for truth in (True, np.bool_(True)):
        for _ in range(2):
            assert dispatcher.policy(truth, 64, truth) == dispatcher.policy(1, 64, 1)


def test_compute_units_are_an_integer_of_any_kind(tmp_path: Path, load: Load) -> None:
    """They come from device properties and from arrays; 304.0 is no number of compute units."""
    path = load().table
    small = Dispatcher.load(path, compute_units=np.int64(80))  # type: ignore[arg-type]
    assert small.entry == entry(ROWS, device=device(compute_units=80))
    assert type(small.compute_units) is int
    assert tmp_path.is_dir()
    runtime.reset()
    assert runtime.get("gfx942", np.uint16(304)) is runtime.get("gfx942", 304)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"compute_units must be an integer, got float 304\.0"):
        Dispatcher.load(path, compute_units=304.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"compute_units must be an integer, got float 304\.0"):
        runtime.get("gfx942", 304.0)  # type: ignore[arg-type]
    runtime.reset()
