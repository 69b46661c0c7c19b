"""What the sweep and the process that holds the device say to each other. All of it can be pickled; none needs HIP."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Measurement
from moesort_tune.measure.stopping import StoppingRule

if TYPE_CHECKING:
    from moesort_tune.device.hip import DeviceProperties


@dataclass(frozen=True)
class WorkerSpec:
    """Which device and kernels a worker opens.

    runtime: 'amd', 'cuda', 'host', or None for what is attached. arch: what the device must be, or None for any.
    """

    runtime: str | None
    arch: str | None
    ordinal: int
    provider: str


@dataclass(frozen=True)
class DeviceFacts:
    """The device and kernels that a worker has opened; what a table's entry records of them."""

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

    @classmethod
    def of(cls, properties: "DeviceProperties", *, compiler: str, provider: str, revision: str) -> "DeviceFacts":
        """What HIP reports of the device, with the kernels that run on it."""
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
        )

    @property
    def builtin_on(self) -> DeviceLimits | None:
        """The device's limits where the kernels are the builtin ones; what other kernels depend on is not known."""
        if self.provider != "builtin":
            return None
        return DeviceLimits(self.arch, self.compute_units, self.wavefront_size, self.lds_bytes)


@dataclass(frozen=True)
class LimitRequest:
    """Asks for the largest token count that oneshot takes. Answer: int."""

    shape: Shape

    def __str__(self) -> str:
        return str(self.shape)


@dataclass(frozen=True)
class CheckRequest:
    """Asks for an exact check of these kernels. Answer: None, or the error that the check raised."""

    shape: Shape
    tokens: int
    settings: Settings
    kernels: tuple[KernelName, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.kernels)} at {self.tokens} tokens"


@dataclass(frozen=True)
class MeasureRequest:
    """Asks for an exact check and then the times of these kernels. Answer: Measured."""

    shape: Shape
    tokens: int
    settings: Settings
    kernels: tuple[KernelName, ...]
    rule: StoppingRule

    def __str__(self) -> str:
        return f"{' and '.join(self.kernels)} at {self.tokens} tokens"


@dataclass(frozen=True)
class Measured:
    """first_us: one time of each kernel taken before any warm-up, oneshot first: what a cold comparison would see."""

    measurement: Measurement
    first_us: dict[KernelName, float]


@dataclass(frozen=True)
class Refusal:
    """The sentence of an error that the worker met."""

    sentence: str
    details: str


Request: TypeAlias = LimitRequest | CheckRequest | MeasureRequest
Answer: TypeAlias = int | Measured | Refusal | None


class Worker(Protocol):
    """Holds a device; what the sweep measures with."""

    @property
    def facts(self) -> DeviceFacts:
        """The device and kernels."""

    def oneshot_max_tokens(self, shape: Shape) -> int:
        """Largest token count for which oneshot may run."""

    def check(self, request: CheckRequest) -> None:
        """Raises WorkerRefusedError for a wrong kernel, WorkerLostError where a kernel crashes or never ends."""

    def measure(self, request: MeasureRequest) -> Measured:
        """Raises WorkerRefusedError, WorkerLostError."""

    def close(self) -> None:
        """Ends it."""
