"""The product of a torch device, from torch's properties and the driver's list."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from moesort_tune.device import kfd
from moesort_tune.device.torch_devices import get_device_id
from tests.device import kfd_trees as trees

GPU = torch.device("cuda", 0)
SLOTS = {"pci_domain_id": 0, "pci_bus_id": 0x0D, "pci_device_id": 0}


@pytest.fixture
def rocm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that asks for the device id of a GPU in a machine with these nodes."""

    def ask(*nodes: dict[str, int], units: int = 304, **properties: object) -> str:
        known = {"gcnArchName": "gfx942:sramecc+:xnack-", "multi_processor_count": units, **properties}
        gpus = kfd.list_gpus(trees.write(tmp_path, trees.CPU, *nodes))
        monkeypatch.setattr(torch.version, "hip", "7.2")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**known))
        monkeypatch.setattr(kfd, "list_gpus", lambda: gpus)
        return get_device_id(GPU)

    return ask


def test_gpu_is_found_by_its_pci_address(rocm: Any) -> None:
    """HIP's numbers follow the *_VISIBLE_DEVICES variables and the driver's do not, so order says nothing."""
    assert rocm(trees.put(trees.MI300X, 0x0C), trees.put(trees.MI325X, 0x0D), **SLOTS) == "0x74a5"


def test_partition_has_the_id_of_its_gpu(rocm: Any) -> None:
    """All partitions of a GPU are at its address."""
    parts = [trees.put(trees.MI300X_CPX, 0x0D)] * 8
    assert rocm(trees.put(trees.MI325X, 0x0C), *parts, units=38, **SLOTS) == "0x74a1"


def test_older_torch_goes_by_the_kind_where_it_is_one_product(rocm: Any) -> None:
    """A torch that says no address: what all GPUs of this kind are, this one is."""
    assert rocm(trees.put(trees.MI300X, 0x0C), trees.put(trees.MI308X, 0x0D)) == "0x74a1"


def test_older_torch_knows_no_product_among_several(rocm: Any) -> None:
    """Better none than the wrong one."""
    assert rocm(trees.put(trees.MI300X, 0x0C), trees.put(trees.MI325X, 0x0D)) == ""


def test_gpu_outside_the_list_is_unknown(rocm: Any) -> None:
    """A driver's list that a container may not read."""
    assert rocm(trees.put(trees.MI300X, 0x0C), **SLOTS) == ""


def test_nvidia_gpu_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """H100 and H200 share architecture and size."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="NVIDIA H200"))
    assert get_device_id(GPU) == "NVIDIA H200"


def test_cpu_is_no_product() -> None:
    """The host has no device id."""
    assert get_device_id(torch.device("cpu")) == ""
