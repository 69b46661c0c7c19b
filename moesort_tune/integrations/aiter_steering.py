"""Handle a call of AITER's `moe_sorting`: have the table choose who sorts, and count what came of it."""

import functools
import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from moesort_tune import runtime
from moesort_tune.audit.reasons import (
    FAILED,
    LEFT_ALONE,
    NO_KERNEL,
    OTHER_KERNEL,
    OWN_POLICY,
    REPLACED,
    UNEXPECTED,
    UNSEEN_POLICY,
    Use,
    classify,
)
from moesort_tune.audit.tally import SORTING, Asked, Tally
from moesort_tune.domain.vocabulary import AUTOMATIC
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations import caller_policies
from moesort_tune.integrations.aiter_call import Call, Signature
from moesort_tune.integrations.aiter_kernel import KERNEL, MODULE, UNKNOWN, KernelWatch, Reached, find_replacement
from moesort_tune.integrations.call_log import CallLog, Counted
from moesort_tune.providers.work.aiter_package import AiterPackage

if TYPE_CHECKING:
    import torch

Run = Callable[[], Any]
"""The rest of a call once it is decided; its errors reach the caller."""


class LeaveAlone(Exception):  # noqa: N818 - no error: AITER does the call
    """A call that is left to AITER. reason: it is counted under. why: a sentence for the log."""

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.why = why or f"AITER does the call by itself: {reason}"


class Outcome(NamedTuple):
    """The reason under which a call is counted, and a sentence about it."""

    reason: str
    why: Callable[[], str]


class Decision(NamedTuple):
    """A decided call. outcome: as it is counted if it ends as decided.

    policy: by which AITER's kernel has to be reached, None where it need not be.
    """

    run: Run
    outcome: Outcome
    policy: int | None = None


class Steering(ABC):
    """Take AITER's calls. table: file or folder, None for the table that the process uses.

    no_dispatcher: the reason of calls on a device without one; consequence: what AITER does then.
    """

    no_dispatcher: str
    consequence: str

    def __init__(self, original: Callable[..., Any], package: AiterPackage, table: str | None, tally: Tally) -> None:
        """Raise AiterSignatureError where `original` cannot be steered."""
        self.original = original
        self.package = package
        self.table = table
        self.kernel_watch = KernelWatch()
        self._signature = Signature(original)
        self._calls = CallLog(tally, SORTING, _format_warning)
        self._dispatchers: dict[torch.device, runtime.Dispatcher | str] = {}

    @abstractmethod
    def decide(self, call: Call) -> Decision:
        """Return how a call is done that AITER would do by one of the steered kernels. Raise LeaveAlone."""

    @abstractmethod
    def open_dispatcher(self, device: "torch.device") -> runtime.Dispatcher:
        """Return what decides on a device. Raise MoesortTuneError, LeaveAlone."""

    def get_dispatcher(self, device: "torch.device") -> runtime.Dispatcher:
        """Return the cached dispatcher for `device`, opened on first use. Raise LeaveAlone without one."""
        if device not in self._dispatchers:
            try:
                self._dispatchers[device] = self.open_dispatcher(device)
            except MoesortTuneError as error:
                self._dispatchers[device] = f"{self.consequence} on {device}: {error}"
        found = self._dispatchers[device]
        if isinstance(found, str):
            raise LeaveAlone(self.no_dispatcher, found)
        return found

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of a call.

        Any error in here leaves the call to AITER. AITER runs at most once, and its errors reach the caller.
        """
        call = Call(self._signature, args, kwargs)
        decision = self._decide(call)
        if decision.policy is None:
            self._count(call, lambda: decision.outcome)
            return decision.run()
        return self._run_watched(call, decision, decision.policy)

    def stop(self) -> None:
        """Put back what was wrapped besides moe_sorting."""
        self.kernel_watch.detach()

    def start_anew(self) -> None:
        """Warn again, in a forked child."""
        self._calls.start_anew()

    def _decide(self, call: Call) -> Decision:
        theirs = functools.partial(self.original, *call.args, **call.kwargs)
        try:
            _check_arguments(call)
            _check_backend(call)
            return self.decide(call)
        except LeaveAlone as left:
            return Decision(theirs, Outcome(LEFT_ALONE + left.reason, functools.partial(str, left.why)))
        except Exception as error:
            self._calls.report("AITER does a call by itself", error)
            return Decision(theirs, Outcome(UNEXPECTED, functools.partial(str, f"{type(error).__name__}: {error}")))

    def _run_watched(self, call: Call, decision: Decision, policy: int) -> Any:
        """Return the result of a steered call of AITER, and count it by the kernel that it reached."""
        before, reached = self.kernel_watch.start()
        try:
            result = decision.run()
        except BaseException as raised:
            error = raised
            self._count(call, lambda: Outcome(FAILED, lambda: f"{type(error).__name__}: {error}"))
            raise
        finally:
            self.kernel_watch.end(before)
        self._count(call, lambda: _judge(decision, policy, reached))
        return result

    def _count(self, call: Call, find_outcome: Callable[[], Outcome]) -> None:
        """Count a call. Raise nothing."""

        def describe() -> Counted:
            reason, why = find_outcome()
            return Counted(reason, why, *_get_asked(call), _is_captured(call))

        self._calls.add(describe)


def _format_warning(asked: Asked | None, reason: str, why: str) -> str:
    shape = "" if asked is None else f" of {asked.num_experts} experts, topk {asked.topk}"
    return f"the table does not decide a sort{shape} (counted as '{reason}'): {why}"


def _judge(decision: Decision, policy: int, reached: Reached) -> Outcome:
    """Return under which reason a steered call of AITER is counted, and why."""
    if reached == [policy] or classify(decision.outcome.reason) is Use.NOTHING_TO_DECIDE:
        return decision.outcome
    others = [one for one in reached if one not in (policy, UNKNOWN)]
    if others:
        return Outcome(OTHER_KERNEL, lambda: f"AITER was to run policy {policy} and ran {others[0]}")
    if UNKNOWN in reached:
        return Outcome(UNSEEN_POLICY, lambda: f"AITER was to run policy {policy}, and its call of {KERNEL} shows none")
    if reached:
        return decision.outcome
    replacement = find_replacement(sys.modules.get(MODULE))
    if replacement is not None:
        why = f"{replacement} sorts in place of AITER's kernels: a policy changes nothing there"
        return Outcome(REPLACED, functools.partial(str, why))
    return Outcome(NO_KERNEL, lambda: f"AITER did a call for policy {policy} without its sorting kernels")


class AskedPolicy(NamedTuple):
    """The policy of a call, which is AUTOMATIC where the table is to decide, and what to count and say of another.

    otherwise: the policy to pass where the table is to decide and cannot.
    """

    policy: Any
    reason: str = ""
    why: str = ""
    otherwise: int = AUTOMATIC


def get_asked_policy(call: Call) -> AskedPolicy:
    """Return the policy that the caller wants; AUTOMATIC also in place of a framework's default, if allowed."""
    given = call.get("dispatch_policy")
    policy = convert_integer(given)
    if policy == AUTOMATIC:
        return AskedPolicy(AUTOMATIC)
    framework = None if policy is None else caller_policies.find_default(policy)
    if framework is None:
        return AskedPolicy(given, OWN_POLICY, caller_policies.explain_choice(given))
    if caller_policies.may_override():
        return AskedPolicy(AUTOMATIC, otherwise=framework.default)
    reason = caller_policies.name_default(framework)
    return AskedPolicy(given, reason, caller_policies.explain_default(framework))


