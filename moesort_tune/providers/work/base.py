"""The heavy half of a provider: the functions of its work module, and the kernels that it opens on a device.

Importing this loads neither HIP nor torch.
"""

import importlib
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, KernelName, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts

if TYPE_CHECKING:
    from moesort_tune.device import hip
    from moesort_tune.measure.timers import Work


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

    def check(self, kernel: KernelName, variant: int, stream: "hip.Stream") -> None:
        """Run `kernel` on one input and compare every output exactly. Raise WrongOutputError."""

    def work(self, kernel: KernelName, variant: int) -> "Work":
        """Return a function that enqueues one sort of one input on a stream.

        It allocates nothing, so that it can be captured into a graph, and runs the same launches at every call.
        """


class Kernels(Protocol):
    """A provider's kernels, opened on a device.

    name: the provider's; revision: names the kernels' code in a table's entry; compiler: made that code.
    """

    @property
    def name(self) -> str:
        """The provider's name."""

    @property
    def revision(self) -> str:
        """Name of the kernels' code in a table's entry; it changes whenever their times may."""

    @property
    def compiler(self) -> str:
        """Name and version of what made their code."""

    def warm_up(self, stream: "hip.Stream") -> None:
        """Do once what the first sort would do besides sorting, such as compiling: no point's time limit runs yet."""

    def limits(self, shape: Shape) -> Limits:
        """Return the largest token count of every candidate, in order; see limits_of."""

    def prepare(self, point: Point) -> AbstractContextManager[PreparedPoint]:
        """Allocate and fill what the point needs on the device; free it at the end of `with`."""

    def close(self) -> None:
        """Free what the kernels hold on the device; no point may be prepared afterwards."""


class WorkModule(Protocol):
    """The functions of a provider's work module. Importing it loads neither HIP nor torch nor the kernels' package."""

    def why_not(self) -> str:
        """Return why the kernels cannot run here, '' where nothing is known against it. Load nothing."""

    def revision_of(self, arch: str) -> str | None:
        """Return the revision of the kernels that would run on `arch`; None where only the opened kernels know."""

    def open_kernels(self, device: "hip.Device") -> Kernels:
        """Load the kernels on `device`. Raise MoesortTuneError, a ProviderError where the package does not work."""


class ProviderError(MoesortTuneError):
    """Kernels that cannot run here."""


_UNKNOWN: Final = "no provider of that name is registered"


def available(operation: Operation = SORTING) -> list[str]:
    """Return the names of the operation's providers against which nothing is known, this package's own first."""
    return [name for name in list_registered(operation) if not why_not(name)]


def list_registered(operation: Operation) -> list[str]:
    """Return the names of all registered providers whose kernels compute `operation`, this package's own first."""
    return [name for name in registry.list_names() if registry.find_operation(name) == operation]


def why_not(name: str) -> str:
    """Return why the provider's kernels cannot run here, '' where nothing is known against it. Load no kernels."""
    try:
        return _work_module(name).why_not()
    except registry.UnknownProviderError:
        return _UNKNOWN
    except registry.BrokenProviderError as error:
        return str(error)


def open_kernels(name: str, device: "hip.Device") -> Kernels:
    """Return the provider's kernels on `device`, warmed up.

    Raise ProviderError where they cannot run, BrokenProviderError, and what opening them raises.
    """
    try:
        work = _work_module(name)
    except registry.UnknownProviderError:
        raise unavailable(name, _UNKNOWN) from None
    if reason := work.why_not():
        raise unavailable(name, reason)
    with ExitStack() as opened:
        kernels = work.open_kernels(device)
        opened.callback(kernels.close)
        with device.create_stream() as stream:
            kernels.warm_up(stream)
        opened.pop_all()
    return kernels


def revision_of(name: str, arch: str) -> str | None:
    """Return the revision of the kernels that would run on `arch`, None where it is not known without opening them.

    Raise UnknownProviderError, BrokenProviderError.
    """
    return _work_module(name).revision_of(arch)


def unavailable(name: str, reason: str) -> ProviderError:
    """Return the error of a provider whose kernels cannot run, with the providers whose kernels can."""
    others = ",".join(other for other in available(registry.find_operation(name)) if other != name)
    return ProviderError(f"the kernels of {name} cannot run here ({reason}); use --kernels {others}")


def limits_of(facts: Facts, shape: Shape, device: DeviceLimits) -> Limits:
    """Return the limits that `facts` states, for a sweep: 0 for a candidate that may not even run without tokens."""
    limits = facts.limits(shape.num_experts, shape.topk, device)
    return {kernel: max(0, limit) for kernel, limit in limits.items()}


def _work_module(name: str) -> WorkModule:
    dotted = registry.get_provider(name).work
    with registry.name_package_in_errors(name):
        return cast(WorkModule, importlib.import_module(dotted))
