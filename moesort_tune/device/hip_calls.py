"""How hip-python is called: every call goes through `checked`, so a failure is a HipError that names the call.

Nothing is returned from a call that failed. Only this package imports it; `hip` has what the others use.
"""

import ctypes
import functools
import re
from types import ModuleType
from typing import Any

from moesort_tune.device import amd_libraries, bindings, installed, libraries, remedies

HIP_SUCCESS = 0


class HipError(remedies.DeviceError):
    """A HIP call failed. call: its name; code: hipError_t or hiprtcResult; name: the code's name."""

    def __init__(self, call: str, code: int, name: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(f"{call} failed with {name} ({code})" + (f": {reason}" if reason else ""), remedy)
        self.call = call
        self.code = code
        self.name = name


@functools.cache
def hip_module() -> ModuleType:
    """hip-python's module `hip`, with the runtime chosen first."""
    libraries.choose()
    return bindings.module("hip")


@functools.cache
def _hiprtc() -> ModuleType:
    libraries.choose()
    return bindings.module("hiprtc")


def checked(call: str, *arguments: object) -> Any:
    """Calls HIP's `call` and returns its results behind the error code: None, the one, or a tuple.

    Raises HipError for any code but hipSuccess, and for a call that the runtime does not have.
    """
    module = _hiprtc() if call.startswith("hiprtc") else hip_module()
    try:
        code, *results = getattr(module, call)(*arguments)
    except (RuntimeError, AttributeError) as error:
        raise missing_call(call, error) from error
    if int(code) != HIP_SUCCESS:
        raise failed_call(call, int(code), getattr(code, "name", str(code)))
    if not results:
        return None
    return results[0] if len(results) == 1 else tuple(results)


def failed_call(call: str, code: int, name: str) -> HipError:
    """Return the error of a call that returned `code`, with what our own runtimes know of it."""
    reason = _fault()
    remedy = remedies.of_hip_error(name, libraries.choose().runtime, explained=bool(reason))
    return HipError(call, code, name, reason, remedy)


def missing_call(call: str, error: Exception) -> HipError:
    """Return the error of a call that hip-python could not find, with what to do about it."""
    runtime = libraries.choose()
    is_hiprtc = call.startswith("hiprtc")
    library = runtime.hiprtc if is_hiprtc else runtime.hip
    words = re.sub(r"b'([^']*)'", r"\1", str(error))  # hip-python prints bytes as Python does
    symptom = remedies.why_no_call(words, is_hiprtc=is_hiprtc)
    # A call that a runtime of our own lacks is told by its name alone.
    remedy = "" if runtime.runtime != "amd" else remedies.REMEDIES[symptom]
    if remedy and symptom == "missing call":
        package = installed.hip_python_package()
        remedy = remedies.of_missing_call(package.version if package else "", amd_libraries.release_of(runtime.hip))
    return HipError(call, -1, "missing call", f"{library} cannot serve it ({words})", remedy)


def _fault() -> str:
    """What our own runtimes know about the last failure, or ''."""
    runtime = libraries.choose()
    if runtime.runtime == "amd":
        return ""
    name = "moesort_host_last_fault" if runtime.runtime == "host" else "moesort_cuda_problem"
    try:
        function = getattr(ctypes.CDLL(runtime.hip), name)
    except (OSError, AttributeError):
        return ""
    function.restype = ctypes.c_char_p
    text: bytes | None = function()
    return text.decode(errors="replace").strip() if text else ""
