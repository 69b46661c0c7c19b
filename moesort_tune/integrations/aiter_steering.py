"""Handle a call of AITER's `moe_sorting`: choose who sorts, by which policy, and count why."""

import functools
import logging
import operator
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moesort_tune import runtime
from moesort_tune.domain.vocabulary import AUTOMATIC, LOGGER
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.aiter_call import Call, Signature
from moesort_tune.providers.facts.aiter import PROVIDER
from moesort_tune.providers.work.aiter_package import AiterPackage

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(LOGGER)

MODULE: Final = "aiter.fused_moe"
"""Holds moe_sorting, and the switches of AITER's other backends."""

KERNELS: Final = PROVIDER.facts.name
"""Provider whose rows set the policy of AITER's own kernels."""

LEFT_ALONE: Final = "left alone: "
"""Begins the counted reasons of calls that AITER handled as if this package were not installed."""

UNEXPECTED: Final = LEFT_ALONE + "unexpected error"
"""The counted reason of calls in which this package failed."""

Run = Callable[[], Any]
"""The rest of a call once it is decided; its errors reach the caller."""

LOGGED_AT: Final = frozenset((1, 1_000, 100_000, 10_000_000))
"""Numbers of calls after which counts of the reasons are logged."""


class LeaveAlone(Exception):  # noqa: N818 - no error: AITER does the call
    """A call that is left to AITER; the text is the reason that is counted."""


class Steering(ABC):
    """Take AITER's calls. table: file or folder, None for the table that the process uses."""

    def __init__(self, original: Callable[..., Any], package: AiterPackage, table: str | None) -> None:
        """Raise AiterSignatureError where `original` cannot be steered."""
        self.original = original
        self.package = package
        self.table = table
        self._signature = Signature(original)
        self._calls = 0
        self._has_reported = False
        self._noted: dict[str, int] = {}
        self._noting = threading.Lock()
        self._counted: list[tuple[runtime.Dispatcher, dict[str, int]]] = []

    @abstractmethod
    def decide(self, call: Call) -> Run:
        """Return the rest of a call that AITER would do by one of the steered kernels. Raise LeaveAlone."""

    def count(self, dispatcher: runtime.Dispatcher) -> runtime.Dispatcher:
        """Count what this dispatcher decides from now on; the process may have used it before."""
        self._counted.append((dispatcher, dispatcher.counts()))
        return dispatcher

    def counts(self) -> dict[str, int]:
        """Return how often each reason decided, and why calls were left alone."""
        totals: dict[str, int] = {}
        for dispatcher, before in self._counted:
            for reason, times in dispatcher.counts().items():
                if times > before.get(reason, 0):
                    totals[reason] = totals.get(reason, 0) + times - before.get(reason, 0)
        return totals | self._noted

    def note(self, reason: str) -> None:
        """Count a call that no dispatcher decided."""
        with self._noting:
            self._noted[reason] = self._noted.get(reason, 0) + 1

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of a call.

        Any error in here leaves the call to AITER. AITER runs at most once, and its errors reach the caller.
        """
        theirs = functools.partial(self.original, *args, **kwargs)
        try:
            run = self._decide(Call(self._signature, args, kwargs)) or theirs
            self._log_counts()
        except Exception as error:
            self._report(error)
            run = theirs
        return run()

    def _decide(self, call: Call) -> Run | None:
        """Return the rest of the call; None where it is left alone, which is counted."""
        try:
            _check_arguments(call)
            self._check_backend(call)
            return self.decide(call)
        except LeaveAlone as left:
            self.note(LEFT_ALONE + str(left))
            return None

    def _report(self, error: Exception) -> None:
        """Count an unexpected error, and log the first."""
        self.note(UNEXPECTED)
        if not self._has_reported:
            self._has_reported = True
            _log.warning(
                "AITER does a call by itself because moesort-tune failed with %s: %s; please report it "
                "(later ones are only counted, as '%s')",
                *(type(error).__name__, error, UNEXPECTED),
                exc_info=error,
            )

    def _check_backend(self, call: Call) -> None:
        """Raise LeaveAlone for calls that AITER does not do by one of the steered kernels."""
        for name in ("flat", "output_aux"):
            if call.get(name):
                raise LeaveAlone(name)
        if call.get("return_local_topk_ids"):
            return  # AITER sorts these by the steered kernels whatever the environment says
        module = sys.modules.get(MODULE)
        if getattr(module, "_USE_CK_MOE_SORTING", False):
            raise LeaveAlone("CK")
        # An AITER without is_flydsl_available requires FlyDSL.
        is_available = getattr(module, "is_flydsl_available", lambda: True)
        if getattr(module, "_USE_FLYDSL_MOE_SORTING", False) and is_available():
            raise LeaveAlone("FlyDSL")

    def _log_counts(self) -> None:
        """Count the call, and log the counts now and then."""
        self._calls += 1
        if self._calls in LOGGED_AT:
            _log.info("moe_sorting of AITER, %d calls: %s", self._calls, self.counts())


class PolicySteering(Steering):
    """Set the policy of AITER's own kernels, by rows that were measured with them."""

    def __init__(self, original: Callable[..., Any], package: AiterPackage, table: str | None) -> None:
        super().__init__(original, package, table)
        self._dispatchers: dict[torch.device, runtime.Dispatcher | None] = {}

    def decide(self, call: Call) -> Run:
        """Return AITER's own call, with the policy that the table names."""
        if _convert_integer(call.get("dispatch_policy")) != AUTOMATIC:
            raise LeaveAlone("the caller's own policy")
        if call.get("expert_mask") is not None and not self.package.negative_ids_are_safe:
            raise LeaveAlone("expert mask, and this AITER is not safe with negative ids")
        ids = call.get("topk_ids")
        dispatcher = self._get_dispatcher(ids.device)
        if dispatcher is None:
            raise LeaveAlone("no usable table")
        tokens, topk = ids.shape
        num_experts = _convert_integer(call.get("num_experts")) or 0
        moe_buf, masked = call.condition
        if _is_published(dispatcher) and not dispatcher.has_row(num_experts, topk, masked):
            raise LeaveAlone("not among the published figures")
        policy = dispatcher.policy(tokens, num_experts, topk, moe_buf, masked)
        args, kwargs = call.set_policy(policy)
        return functools.partial(self.original, *args, **kwargs)

    def _get_dispatcher(self, device: "torch.device") -> runtime.Dispatcher | None:
        """Return the cached dispatcher for `device`, opened on first use; None where no table is usable."""
        if device not in self._dispatchers:
            try:
                self._dispatchers[device] = self.count(self._open_dispatcher(device))
            except MoesortTuneError as error:
                _log.warning("AITER decides by itself on %s: %s", device, error)
                self._dispatchers[device] = None
        return self._dispatchers[device]

    def _open_dispatcher(self, device: "torch.device") -> runtime.Dispatcher:
        from moesort_tune.device.torch_devices import get_device_id

        arch, compute_units = _identify(device)
        revision, device_id = self.package.revision, get_device_id(device) or None
        if self.table is None:
            return runtime.get(arch, compute_units, kernels=KERNELS, revision=revision, device_id=device_id)
        return runtime.Dispatcher.load(
            Path(self.table),
            arch=arch,
            compute_units=compute_units,
            kernels=KERNELS,
            revision=revision,
            device_id=device_id,
        )


