"""AMD GPUs from the kernel driver's list in sysfs, without any HIP call. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class KfdGpu:
    """One GPU (or partition of one) in the driver's list, which ignores *_VISIBLE_DEVICES.

    device_id: the PCI device number, '0x74a1'; pci_address: domain, bus and device, '0000:0c:00', which the partitions
    of a GPU share. Each is empty where the driver does not say it.
    """

    node: int
    arch: str
    compute_units: int
    lds_bytes: int
    device_id: str = ""
    pci_address: str = ""


def list_gpus(topology: Path = TOPOLOGY) -> tuple[KfdGpu, ...] | None:
    """Return the GPUs that the driver lists and this process may see, ordered by node.

    None where GPUs may exist that this process cannot see: in a container without access to any, or without sysfs.
    """
    try:
        files = {int(path.name): path / "properties" for path in topology.iterdir() if path.name.isdecimal()}
    except OSError:
        return None
    nodes = {node: _read_properties(files[node]) for node in sorted(files)}
    # CPUs are nodes too, without SIMDs.
    found = tuple(_parse_gpu(node, values) for node, values in nodes.items() if values and values.get("simd_count"))
    return None if not found and None in nodes.values() else found


def find_device_id(pci_address: str, topology: Path = TOPOLOGY) -> str:
    """Return the PCI device number of the GPU at '0000:0c:00', like '0x74a1'; '' where the driver lists none there."""
    gpus = list_gpus(topology) if pci_address else None
    return next((gpu.device_id for gpu in gpus or () if gpu.pci_address == pci_address), "")


def _format_pci_address(values: dict[str, int]) -> str:
    """Return domain, bus and device, '' where the driver says none.

    location_id holds the bus in its bits from 8 on and the device in those from 3 on. The number of a partition is in
    the bits from 28 on, or, by newer drivers, in the three lowest.
    """
    location = values.get("location_id", 0)
    return f"{values.get('domain', 0):04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}" if location else ""


def _read_properties(file: Path) -> dict[str, int] | None:
    """Lines 'name value'; None for a node of which this container may not know."""
    try:
        return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}
    except (OSError, ValueError):
        return None


def _parse_gpu(node: int, values: dict[str, int]) -> KfdGpu:
    return KfdGpu(
        node=node,
        arch=decode_arch(values.get("gfx_target_version", 0)),
        compute_units=values["simd_count"] // max(values.get("simd_per_cu", 4), 1),
        lds_bytes=values.get("lds_size_in_kb", 0) * 1024,
        device_id=f"{device_id:#06x}" if (device_id := values.get("device_id", 0)) else "",
        pci_address=_format_pci_address(values),
    )


def decode_arch(gfx_target_version: int) -> str:
    """Return 'gfx90a' for 90010, 'gfx942' for 90402: decimal major, hexadecimal minor and stepping."""
    major, minor, stepping = gfx_target_version // 10000, gfx_target_version // 100 % 100, gfx_target_version % 100
    return f"gfx{major}{minor:x}{stepping:x}"
