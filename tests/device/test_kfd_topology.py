"""AMD GPUs as the kernel driver lists them."""

from pathlib import Path

import pytest

from moesort_tune.device import kfd
from moesort_tune.device.architectures import ARCHITECTURES
from tests.device import kfd_trees as trees


@pytest.mark.parametrize(
    ("node", "arch", "compute_units", "device_id"),
    [
        (trees.MI210, "gfx90a", 104, "0x740f"),
        (trees.MI300X, "gfx942", 304, "0x74a1"),
        (trees.MI300X_CPX, "gfx942", 38, "0x74a1"),
        (trees.MI325X, "gfx942", 304, "0x74a5"),
        (trees.MI308X, "gfx942", 80, "0x74a2"),
        (trees.MI355X, "gfx950", 256, "0x75a3"),
    ],
)
def test_gpu_is_reported_by_arch_compute_units_and_product(
    *, tmp_path: Path, node: dict[str, int], arch: str, compute_units: int, device_id: str
) -> None:
    """Protects the table's key: one gfx name covers parts and partitions of very different size, and products."""
    found = kfd.list_gpus(trees.write(tmp_path, trees.CPU, trees.CPU, trees.put(node, 0x0C)))
    lds_bytes = ARCHITECTURES[arch].lds_bytes
    assert found == (kfd.KfdGpu(2, arch, compute_units, lds_bytes, device_id, "0000:0c:00"),)


def test_every_partition_is_a_gpu_in_the_order_of_nodes(tmp_path: Path) -> None:
    """Protects a partitioned MI300X, and nodes past 9, which sort otherwise as text."""
    found = kfd.list_gpus(trees.write(tmp_path, trees.CPU, *[trees.MI300X_CPX] * 8, trees.CPU, trees.MI210))
    assert found is not None
    assert [gpu.node for gpu in found] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert [gpu.arch for gpu in found] == ["gfx942"] * 8 + ["gfx90a"]


def test_processor_with_graphics_is_listed_beside_the_gpu(tmp_path: Path) -> None:
    """Protects machines with an APU: what counts as a target is for the caller to say."""
    found = kfd.list_gpus(trees.write(tmp_path, trees.PHOENIX_APU, trees.MI210))
    assert found is not None
    assert [(gpu.arch, gpu.compute_units) for gpu in found] == [("gfx1103", 12), ("gfx90a", 104)]


def test_gpus_that_a_container_was_not_given_are_left_out(tmp_path: Path) -> None:
    """Protects containers with one GPU of eight: the others' nodes are there but cannot be read."""
    found = kfd.list_gpus(trees.write(tmp_path, trees.CPU, None, trees.MI355X, None))
    assert found is not None
    assert [gpu.node for gpu in found] == [2]


@pytest.mark.parametrize("nodes", [[trees.CPU, None], [None]])
def test_unreadable_list_is_unknown_rather_than_empty(tmp_path: Path, nodes: list[dict[str, int] | None]) -> None:
    """Protects against taking 'may not be read' for 'there is no GPU'."""
    assert kfd.list_gpus(trees.write(tmp_path, *nodes)) is None


def test_missing_sysfs_is_unknown(tmp_path: Path) -> None:
    """Protects containers without /sys/class/kfd."""
    assert kfd.list_gpus(tmp_path / "nodes") is None


def test_machine_without_a_gpu_has_none(tmp_path: Path) -> None:
    """Protects servers where the driver is loaded for nothing: known to be none."""
    assert kfd.list_gpus(trees.write(tmp_path, trees.CPU, trees.CPU)) == ()


def test_device_id_is_that_of_the_gpu_at_the_address(tmp_path: Path) -> None:
    """Protects products of one architecture and size from being taken for each other: MI300X and MI325X."""
    second = trees.put(trees.MI325X, 0x22, device=1, domain=1)
    topology = trees.write(tmp_path, trees.CPU, trees.put(trees.MI300X, 0x0C), None, second)
    assert kfd.find_device_id("0000:0c:00", topology) == "0x74a1"
    assert kfd.find_device_id("0001:22:01", topology) == "0x74a5"
    assert kfd.find_device_id("0000:22:01", topology) == ""
    assert kfd.find_device_id("", topology) == ""
    assert kfd.find_device_id("0000:0c:00", tmp_path / "none") == ""


@pytest.mark.parametrize("shift", [28, 0])
def test_partitions_share_the_address_of_their_gpu(tmp_path: Path, shift: int) -> None:
    """HIP and torch name a partition by the address of the whole GPU, wherever the driver writes its number."""
    place = trees.put(trees.MI300X_CPX, 0x0C)
    parts = [{**place, "location_id": place["location_id"] | part << shift} for part in range(8)]
    topology = trees.write(tmp_path, trees.CPU, *parts, trees.put(trees.MI325X, 0x0D))
    found = kfd.list_gpus(topology)
    assert found is not None
    assert [gpu.pci_address for gpu in found] == ["0000:0c:00"] * 8 + ["0000:0d:00"]
    assert [kfd.find_device_id(address, topology) for address in ("0000:0c:00", "0000:0d:00")] == ["0x74a1", "0x74a5"]


def test_driver_without_ids_and_addresses_says_so(tmp_path: Path) -> None:
    """Protects old drivers: nothing known is not a product 0 in slot 0."""
    topology = trees.write(tmp_path, {**trees.MI300X, "device_id": 0})
    assert [(gpu.device_id, gpu.pci_address) for gpu in kfd.list_gpus(topology) or ()] == [("", "")]
