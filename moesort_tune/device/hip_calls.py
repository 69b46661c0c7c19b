"""Checked calls of hip-python: every call goes through `call`, so a failure is a HipError that names the call.

A failed call returns nothing. Only this package imports this module; other packages use `hip`.
"""

import ctypes
import functools
import re
from types import ModuleType
from typing import Any

from moesort_tune.device import amd_libraries, bindings, installed, libraries, remedies

HIP_SUCCESS = 0


class HipError(remedies.DeviceError):
    """A failed HIP call. call: its name; code: hipError_t or hiprtcResult; name: the code's name."""

    def __init__(self, call: str, code: int, name: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(f"{call} failed with {name} ({code})" + (f": {reason}" if reason else ""), remedy)
        self.call = call
        self.code = code
        self.name = name


@functools.cache
def import_hip() -> ModuleType:
    """Choose the runtime, then return hip-python's module `hip`."""
    libraries.choose()
    return bindings.import_module("hip")


@functools.cache
def _import_hiprtc() -> ModuleType:
    libraries.choose()
    return bindings.import_module("hiprtc")


def call(name: str, *arguments: object) -> Any:
    """Call HIP's function `name` and return its results after the error code: None, one value, or a tuple.

    Raise HipError for any code other than hipSuccess, and for a function that the runtime lacks.
    """
    module = _import_hiprtc() if name.startswith("hiprtc") else import_hip()
    try:
        code, *results = getattr(module, name)(*arguments)
    except (RuntimeError, AttributeError) as error:
        raise make_missing_call_error(name, error) from error
    if int(code) != HIP_SUCCESS:
        raise make_call_error(name, int(code), getattr(code, "name", str(code)))
    if not results:
        return None
    return results[0] if len(results) == 1 else tuple(results)


def make_call_error(call: str, code: int, name: str) -> HipError:
    """Return the error of a call that returned `code`, with the explanation of our own runtimes."""
    reason = _read_fault()
    remedy = remedies.suggest_for_hip_error(name, libraries.choose().runtime, explained=bool(reason))
    return HipError(call, code, name, reason, remedy)


def make_missing_call_error(call: str, error: Exception) -> HipError:
    """Return the error of a call that hip-python could not find, with its remedy."""
    runtime = libraries.choose()
    is_hiprtc = call.startswith("hiprtc")
    library = runtime.hiprtc if is_hiprtc else runtime.hip
    words = re.sub(r"b'([^']*)'", r"\1", str(error))  # hip-python prints bytes as Python does
    symptom = remedies.diagnose_no_call(words, is_hiprtc=is_hiprtc)
    # For a runtime of our own, the name of the missing call is enough.
    remedy = "" if runtime.runtime != "amd" else remedies.REMEDIES[symptom]
    if remedy and symptom == "missing call":
        package = installed.find_hip_python()
        remedy = remedies.suggest_for_missing_call(
            package.version if package else "", amd_libraries.find_release(runtime.hip)
        )
    return HipError(call, -1, "missing call", f"{library} cannot serve it ({words})", remedy)


def _read_fault() -> str:
    """Return our own runtime's explanation of the last failure, or ''."""
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
