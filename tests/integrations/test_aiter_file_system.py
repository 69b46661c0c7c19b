"""Steered calls are served whatever the file system says about the table."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune.integrations import aiter as integration
from moesort_tune.tables.errors import TableError
from tests.integrations.conftest import StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases

pytestmark = pytest.mark.gpu


def call(stand_in: StandIn, device: torch.device) -> None:
    """One call as serving makes it."""
    arguments = make_arguments(cases.make_uniform(8, 4, 128), device)
    stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 128)


@pytest.mark.parametrize("name", ["n" * 300, "n" * 5000, "file/gfx942.yaml", "loop"])
def test_table_that_cannot_be_had_is_refused_when_it_is_named_and_passed_over_when_it_is_found(
    stand_in: StandIn, torch_device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Naming it in the program raises TableError before anything is served; by the environment it is passed over."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(TableError):
        integration.install(tmp_path / name)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / name))
    integration.install()
    call(stand_in, torch_device)
    assert stand_in.runs[-1].policy == 0


def test_folder_that_goes_away_leaves_the_calls_to_aiter(
    stand_in: StandIn, torch_device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system is there at start and stale at the first call."""
    integration.install(tmp_path)
    original = os.stat

    def raise_stale(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if not isinstance(path, int) and str(tmp_path) in os.fsdecode(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", raise_stale)
    call(stand_in, torch_device)
    assert stand_in.runs[-1].policy == 0
    assert integration.counts() == {"left alone: no usable table": 1}