def _check_backend(call: Call) -> None:
    """Raise LeaveAlone for calls that AITER does not do by one of the steered kernels."""
    if call.get("flat"):
        raise LeaveAlone("flat", "the layer's kernels sort by themselves")
    if call.get("output_aux"):
        raise LeaveAlone("output_aux", "another sort of AITER's makes these outputs")
    if call.get("return_local_topk_ids"):
        return  # AITER sorts these by the steered kernels whatever the environment says
    module = sys.modules.get(MODULE)
    if getattr(module, "_USE_CK_MOE_SORTING", False):
        raise LeaveAlone("CK", "AITER_USE_CK_MOE_SORTING selects other kernels: unset it for the table to decide")
    # An AITER without is_flydsl_available requires FlyDSL.
    is_available = getattr(module, "is_flydsl_available", lambda: True)
    if getattr(module, "_USE_FLYDSL_MOE_SORTING", False) and is_available():
        raise LeaveAlone(
            "FlyDSL", "AITER_USE_FLYDSL_MOE_SORTING selects another sort: unset it for the table to decide"
        )


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
        or (convert_integer(call.get("num_experts")) or 0) < 1
    ):
        raise LeaveAlone("arguments that cannot be steered")


def _get_asked(call: Call) -> tuple[Asked | None, int]:
    """Return what a call asks a table for and its tokens; (None, 0) where its arguments do not say."""
    import torch

    ids, num_experts = call.get("topk_ids"), convert_integer(call.get("num_experts"))
    if not isinstance(ids, torch.Tensor) or ids.ndim != 2 or num_experts is None:
        return None, 0
    tokens, topk = ids.shape
    return Asked(num_experts, topk, call.condition), tokens


def _is_captured(call: Call) -> bool:
    """Return whether the call is recorded into a graph, whose replays nobody sees."""
    import torch

    ids = call.get("topk_ids")
    return isinstance(ids, torch.Tensor) and ids.is_cuda and torch.cuda.is_current_stream_capturing()


def convert_integer(value: Any) -> int | None:
    """Return a Python or numpy integer as Python's; None for all else, tensors included: reading one would wait."""
    if type(value) is int:
        return value
    import torch

    try:
        return None if isinstance(value, torch.Tensor) else operator.index(value)
    except TypeError:
        return None
