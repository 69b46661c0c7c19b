"""Which AMD GPU this process will most likely run on, told without any GPU library. Standard library only."""

from collections.abc import Iterable, Mapping

from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.device.kfd import KfdGpu, arch_of
from moesort_tune.tables.search import AttachedGpu


def attached_gpu(gpus: Iterable[KfdGpu] | None, environment: Mapping[str, str]) -> AttachedGpu | None:
    """The first GPU that the kernels are built for: an integrated one beside it does not count. None without one.

    gpus: what the driver lists; it knows nothing of the *_VISIBLE_DEVICES that hide some of them from HIP.
    """
    kinds = [(arch, gpu.compute_units) for gpu in gpus or () if (arch := _arch(gpu, environment)) in AMD_ARCHITECTURES]
    if not kinds:
        return None
    arch, compute_units = kinds[0]
    return AttachedGpu(arch, compute_units, alike=len(set(kinds)) == 1)


def _arch(gpu: KfdGpu, environment: Mapping[str, str]) -> str:
    """The name that HIP will report: the driver's, unless the user overrides it."""
    for variable in (f"HSA_OVERRIDE_GFX_VERSION_{gpu.node}", "HSA_OVERRIDE_GFX_VERSION"):
        parts = environment.get(variable, "").split(".")
        if len(parts) == 3 and all(part.isdecimal() and len(part) < 4 for part in parts):
            major, minor, stepping = map(int, parts)
            return arch_of(major * 10000 + minor * 100 + stepping)
    return gpu.arch
