"""Properties of a device and versions of its software, as HIP reports them."""

from dataclasses import dataclass

from moesort_tune.device.architectures import compute_last_level_cache_bytes, parse_gcn_arch_name
from moesort_tune.device.hip_calls import call, import_hip
from moesort_tune.device.kfd import find_device_id
from moesort_tune.device.machine import read_amdgpu_version
from moesort_tune.domain.device import DeviceLimits


@dataclass(frozen=True)
class DeviceProperties:
    """Properties of a device that HIP reports. arch is bare ('gfx942'); lds_bytes: LDS that one workgroup may use.

    pci_address: '0000:0c:00'; device_id: tells products of one architecture apart (see products). Each is empty where
    it is unknown, and on the host.
    """

    name: str
    arch: str
    target: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
    l2_cache_bytes: int
    memory_bytes: int
    runtime: str
    hip_version: str
    driver_version: str
    pci_address: str = ""
    device_id: str = ""

    @property
    def limits(self) -> DeviceLimits:
        """Return the part of the properties that launches and limits depend on."""
        return DeviceLimits(self.arch, self.compute_units, self.wavefront_size, self.lds_bytes)

    @property
    def last_level_cache_bytes(self) -> int:
        """Return the size of the last cache before memory, which need not be the L2."""
        return compute_last_level_cache_bytes(self.arch, self.l2_cache_bytes)


def get_runtime_version() -> str:
    """Return HIP's version, '7.2.53211'. It is the library's, so no device is needed."""
    return _format_version(int(call("hipRuntimeGetVersion")))


def get_driver_version(runtime: str) -> str:
    """Return the kernel driver's version: amdgpu's, '6.16.6', which HIP does not report; else HIP's answer."""
    return read_amdgpu_version() if runtime == "amd" else _format_version(int(call("hipDriverGetVersion")))


def read_properties(runtime: str, ordinal: int) -> DeviceProperties:
    """Return the properties of device `ordinal` of the chosen runtime. Raise HipError."""
    hip = import_hip()
    # hip-python 10 returns the struct, earlier ones fill the caller's.
    try:
        properties = call("hipGetDeviceProperties", ordinal)
    except TypeError:
        properties = hip.hipDeviceProp_t()
        call("hipGetDeviceProperties", properties, ordinal)
    name, target = _decode(properties.name), _decode(properties.gcnArchName)
    address = _format_pci_address(properties.pciDomainID, properties.pciBusID, properties.pciDeviceID)
    return DeviceProperties(
        name=name,
        arch=parse_gcn_arch_name(target),
        target=target,
        compute_units=int(properties.multiProcessorCount),
        wavefront_size=int(properties.warpSize),
        lds_bytes=int(properties.sharedMemPerBlock),
        l2_cache_bytes=int(properties.l2CacheSize),
        memory_bytes=int(properties.totalGlobalMem),
        runtime=runtime,
        hip_version=get_runtime_version(),
        driver_version=get_driver_version(runtime),
        pci_address=address,
        device_id=_choose_device_id(runtime, name, address),
    )


def _choose_device_id(runtime: str, name: str, pci_address: str) -> str:
    if runtime == "amd":
        return find_device_id(pci_address)
    return name if runtime == "cuda" else ""


def _format_pci_address(domain: int, bus: int, device: int) -> str:
    """Return '0000:0c:00'; '' for the host, which is no PCI device and has zeros."""
    return f"{domain:04x}:{bus:02x}:{device:02x}" if domain or bus or device else ""


def _decode(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _format_version(value: int) -> str:
    """Return HIP's version number as text: 70253211 is 7.2.53211."""
    return f"{value // 10_000_000}.{value // 100_000 % 100}.{value % 100_000}"
