"""Which AMD GPU this process will most likely run on, told without any GPU library. Standard library only."""

import re
from collections.abc import Iterable, Mapping

from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.device.kfd import KfdGpu, arch_of
from moesort_tune.domain.device import AttachedGpu


def attached_gpu(gpus: Iterable[KfdGpu] | None, environment: Mapping[str, str]) -> AttachedGpu | None:
    """The first GPU that the kernels are built for: an integrated one beside it does not count. None without one.

    gpus: what the driver lists; it knows nothing of the *_VISIBLE_DEVICES that hide some of them from HIP.
    """
    reported = [(reported_arch(gpu, environment), gpu.compute_units) for gpu in gpus or ()]
    kinds = [kind for kind in reported if kind[0] in AMD_ARCHITECTURES]
    if not kinds:
        return None
    arch, compute_units = kinds[0]
    return AttachedGpu(arch, compute_units, alike=len(set(kinds)) == 1)


OVERRIDE = re.compile(r"HSA_OVERRIDE_GFX_VERSION(_\d+)?")
"""Names of the variables that override the architecture of all GPUs, or of the one with this node number."""

_OVERRIDING = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{1,2})", re.ASCII)


def reported_arch(gpu: KfdGpu, environment: Mapping[str, str]) -> str:
    """The name that HIP will report: the driver's, unless the user overrides it."""
    for variable in (f"HSA_OVERRIDE_GFX_VERSION_{gpu.node}", "HSA_OVERRIDE_GFX_VERSION"):
        override = _OVERRIDING.fullmatch(environment.get(variable, ""))
        if override:
            major, minor, stepping = map(int, override.groups())
            return arch_of(major * 10000 + minor * 100 + stepping)
    return gpu.arch
