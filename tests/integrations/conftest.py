"""The stand-in for AITER as an installed package, and tables for its kernels."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from moesort_tune.integrations import aiter as integration
from moesort_tune.integrations import align, align_switch
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.torch_device import reset
from moesort_tune.providers.work import aiter_package
from moesort_tune.tables import store
from moesort_tune.tables.schema import Kernels, Row
from tests.integrations.align_frameworks import ALIGN_STAND_IN, Frameworks
from tests.operator.conftest import checked_tensors, torch_device
from tests.tables import examples

__all__ = ["checked_tensors", "torch_device"]

STAND_IN = Path(__file__).parent / "stand_in"


@dataclass(frozen=True)
class StandIn:
    """The stand-in, imported when it is first asked for."""

    @property
    def fused_moe(self) -> Any:
        return importlib.import_module("aiter.fused_moe")

    @property
    def dp_shared_expert(self) -> Any:
        return importlib.import_module("aiter.fused_moe_dp_shared_expert")

    @property
    def opus(self) -> Any:
        return importlib.import_module("aiter.ops.moe_sorting_opus")

    @property
    def runs(self) -> list[Any]:
        """What its two paths have run."""
        runs: list[Any] = self.opus.runs
        return runs

    def modules(self) -> dict[str, ModuleType]:
        """Return its imported modules."""
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "aiter"}


@pytest.fixture
def generation() -> str:
    """Return the generation of AITER that the stand-in plays; a test may parametrize this name."""
    return "e4048607"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, checked_tensors: None, generation: str) -> Iterator[StandIn]:
    """Yield an installed AITER that nobody has imported yet, and no table but those that a test names."""
    del checked_tensors
    monkeypatch.setenv("AITER_STAND_IN", generation)
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.delenv("MOESORT_TUNE_TABLE", raising=False)
    reset()
    there = StandIn()
    yield there
    integration.uninstall()
    for name in there.modules():
        del sys.modules[name]
    reset()


@pytest.fixture
def no_aiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without AITER, whatever this one has."""
    plain = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name == "aiter" else plain(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


MakeTable = Callable[..., Path]


@pytest.fixture
def make_table(torch_device: torch.device, tmp_path: Path) -> MakeTable:
    """Write a table for the device's kernels: by default AITER's, of the installed revision."""
    limits = get_sorting_device(torch_device).kernels.limits

    def make(*rows: Row, provider: Any = "aiter", revision: str | None = None) -> Path:
        package = aiter_package.find()
        of_aiter = package.revision if package else "none"
        own = get_sorting_device(torch_device).kernels.revision
        entry = examples.entry(
            rows,
            device=examples.device(compute_units=limits.compute_units, lds_bytes=limits.lds_bytes),
            kernels=Kernels(provider=provider, revision=revision or (of_aiter if provider == "aiter" else own)),
        )
        path = tmp_path / f"{limits.arch}.yaml"
        store.save(path, examples.table(entry, arch=limits.arch))
        return path

    return make


@pytest.fixture
def frameworks(
    torch_device: torch.device, checked_tensors: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Frameworks]:
    """Yield an installed vLLM and SGLang that nobody has imported yet, where alignments are asked for."""
    del checked_tensors
    monkeypatch.setenv(align_switch.VARIABLE, "1")
    monkeypatch.delenv("MOESORT_TUNE_TABLE", raising=False)
    monkeypatch.syspath_prepend(str(ALIGN_STAND_IN))
    align_switch.is_enabled.cache_clear()
    there = Frameworks(torch_device)
    there.forget()
    reset()
    yield there
    align.uninstall()
    there.forget()
    reset()
    align_switch.is_enabled.cache_clear()
