"""What the run of AITER's FlyDSL sort says where a part of it is missing."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from tests.isa import flydsl
from tests.isa.flydsl_compile import takes_one_launch


class Kernel:
    """Stands for AITER's module."""

    BLOCK_SIZE = 256

    @staticmethod
    def _compute_sub_tokens(num_experts: int) -> int:
        return 40 if num_experts > 256 else 1000


def have_flydsl(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    """Pretend that FlyDSL is installed, or that it is not."""
    spec = importlib.machinery.ModuleSpec("flydsl", None) if present else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)


def test_missing_flydsl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not everybody who has the sources has their compiler."""
    have_flydsl(monkeypatch, False)
    with pytest.raises(flydsl.FlyDslError, match="pip install flydsl"):
        flydsl.find_checkout({})


def test_missing_checkout_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder is the one of the other rivals."""
    have_flydsl(monkeypatch, True)
    for environment in ({}, {flydsl.VARIABLE: str(tmp_path)}):
        with pytest.raises(flydsl.FlyDslError, match=r"MOESORT_RIVALS .* git clone .*ROCm/aiter"):
            flydsl.find_checkout(environment)
    kernel = tmp_path / "aiter" / flydsl.KERNEL_FILE
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    assert flydsl.find_checkout({flydsl.VARIABLE: str(tmp_path)}) == (tmp_path / "aiter").resolve()


@pytest.mark.parametrize(
    ("num_experts", "topk", "last"), [(8, 2, 128), (128, 4, 16), (256, 8, 16), (32, 4, 64), (512, 10, 16)]
)
def test_one_launch_ends_where_aiters_does(num_experts: int, topk: int, last: int) -> None:
    """min(sub_tokens, max(16, 256 // max(topk, num_experts // 8))), as its host code computes it."""
    assert takes_one_launch(Kernel, num_experts, topk, last)
    assert not takes_one_launch(Kernel, num_experts, topk, last + 1)
