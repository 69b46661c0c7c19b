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
    """The GPUs that the driver lists, by node; None where it lists nothing that may be read, as in some containers."""
    try:
        files = {int(path.name): path / "properties" for path in topology.iterdir() if path.name.isdecimal()}
        nodes = {node: _properties(files[node].read_text()) for node in sorted(files)}
    except (OSError, ValueError):
        return None
    # CPUs are nodes too, without SIMDs; a node whose file is empty is one that a container may not see.
    return tuple(_gpu(node, values) for node, values in nodes.items() if values.get("simd_count"))


def _properties(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines() if line.strip())}


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
