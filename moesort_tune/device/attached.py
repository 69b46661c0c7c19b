"""Detection of the AMD GPU that this process will most likely use, without any GPU library. Standard library only."""

import re
from collections.abc import Iterable, Mapping

from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.device.kfd import KfdGpu, decode_arch
from moesort_tune.domain.device import AttachedGpu


def find_attached_gpu(gpus: Iterable[KfdGpu] | None, environment: Mapping[str, str]) -> AttachedGpu | None:
    """Return the first GPU that the kernels are built for, skipping integrated ones; None without one.

    gpus: the driver's list, which ignores the *_VISIBLE_DEVICES variables that hide GPUs from HIP.
    """
    reported = [(get_reported_arch(gpu, environment), gpu.compute_units, gpu.device_id) for gpu in gpus or ()]
    known = [one for one in reported if one[0] in AMD_ARCHITECTURES]
    if not known:
        return None
    kind = known[0][:2]
    ids = {device_id for *other, device_id in known if tuple(other) == kind}
    return AttachedGpu(
        *kind, alike={one[:2] for one in known} == {kind}, device_id=known[0][2] if len(ids) == 1 else ""
    )


OVERRIDE = re.compile(r"HSA_OVERRIDE_GFX_VERSION(_\d+)?")
"""Names of the variables that override the architecture of all GPUs, or of the one with this node number."""

_OVERRIDING = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{1,2})", re.ASCII)


def get_reported_arch(gpu: KfdGpu, environment: Mapping[str, str]) -> str:
    """Return the name that HIP will report: the driver's, unless the user overrides it."""
    for variable in (f"HSA_OVERRIDE_GFX_VERSION_{gpu.node}", "HSA_OVERRIDE_GFX_VERSION"):
        override = _OVERRIDING.fullmatch(environment.get(variable, ""))
        if override:
            major, minor, stepping = map(int, override.groups())
            return decode_arch(major * 10000 + minor * 100 + stepping)
    return gpu.arch
