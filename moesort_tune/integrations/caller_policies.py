"""Policies that frameworks pass to AITER: which are somebody's choice, and which a default that nobody chose."""

import functools
import logging
import os
import sys
from typing import Final, NamedTuple

from moesort_tune.domain.vocabulary import LOGGER

_log = logging.getLogger(LOGGER)

OVERRIDE_VARIABLE: Final = "MOESORT_TUNE_OVERRIDE_POLICY"
"""'1': the table decides where a framework passes a policy by default."""


class FrameworkPolicy(NamedTuple):
    """The policy that a framework passes with every call. variable: sets it; default: where it is not set.

    module: imported in the framework's processes.
    """

    framework: str
    module: str
    variable: str
    default: int


FRAMEWORKS: Final = (
    FrameworkPolicy("vLLM", "vllm", "VLLM_ROCM_AITER_MOE_DISPATCH_POLICY", 0),
    FrameworkPolicy("SGLang", "sglang", "SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY", 2),
)
"""As of vLLM 0.33.0 and SGLang 0.5.23."""


def find_default(policy: int) -> FrameworkPolicy | None:
    """Return the framework that passes `policy` because nobody has set its variable, None where somebody chose one."""
    loaded = _list_loaded()
    if any(os.environ.get(one.variable) for one in loaded):
        return None
    return next((one for one in loaded if one.default == policy), None)


@functools.cache
def may_override() -> bool:
    """Return whether the table decides where a framework passes a policy by default."""
    value = os.environ.get(OVERRIDE_VARIABLE, "")
    if value not in ("", "0", "1"):
        _log.warning("%s is %r, which says nothing: set it to 1 or 0", OVERRIDE_VARIABLE, value)
    return value == "1"


def name_default(framework: FrameworkPolicy) -> str:
    """Return under which reason calls with a framework's default are counted."""
    return f"{framework.framework}'s default policy"


def explain_default(framework: FrameworkPolicy) -> str:
    """Return why the table does not decide, and what to set."""
    return (
        f"{framework.framework} passes policy {framework.default} with every call unless {framework.variable} is set: "
        f"set {framework.variable}=0 for the table to decide, or {OVERRIDE_VARIABLE}=1"
    )


def explain_choice(policy: object) -> str:
    """Return who chose a policy that is no default, as far as that is known, and what to set."""
    variables = [one.variable for one in _list_loaded() if os.environ.get(one.variable)]
    how = f"{' and '.join(variables)} is set: set it to 0" if variables else "pass 0"
    return f"the caller passes policy {policy!r}; for the table to decide, {how}"


def _list_loaded() -> list[FrameworkPolicy]:
    return [one for one in FRAMEWORKS if one.module in sys.modules]
