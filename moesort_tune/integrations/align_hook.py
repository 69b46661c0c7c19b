"""Do a call of a framework's moe_align_block_size by this package's kernels, or leave it, and count what came of it."""

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

import torch

from moesort_tune.audit.reasons import LEFT, LEFT_UNEXPECTED, format_taken
from moesort_tune.audit.tally import Asked, Tally
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.align_calls import Alignment, LeftToFramework, Replacement
from moesort_tune.integrations.align_switch import Framework
from moesort_tune.integrations.call_log import CallLog, Counted
from moesort_tune.integrations.calls import Signature
from moesort_tune.operator.arguments import ArgumentError
from moesort_tune.operator.torch_device import NotReadyError
from moesort_tune.runtime.lookup import Reason
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import ProblemError

_OF_THIS_CALL = (ArgumentError, ProblemError, KernelTooLargeError)
"""Errors that say nothing about the next call."""

_TAKEN: Final = {reason: format_taken(reason) for reason in Reason}
"""The counted reason, by why the table took the kernel."""

_NOT_READY = "the kernels were not loaded before capture"

_KINDS = (torch.Tensor, torch.nn.Parameter)
"""Tensors that have memory of their own: those of tracing have none."""


class AlignHook:
    """Take the calls of one framework. operator: the module whose `fill_aligned` sorts."""

    def __init__(self, framework: Framework, operator: ModuleType, tally: Tally) -> None:
        self._framework = framework
        self._operator = operator
        self._calls = CallLog(tally, framework.function, functools.partial(_format_warning, framework.title))
        self._refused: dict[torch.device, LeftToFramework] = {}
        self._ready: set[tuple[torch.device, torch.dtype]] = set()

    def start_anew(self) -> None:
        """Warn again, in a forked child."""
        self._calls.start_anew()

    def call(
        self,
        original: Callable[..., Any],
        replacement: Replacement,
        signature: Signature,
        *,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Fill the caller's tensors, or return what the framework's own function does with the same arguments.

        An error in here leaves the call to the framework; only the framework's reach the caller.
        """
        alignment = None
        try:
            alignment = replacement.read(signature, args, kwargs)
            self._fill(alignment)
            dispatcher, asked = self._operator.find_dispatcher(
                alignment.topk_ids, alignment.num_experts, alignment.first_id
            )
            reason = dispatcher.reason(*asked)
        except LeftToFramework as left:
            why = left.why
            self._count(alignment, f"{LEFT}: {left.reason}", lambda: why)
        except Exception as error:
            self._calls.report(f"{self._framework.title} does an alignment by itself", error)
            text = f"{type(error).__name__}: {error}"
            self._count(alignment, LEFT_UNEXPECTED, lambda: text)
        else:
            explain = str if reason is Reason.EXACT else lambda: str(dispatcher.explain(*asked))
            self._count(alignment, _TAKEN[reason], explain)
            return None
        return original(*args, **kwargs)

    def _fill(self, alignment: Alignment) -> None:
        """Enqueue the sort. Raise LeftToFramework before anything is enqueued."""
        _check_tensors(alignment)
        ids = alignment.topk_ids
        device, kind = ids.device, (ids.device, ids.dtype)
        if device in self._refused:
            raise self._refused[device]
        if kind not in self._ready and _is_captured(ids):
            why = f"the kernels of {ids.dtype} ids are loaded by the first call outside of a capture"
            raise LeftToFramework(_NOT_READY, why)
        try:
            self._operator.fill_aligned(
                *alignment[:6],
                expert_map=alignment.expert_map,
                scatter_idx=alignment.scatter_idx,
                first_id=alignment.first_id,
            )
        except _OF_THIS_CALL as error:
            raise LeftToFramework("not supported by the kernels", str(error)) from error
        except NotReadyError as error:
            raise LeftToFramework(_NOT_READY, str(error)) from error
        except MoesortTuneError as error:  # of the device or the table: the next call would fail alike, and later
            self._refused[device] = LeftToFramework("the kernels cannot be used", f"{device}: {error}")
            raise self._refused[device] from error
        self._ready.add(kind)

    def _count(self, alignment: Alignment | None, reason: str, why: Callable[[], str]) -> None:
        """Count a call. alignment: None where its arguments could not be read. why: returns a sentence about it."""
        self._calls.add(lambda: _describe(alignment, reason, why))


def _describe(alignment: Alignment | None, reason: str, why: Callable[[], str]) -> Counted:
    ids = None if alignment is None else alignment.topk_ids
    if alignment is None or not isinstance(ids, torch.Tensor) or ids.ndim != 2:
        return Counted(reason, why, None, 0, captured=False)
    asked = alignment.asked
    is_shape = asked.num_experts > 0 and asked.topk > 0
    return Counted(reason, why, asked if is_shape else None, ids.shape[0], _is_captured(ids))


def _is_captured(ids: torch.Tensor) -> bool:
    """Return whether the call is recorded into a graph: then nothing may be loaded, and nobody sees the replays."""
    return bool(ids.is_cuda and torch.cuda.is_current_stream_capturing())


def _check_tensors(alignment: Alignment) -> None:
    """Raise LeftToFramework where the ids are none that kernels could read. The operator checks the outputs."""
    ids = alignment.topk_ids
    if type(ids) not in _KINDS:
        why = f"topk_ids are a {type(ids).__name__}: the call is traced, or is a mistake"
        raise LeftToFramework("tensors without memory", why)
    if not (ids.is_cuda or ids.is_cpu):
        why = "the kernels run on AMD's and NVIDIA's GPUs and on the CPU"
        raise LeftToFramework(f"tensors of {ids.device.type}", why)


def _format_warning(title: str, asked: Asked | None, reason: str, why: str) -> str:
    shape = "" if asked is None else f" of {asked.num_experts} experts, topk {asked.topk}"
    return f"the kernels of moesort-tune do not do an alignment{shape} for {title} (counted as '{reason}'): {why}"