class BuiltinSteering(Steering):
    """Sort with this package's kernels, wherever they support every argument of the call."""

    def __init__(self, original: Callable[..., Any], package: AiterPackage, table: str | None) -> None:
        super().__init__(original, package, table)
        self._usable: dict[torch.device, bool] = {}

    def decide(self, call: Call) -> Run:
        """Sort by the operator, and return a function that returns AITER's tuple."""
        unknown = call.list_unknown()
        if unknown:
            raise LeaveAlone(f"unknown argument {unknown[0]}")
        if not self._is_usable(call.get("topk_ids").device):
            raise LeaveAlone("the builtin kernels cannot be loaded")

        from moesort_tune.integrations.aiter_builtin import UnsupportedError, sort_like_aiter

        try:
            result = sort_like_aiter(call, self.table)
        except UnsupportedError as error:
            raise LeaveAlone("not supported by the builtin kernels") from error
        if _convert_integer(call.get("dispatch_policy")) != AUTOMATIC:
            self.note("the caller's own policy")
        return lambda: result

    def _is_usable(self, device: "torch.device") -> bool:
        """Return whether the kernels are loaded. Try it once for each device. Raise LeaveAlone during capture."""
        if device not in self._usable:
            from moesort_tune.operator.sorting_device import NotReadyError, get_sorting_device

            try:
                self.count(get_sorting_device(device).get_dispatcher(self.table))
            except NotReadyError as error:
                raise LeaveAlone("the builtin kernels were not loaded before capture") from error
            except MoesortTuneError as error:
                _log.warning("AITER sorts by itself on %s: %s", device, error)
                self._usable[device] = False
            else:
                self._usable[device] = True
        return self._usable[device]


def _check_arguments(call: Call) -> None:
    """Raise LeaveAlone for arguments that AITER refuses, so that the caller gets AITER's own error."""
    import torch

    ids = call.get("topk_ids")
    if (
        not call.fits()
        or not isinstance(ids, torch.Tensor)
        or ids.ndim != 2
        or ids.shape[1] < 1
        or ids.device.type not in ("cpu", "cuda")
        or (_convert_integer(call.get("num_experts")) or 0) < 1
    ):
        raise LeaveAlone("arguments that cannot be steered")


def _convert_integer(value: Any) -> int | None:
    """Return a Python or numpy integer as Python's; None for all else, tensors included: reading one would wait."""
    if type(value) is int:
        return value
    import torch

    try:
        return None if isinstance(value, torch.Tensor) else operator.index(value)
    except TypeError:
        return None


def _is_published(dispatcher: runtime.Dispatcher) -> bool:
    """Return whether the table holds published figures, which hold for their own few shapes alone."""
    return dispatcher.entry is not None and dispatcher.entry.evidence == "published"


def _identify(device: "torch.device") -> tuple[str, int]:
    """Return architecture and compute units of a tensor's device, asking torch alone where it is a GPU."""
    import torch

    if device.type != "cuda":
        from moesort_tune.operator.sorting_device import get_sorting_device

        limits = get_sorting_device(device).kernels.limits
        return limits.arch, limits.compute_units
    properties = torch.cuda.get_device_properties(device)
    nvidia = f"sm_{properties.major}{properties.minor}"
    return (properties.gcnArchName if torch.version.hip else nvidia), properties.multi_processor_count
