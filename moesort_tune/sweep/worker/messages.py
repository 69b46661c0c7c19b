"""Messages between the sweep and the process that holds the device. All can be pickled; none needs HIP."""

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.tables.schema import LaunchGaps

if TYPE_CHECKING:
    from moesort_tune.device.hip import DeviceProperties


@dataclass(frozen=True)
class WorkerSpec:
    """Which device and kernels a worker opens.

    runtime: 'amd', 'cuda', 'host', or None for what is attached. arch: what the device must be, or None for any.
    must_be_idle: refuse a device on whose memory another program holds much.
    """

    runtime: str | None
    arch: str | None
    ordinal: int
    provider: str
    must_be_idle: bool = False


@dataclass(frozen=True)
class DeviceFacts:
    """The device and kernels that a worker has opened, as a table's entry and the samples record them.

    device_id: tells products of one architecture apart: '0x74a1', of an NVIDIA GPU its name; pci_address:
    '0000:0c:00', host: the machine's name. Each is empty where it is unknown.
    """

    name: str
    arch: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
    runtime: str
    hip: str
    driver: str
    compiler: str
    provider: str
    revision: str
    device_id: str = ""
    pci_address: str = ""
    host: str = ""

    @classmethod
    def of(cls, properties: "DeviceProperties", *, compiler: str, provider: str, revision: str) -> "DeviceFacts":
        """Return the facts that HIP reports of the device, with the kernels that run on it."""
        return cls(
            name=properties.name,
            arch=properties.arch,
            compute_units=properties.compute_units,
            wavefront_size=properties.wavefront_size,
            lds_bytes=properties.lds_bytes,
            runtime=properties.runtime,
            hip=properties.hip_version,
            driver=properties.driver_version,
            compiler=compiler,
            provider=provider,
            revision=revision,
            device_id=properties.device_id,
            pci_address=properties.pci_address,
            host=platform.node(),
        )

    @property
    def limits(self) -> DeviceLimits:
        """Sizes of the device that the kernels' limits depend on."""
        return DeviceLimits(self.arch, self.compute_units, self.wavefront_size, self.lds_bytes)


@dataclass(frozen=True)
class LimitRequest:
    """Ask for the largest token count of each kernel. Answer: Limits."""

    shape: Shape

    def __str__(self) -> str:
        return str(self.shape)


@dataclass(frozen=True)
class CheckRequest:
    """Ask for an exact check of these kernels. Answer: None, or the error that the check raised."""

    shape: Shape
    tokens: int
    settings: Settings
    kernels: tuple[KernelName, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.kernels)} at {self.tokens} tokens"


@dataclass(frozen=True)
class MeasureRequest:
    """Ask for an exact check and then the times of these kernels. Answer: Measured."""

    shape: Shape
    tokens: int
    settings: Settings
    kernels: tuple[KernelName, ...]
    rule: StoppingRule

    def __str__(self) -> str:
        return f"{' and '.join(self.kernels)} at {self.tokens} tokens"


@dataclass(frozen=True)
class GapRequest:
    """Ask for what each further launch costs on the device. Answer: LaunchGaps, or NoLaunchGaps."""

    def __str__(self) -> str:
        return "the launch gap"


@dataclass(frozen=True)
class NoLaunchGaps:
    """The answer to a GapRequest where a mode could not be measured: a table keeps all of them or none."""

    reason: str


@dataclass(frozen=True)
class Measured:
    """The answer to a MeasureRequest.

    first_us: one time of each kernel in order, taken before any warm-up, as a cold comparison would see it.
    """

    measurement: Measurement
    first_us: dict[KernelName, float]


@dataclass(frozen=True)
class Refusal:
    """The answer that an error in the worker is: its sentence, and details for a developer.

    device_failed: by a HIP call, so that another process or another device may answer the same request.
    """

    sentence: str
    details: str
    device_failed: bool = False


Request: TypeAlias = LimitRequest | CheckRequest | MeasureRequest | GapRequest
Answer: TypeAlias = Limits | Measured | LaunchGaps | NoLaunchGaps | Refusal | None


class Worker(Protocol):
    """A device to measure with."""

    @property
    def facts(self) -> DeviceFacts:
        """Facts of the opened device and kernels."""

    def limits(self, shape: Shape) -> Limits:
        """Return the largest token count of each kernel, in the candidates' order."""

    def check(self, request: CheckRequest) -> None:
        """Raise WorkerRefusedError for a wrong kernel, WorkerLostError where a kernel crashes or never ends."""

    def measure(self, request: MeasureRequest) -> Measured:
        """Check and time kernels. Raise WorkerRefusedError, WorkerLostError."""

    def measure_launch_gaps(self) -> LaunchGaps | NoLaunchGaps:
        """Return what each further launch costs, or why it is not known. Raise WorkerRefusedError, WorkerLostError."""

    def close(self) -> None:
        """Release the device."""
