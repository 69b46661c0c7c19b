"""Facts about the GPU architectures. Standard library only: the serving process imports this module."""

import re
from dataclasses import dataclass
from typing import Literal

from moesort_tune.errors import MoesortTuneError

Vendor = Literal["amd", "nvidia", "host"]
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Architecture:
    """Facts implied by the name of an architecture.

    lds_bytes: on-chip memory that one workgroup may use.
    outer_cache_bytes: a last-level cache behind the L2 that HIP reports, 0 where the L2 is the last level.
    parts: known products and partitions, {name: compute units}. The architecture alone does not determine the compute
    units, so a table is keyed by them as well.
    """

    name: str
    vendor: Vendor
    wavefront_size: int
    lds_bytes: int
    parts: dict[str, int]
    outer_cache_bytes: int = 0


# LDS and compute units: AMD's data sheets and the CDNA 2, 3 and 4 instruction set guides. A partition of an
# MI300 has a share of the compute units (DPX a half, QPX a quarter, CPX one XCD). MI300's and MI350's Infinity Cache of
# 256 MB lies behind an L2 of 4 MB for each XCD, which is all that HIP reports.
ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("gfx90a", "amd", 64, 64 * KIB, {"MI210": 104, "MI250": 104, "MI250X": 110}),
        Architecture(
            "gfx942",
            "amd",
            64,
            64 * KIB,
            {
                "MI300X": 304,
                "MI300X DPX": 152,
                "MI300X QPX": 76,
                "MI300X CPX": 38,
                "MI325X": 304,
                "MI300A": 228,
                "MI308X": 80,
            },
            outer_cache_bytes=256 * MIB,
        ),
        Architecture(
            "gfx950",
            "amd",
            64,
            160 * KIB,
            {"MI350X": 256, "MI355X": 256, "MI355X DPX": 128, "MI355X QPX": 64, "MI355X CPX": 32},
            outer_cache_bytes=256 * MIB,
        ),
        Architecture("sm_80", "nvidia", 32, 163 * KIB, {"A100": 108}),
        Architecture("sm_86", "nvidia", 32, 99 * KIB, {}),
        Architecture("sm_89", "nvidia", 32, 99 * KIB, {}),
        Architecture("sm_90", "nvidia", 32, 227 * KIB, {"H100": 132, "H200": 132}),
        Architecture("sm_100", "nvidia", 32, 227 * KIB, {}),
        Architecture("sm_103", "nvidia", 32, 227 * KIB, {}),
        Architecture("sm_120", "nvidia", 32, 99 * KIB, {}),
        Architecture("host", "host", 64, 64 * KIB, {}),
    )
}

AMD_ARCHITECTURES = tuple(a.name for a in ARCHITECTURES.values() if a.vendor == "amd")


def compute_last_level_cache_bytes(arch: str, l2_cache_bytes: int) -> int:
    """Return the size of the last-level cache of a device whose L2 HIP reports to have `l2_cache_bytes`."""
    known = ARCHITECTURES.get(arch)
    return max(l2_cache_bytes, known.outer_cache_bytes if known else 0)


def limit_lds_bytes(arch: str, stated: int) -> int:
    """Return the bytes of LDS that one workgroup may use: `stated`, limited to the architecture's known size.

    A table may state any number, since it is text. `host` has no limit: its LDS size is a setting.
    """
    known = ARCHITECTURES.get(arch)
    return stated if known is None or known.vendor == "host" else min(stated, known.lds_bytes)


_GCN_ARCH_NAME = re.compile(r"[a-z0-9_]+(:[a-z]+[+-])*")


def parse_gcn_arch_name(text: str) -> str:
    """Return the bare architecture of a device's `gcnArchName`: 'gfx942' for 'gfx942:sramecc+:xnack-'.

    Raise ValueError for a text of another form.
    """
    if not _GCN_ARCH_NAME.fullmatch(text):
        raise ValueError(f"expected an architecture name like 'gfx942:sramecc+:xnack-', got {text!r}")
    return text.partition(":")[0]


class UnknownArchitectureError(MoesortTuneError):
    """An architecture that the kernels are not built for."""


def get_architecture(name: str) -> Architecture:
    """Return the facts about `name`. Raise UnknownArchitectureError, which lists the known architectures."""
    known = ARCHITECTURES.get(name)
    if known is None:
        raise UnknownArchitectureError(f"the kernels are not built for {name}; they are for {', '.join(ARCHITECTURES)}")
    return known
