"""hip-python's modules, wherever its release puts them: in `rocm.bindings` since 10, in `hip` before."""

import functools
import importlib
from types import ModuleType
from typing import Any, Literal, cast

from moesort_tune.device import installed
from moesort_tune.device.remedies import REMEDIES, DeviceError

Root = Literal["rocm.bindings", "hip"]


class BindingsError(DeviceError):
    """hip-python cannot be imported."""


@functools.cache
def root() -> Root:
    """The package that holds the modules of the release that is installed. Raises BindingsError."""
    try:
        importlib.import_module(_installed_root())
    except ImportError as error:
        raise BindingsError(f"hip-python cannot be imported ({error})", REMEDIES["no hip-python"]) from error
    return _installed_root()


def module(name: str) -> ModuleType:
    """hip-python's module `name`: 'hip', 'hiprtc'. Importing it opens no library. Raises BindingsError."""
    return importlib.import_module(f"{root()}.{name}")


def launch_types() -> tuple[Any, Any]:
    """hip-python's types of a launch's last two arguments, kernelParams and extra; both have `fromObj`.

    A launch makes them of whatever else it is given, at each call and for 1 us each. Raises BindingsError.
    """
    types = module("util.types" if root() == "rocm.bindings" else "_util.types")
    return types.ListOfPointer, module("_hip_helpers").HipModuleLaunchKernel_extra


def pin(hip: str, hiprtc: str) -> None:
    """Makes hip-python open these files at its first call. Raises BindingsError."""
    if root() == "hip":
        for name, file in (("chip", hip), ("chiprtc", hiprtc)):
            opener: Any = module(name)
            opener.DLL = file.encode()
    else:
        _pin_paths({"amdhip64": hip.encode(), "hiprtc": hiprtc.encode()})


def _pin_paths(files: dict[str, bytes]) -> None:
    paths: Any = module("util.paths")
    original = paths.get_library_path

    def get_library_path(shortname: str, *arguments: object, **options: object) -> bytes:
        pinned = files.get(shortname)
        return pinned if pinned is not None else cast(bytes, original(shortname, *arguments, **options))

    paths.get_library_path = get_library_path


def _installed_root() -> Root:
    package = installed.hip_python_package()
    return "hip" if package and package.name == "hip-python" else "rocm.bindings"
