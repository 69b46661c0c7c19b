"""Access to hip-python's modules: `rocm.bindings` since release 10, `hip` before."""

import functools
import importlib
from types import ModuleType
from typing import Any, Literal, cast

from moesort_tune.device import installed
from moesort_tune.device.remedies import REMEDIES, DeviceError

Root = Literal["rocm.bindings", "hip"]


class BindingsError(DeviceError):
    """hip-python that cannot be imported."""


@functools.cache
def find_root() -> Root:
    """Return the package that holds the modules of the installed release. Raise BindingsError."""
    try:
        importlib.import_module(_choose_root())
    except ImportError as error:
        raise BindingsError(f"hip-python cannot be imported ({error})", REMEDIES["no hip-python"]) from error
    return _choose_root()


def import_module(name: str) -> ModuleType:
    """Return hip-python's module `name`: 'hip', 'hiprtc'. The import opens no library. Raise BindingsError."""
    return importlib.import_module(f"{find_root()}.{name}")


def get_launch_types() -> tuple[Any, Any]:
    """Return hip-python's types of a launch's last two arguments, kernelParams and extra; both have `fromObj`.

    A launch converts any other argument to these types, at 1 us each per call. Raise BindingsError.
    """
    types = import_module("util.types" if find_root() == "rocm.bindings" else "_util.types")
    return types.ListOfPointer, import_module("_hip_helpers").HipModuleLaunchKernel_extra


def pin(hip: str, hiprtc: str) -> None:
    """Make hip-python open these files at its first call. Raise BindingsError."""
    if find_root() == "hip":
        for name, file in (("chip", hip), ("chiprtc", hiprtc)):
            opener: Any = import_module(name)
            opener.DLL = file.encode()
    else:
        _pin_paths({"amdhip64": hip.encode(), "hiprtc": hiprtc.encode()})


def _pin_paths(files: dict[str, bytes]) -> None:
    paths: Any = import_module("util.paths")
    original = paths.get_library_path

    def get_library_path(shortname: str, *arguments: object, **options: object) -> bytes:
        pinned = files.get(shortname)
        return pinned if pinned is not None else cast(bytes, original(shortname, *arguments, **options))

    paths.get_library_path = get_library_path


def _choose_root() -> Root:
    package = installed.find_hip_python()
    return "hip" if package and package.name == "hip-python" else "rocm.bindings"
