"""Where kernels come from: what the sweep needs to know of a set of kernels, whoever wrote them."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, cast

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.timers import Work
from moesort_tune.providers.work import aiter_package


@dataclass(frozen=True)
class Point:
    """One problem to check and time: a shape at a token count, with `variants` inputs that differ by their seed."""

    shape: Shape
    tokens: int
    settings: Settings
    variants: int

    def __str__(self) -> str:
        return f"{self.shape.num_experts} experts, topk {self.shape.topk}, {self.tokens} tokens"


class PreparedPoint(Protocol):
    """A point's inputs and outputs on the device."""

    def check(self, kernel: KernelName, variant: int, stream: hip.Stream) -> None:
        """Runs `kernel` on one input and compares every output exactly. Raises WrongOutputError."""

    def work(self, kernel: KernelName, variant: int) -> Work:
        """What gives one sort to a stream; it allocates nothing, so it can be captured."""


class Provider(Protocol):
    """A set of the two kernels.

    name, revision: what the table's entry is keyed by; compiler: what made their code.
    """

    name: str
    revision: str
    compiler: str

    def oneshot_max_tokens(self, shape: Shape) -> int:
        """Largest token count for which oneshot may run; 0 where it never may."""

    def prepare(self, point: Point) -> AbstractContextManager[PreparedPoint]:
        """The point on the device, freed at the end of `with`."""

    def close(self) -> None:
        """Give back what the kernels hold on the device; no point may be prepared afterwards."""


@dataclass(frozen=True)
class _Entry:
    factory: str  # module:class, called with the device
    why_not: Callable[[], str]  # why it cannot run here, '' where nothing is known against it


_PROVIDERS: Final[dict[str, _Entry]] = {
    "builtin": _Entry("moesort_tune.providers.work.builtin:BuiltinProvider", lambda: ""),
    "aiter": _Entry("moesort_tune.providers.work.aiter:AiterProvider", aiter_package.why_not_measured),
}


class ProviderError(MoesortTuneError):
    """Kernels that cannot be had here."""


def available_providers() -> list[str]:
    """Return the names of the providers whose packages are installed and have what is called of them."""
    return [name for name, entry in _PROVIDERS.items() if not entry.why_not()]


def open_provider(name: str, device: hip.Device) -> Provider:
    """Return the provider's kernels on `device`. Raise ProviderError for one that cannot be had."""
    entry = _PROVIDERS.get(name)
    reason = entry.why_not() if entry else "there are none of that name"
    if entry is None or reason:
        raise unavailable(name, reason)
    module, _, factory = entry.factory.partition(":")
    return cast(Provider, getattr(importlib.import_module(module), factory)(device))


def unavailable(name: str, reason: str) -> ProviderError:
    """Return the error of a provider that cannot be had, with what can."""
    others = ",".join(other for other in available_providers() if other != name)
    return ProviderError(f"the kernels of {name} cannot be had here ({reason}); use --kernels {others}")
