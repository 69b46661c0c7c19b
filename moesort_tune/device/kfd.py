"""AMD GPUs as the kernel driver lists them in sysfs: no HIP call, nothing to load. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class KfdGpu:
    """One GPU (or partition of one) that the driver lists, whatever *_VISIBLE_DEVICES hides."""

    node: int
    arch: str
    compute_units: int
    lds_bytes: int


def gpus(topology: Path = TOPOLOGY) -> tuple[KfdGpu, ...] | None:
    """The GPUs that the driver lists and that may be seen from here, by node.

    None where there may be some that cannot be seen: in a container that was given none of them, or no sysfs.
    """
    try:
        files = {int(path.name): path / "properties" for path in topology.iterdir() if path.name.isdecimal()}
    except OSError:
        return None
    nodes = {node: _properties(files[node]) for node in sorted(files)}
    # CPUs are nodes too, without SIMDs.
    found = tuple(_gpu(node, values) for node, values in nodes.items() if values and values.get("simd_count"))
    return None if not found and None in nodes.values() else found


def _properties(file: Path) -> dict[str, int] | None:
    """Lines 'name value'; None for a node of which this container may not know."""
    try:
        return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}
    except (OSError, ValueError):
        return None


def _gpu(node: int, values: dict[str, int]) -> KfdGpu:
    return KfdGpu(
        node=node,
        arch=arch_of(values.get("gfx_target_version", 0)),
        compute_units=values["simd_count"] // max(values.get("simd_per_cu", 4), 1),
        lds_bytes=values.get("lds_size_in_kb", 0) * 1024,
    )


def arch_of(gfx_target_version: int) -> str:
    """'gfx90a' for 90010, 'gfx942' for 90402: decimal major, hexadecimal minor and stepping."""
    major, minor, stepping = gfx_target_version // 10000, gfx_target_version // 100 % 100, gfx_target_version % 100
    return f"gfx{major}{minor:x}{stepping:x}"
