"""Facts of a device that are known without opening it. Standard library only: a serving process imports this."""

from typing import NamedTuple


class AttachedGpu(NamedTuple):
    """The attached GPU. alike: every GPU that could be meant is of this kind.

    device_id: tells products of one kind apart ('0x74a1'); '' where the GPUs of this kind are of several products.
    """

    arch: str
    compute_units: int
    alike: bool
    device_id: str = ""


class DeviceLimits(NamedTuple):
    """Inputs of launches and limits: compute units, lanes of a wave, LDS bytes that one workgroup may use."""

    arch: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
