"""Fixtures of the operator's tests: the attached runtime's torch device, and tensors whose accesses are checked."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune import shipped
from moesort_tune.device import hip
from moesort_tune.operator.align_device import PlannedAlign
from moesort_tune.operator.planned_sort import PlannedSort
from moesort_tune.operator.torch_device import reset


@pytest.fixture(scope="session")
def torch_device(device: hip.Device) -> torch.device:
    """Return the device of the operator's tensors: on the attached GPU, or on the CPU where the runtime is host."""
    return torch.device("cpu") if device.properties.runtime == "host" else torch.device("cuda", device.ordinal)


@pytest.fixture
def checked_tensors(torch_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make torch's memory known to the host runtime, so that its checks cover the operator's tensors.

    They are kept until the test ends, so that no other tensor takes their place and graphs can be replayed.
    """
    known: dict[int, torch.Tensor] = {}

    def know(tensors: Iterable[object]) -> None:
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor) and tensor.numel() and tensor.data_ptr() not in (0, *known):
                hip.call("hipHostRegister", tensor.data_ptr(), tensor.nbytes, 0)
                known[tensor.data_ptr()] = tensor

    def wrap(planned: type, list_tensors: Callable[..., Iterable[object]]) -> None:
        plain = planned.launch  # type: ignore[attr-defined]

        def launch(self: object, *positional: Any, **named: Any) -> None:
            know(list_tensors(*positional, **named))
            plain(self, *positional, **named)

        monkeypatch.setattr(planned, "launch", launch)

    if torch_device.type == "cpu" and os.environ.get("MOESORT_HOST_CHECK") == "1":
        wrap(PlannedSort, lambda *_, request, outputs, workspace: (*request, *outputs, workspace))
        wrap(PlannedAlign, lambda _launches, _stream, request, workspace: (*request, workspace))
    yield
    for pointer in known:
        hip.call("hipHostUnregister", pointer)


@pytest.fixture
def no_table(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Yield no table but those that a test names, whatever ships for the attached device."""
    folder: Path = tmp_path_factory.mktemp("shipped")
    monkeypatch.delenv("MOESORT_TUNE_TABLE", raising=False)
    monkeypatch.setattr(shipped, "get_tables_folder", lambda: folder)
    reset()
    yield
    reset()
