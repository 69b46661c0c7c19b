"""KFD sysfs trees of machines that are not here, laid out as the kernel's amdkfd driver writes them.

The values are those that the driver prints for these parts; lines that nothing reads are left out.
"""

from pathlib import Path

CPU = {"cpu_cores_count": 96, "simd_count": 0, "wave_front_size": 0, "gfx_target_version": 0, "vendor_id": 0}


def make_gpu(version: int, compute_units: int, device_id: int, *, xcc: int = 1, lds_kb: int = 64) -> dict[str, int]:
    """Return properties of one GPU node."""
    return {
        "cpu_cores_count": 0,
        "simd_count": 4 * compute_units,
        "lds_size_in_kb": lds_kb,
        "wave_front_size": 64 if version < 100000 else 32,
        "simd_per_cu": 4,
        "gfx_target_version": version,
        "vendor_id": 4098,
        "device_id": device_id,
        "num_xcc": xcc,
    }


def put(gpu: dict[str, int], bus: int, *, device: int = 0, domain: int = 0) -> dict[str, int]:
    """Return the node of a GPU in a slot."""
    return {**gpu, "domain": domain, "location_id": bus << 8 | device << 3}


MI210 = make_gpu(90010, 104, 0x740F)
MI300X = make_gpu(90402, 304, 0x74A1, xcc=8)
MI300X_CPX = make_gpu(90402, 38, 0x74A1, xcc=1)
MI325X = make_gpu(90402, 304, 0x74A5, xcc=8)
MI308X = make_gpu(90402, 80, 0x74A2, xcc=4)
MI355X = make_gpu(90500, 256, 0x75A3, xcc=8, lds_kb=160)
PHOENIX_APU = {**make_gpu(110003, 12, 0x15BF), "simd_per_cu": 2, "simd_count": 24, "cpu_cores_count": 16}


def write(folder: Path, *nodes: dict[str, int] | None) -> Path:
    """Write a topology of these nodes; None for one that this container may not read."""
    for number, values in enumerate(nodes):
        node = folder / "nodes" / str(number)
        node.mkdir(parents=True)
        if values is None:
            # As root nothing is unreadable, so what cannot be read is not a file.
            (node / "properties").mkdir()
        else:
            (node / "properties").write_text("".join(f"{name} {value}\n" for name, value in values.items()))
    return folder / "nodes"
