"""Run functions of tests in processes whose HIP runtime is `cuda`, over stand-ins for NVIDIA's libraries.

hip-python keeps the first library that it opens, so each function gets a process of its own. It is handed a `Cuda`,
and what it returns comes back through JSON.
"""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

Answer = TypeVar("Answer")

REPOSITORY = Path(__file__).parents[2]


class Cuda:
    """What a function in such a process can use: hip-python over the cuda runtime, and the stand-in driver's record."""

    def __init__(self, runtime: str) -> None:
        from moesort_tune.device import libraries

        libraries.adopt(libraries.RuntimeLibraries("cuda", runtime, runtime))
        try:
            from rocm.bindings import hip, hiprtc
        except ImportError:
            from hip import hip, hiprtc
        self.hip: Any = hip
        self.hiprtc: Any = hiprtc
        self._runtime = ctypes.CDLL(runtime)
        self._runtime.moesort_cuda_problem.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: object) -> tuple[str, Any]:
        """Make HIP's call `name`; return the name of its code, and its results (None, the one, or a list)."""
        module = self.hiprtc if name.startswith("hiprtc") else self.hip
        code, *results = getattr(module, name)(*arguments)
        return code.name, (results[0] if len(results) == 1 else results or None)

    def ok(self, name: str, *arguments: object) -> Any:
        """Return the results of a call that must succeed."""
        code, results = self.call(name, *arguments)
        assert code in {"hipSuccess", "HIPRTC_SUCCESS"}, f"{name}: {code}: {self.problem()}"
        return results

    def problem(self) -> str:
        """Return the sentence about this thread's latest failure."""
        return cast(bytes, self._runtime.moesort_cuda_problem()).decode()

    def driver_calls(self) -> list[str]:
        """Return the driver's calls since the last request, like `cuMemFree_v2(block 0)`."""
        driver = ctypes.CDLL("libcuda.so.1")
        driver.stand_in_calls.restype = ctypes.c_char_p
        text = cast(bytes, driver.stand_in_calls()).decode()
        driver.stand_in_forget()
        return text.splitlines()

    def properties(self, ordinal: int = 0) -> Any:
        """Return hipDeviceProp_t by hip-python's present and former ways."""
        try:
            return self.ok("hipGetDeviceProperties", ordinal)
        except TypeError:
            properties = self.hip.hipDeviceProp_t()
            self.ok("hipGetDeviceProperties", properties, ordinal)
            return properties


@dataclass(frozen=True)
class CudaProcess:
    """runtime: the cuda runtime's library. stand_ins: folder with stand-ins for libcuda and libnvrtc, as far as any."""

    runtime: Path
    stand_ins: Path

    def run(self, function: Callable[[Cuda], Answer], **environment: str) -> Answer:
        """Run `function` of a module, and return its result, in a new process with these environment variables."""
        inherited = {name: value for name, value in os.environ.items() if name != "MOESORT_CUDA_NVRTC"}
        answer = subprocess.run(
            [sys.executable, "-m", __name__, str(self.runtime), function.__module__, function.__qualname__],
            cwd=REPOSITORY,
            env={**inherited, "LD_LIBRARY_PATH": str(self.stand_ins), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answer.returncode == 0, f"{function.__qualname__}: exit status {answer.returncode}\n{answer.stderr}"
        return cast(Answer, json.loads(answer.stdout))


def text(value: Any) -> str:
    """Return a string of hip-python: str, bytes or a C string of its own, by version and call."""
    return value.decode() if isinstance(value, bytes) else str(value)


def main(runtime: str, module: str, function: str) -> None:
    """Call the function and print its answer."""
    print(json.dumps(getattr(importlib.import_module(module), function)(Cuda(runtime))))


if __name__ == "__main__":
    main(*sys.argv[1:])
