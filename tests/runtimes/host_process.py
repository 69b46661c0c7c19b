"""Run functions of tests in processes whose HIP runtime is `host`, under chosen settings.

The runtime reads its settings once, so each function gets a process of its own. It is handed a `Host`, then the
arguments given to `run_on_host`; arguments and what it returns pass through JSON.
"""

import ctypes
import functools
import importlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

from moesort_tune.device import native_library

Answer = TypeVar("Answer")

REPOSITORY = Path(__file__).parents[2]


class Host:
    """What a function in such a process can use: hip-python over the host runtime, and short ways to run a kernel."""

    def __init__(self, runtime: str) -> None:
        from moesort_tune.device import libraries

        libraries.adopt(libraries.RuntimeLibraries("host", runtime, runtime))
        try:
            from rocm.bindings import hip, hiprtc
        except ImportError:
            from hip import hip, hiprtc
        self.hip: Any = hip
        self.hiprtc: Any = hiprtc
        self._runtime = ctypes.CDLL(runtime)
        self._runtime.moesort_host_last_fault.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: object) -> tuple[str, Any]:
        """Make HIP's call `name`; return the name of its code, and its results (None, the one, or a list)."""
        module = self.hiprtc if name.startswith("hiprtc") else self.hip
        code, *results = getattr(module, name)(*arguments)
        return code.name, (results[0] if len(results) == 1 else results or None)

    def code(self, name: str, *arguments: object) -> str:
        """Return the name of the code that HIP's call `name` returns."""
        return self.call(name, *arguments)[0]

    def ok(self, name: str, *arguments: object) -> Any:
        """Return the results of a call that must succeed."""
        code, results = self.call(name, *arguments)
        assert code in {"hipSuccess", "HIPRTC_SUCCESS"}, f"{name}: {code}: {self.fault()}"
        return results

    def fault(self) -> str:
        """Return the runtime's sentence about what a kernel did wrong."""
        return cast(bytes, self._runtime.moesort_host_last_fault()).decode()

    def describe(self, name: str, structure: str, subject: int) -> tuple[str, Any]:
        """Return (code, struct) of a call that fills a struct about `subject`, in hip-python's new or old form."""
        try:
            return self.call(name, subject)
        except TypeError:
            filled = getattr(self.hip, structure)()
            return self.code(name, filled, subject), filled

    def compile(self, source: str, *options: str, headers: dict[str, str] | None = None) -> tuple[str, str, bytes]:
        """Compile a source called kernels.hip by hiprtc: (name of its code, log, image or b'')."""
        names = [name.encode() for name in headers or {}]
        texts = [text.encode() for text in (headers or {}).values()]
        program = self.ok("hiprtcCreateProgram", source.encode(), b"kernels.hip", len(names), texts, names)
        given = [option.encode() for option in ("--offload-arch=host", "-O1", *options)]
        code, _ = self.call("hiprtcCompileProgram", program, len(given), given)
        log = bytearray(self.ok("hiprtcGetProgramLogSize", program))
        self.ok("hiprtcGetProgramLog", program, log)
        image = bytearray(self.ok("hiprtcGetCodeSize", program) if code == "HIPRTC_SUCCESS" else 0)
        if image:
            self.ok("hiprtcGetCode", program, image)
        return code, log.rstrip(b"\0").decode().strip(), bytes(image)

    def module(self, source: str) -> Any:
        """Compile and load a source."""
        code, log, image = self.compile(source)
        assert code == "HIPRTC_SUCCESS", log
        return self.ok("hipModuleLoadData", image)

    def kernel(self, source: str, name: str = "kernel") -> Any:
        """Return a kernel of the compiled source."""
        return self.ok("hipModuleGetFunction", self.module(source), name.encode())

    def launch(
        self, kernel: Any, *arguments: Any, grid: int = 1, block: int = 64, lds_bytes: int = 0, stream: Any = None
    ) -> str:
        """Launch with ctypes values as kernelParams; return the name of the code."""
        addresses = [ctypes.addressof(argument) for argument in arguments]
        parameters = (ctypes.c_void_p * len(addresses))(*addresses) if addresses else None
        geometry = (grid, 1, 1, block, 1, 1)
        return self.code("hipModuleLaunchKernel", kernel, *geometry, lds_bytes, stream, parameters, None)

    def allocate(self, count: int) -> ctypes.c_void_p:
        """Allocate memory for `count` 32-bit integers."""
        return ctypes.c_void_p(int(self.ok("hipMalloc", 4 * count)))

    def write(self, pointer: ctypes.c_void_p, values: list[int]) -> None:
        """Copy 32-bit integers to the device."""
        data = (ctypes.c_int32 * len(values))(*values)
        self.ok("hipMemcpy", pointer.value, data, 4 * len(values), self.hip.hipMemcpyKind.hipMemcpyHostToDevice)

    def read(self, pointer: ctypes.c_void_p, count: int) -> list[int]:
        """Return `count` 32-bit integers of the device."""
        data = (ctypes.c_int32 * count)()
        self.ok("hipMemcpy", data, pointer.value, 4 * count, self.hip.hipMemcpyKind.hipMemcpyDeviceToHost)
        return list(data)

    def compute(self, body: str, count: int, *, block: int = 64, grid: int = 1, lds_bytes: int = 0) -> list[int]:
        """Return the integers out[0] to out[count - 1] that a kernel with this body writes."""
        kernel = self.kernel(f'extern "C" __global__ void kernel(int* out) {{ {body} }}')
        out = self.allocate(count)
        code = self.launch(kernel, out, grid=grid, block=block, lds_bytes=lds_bytes)
        assert code == "hipSuccess", self.fault()
        return self.read(out, count)


def run_on_host(function: Callable[..., Answer], *arguments: object, library: str = "", **environment: str) -> Answer:
    """Run `function` of a module, and return its result, in a new process with these environment variables."""
    answer = start_on_host(function, *arguments, library=library, **environment)
    assert answer.returncode == 0, f"{function.__qualname__}: exit status {answer.returncode}\n{answer.stderr}"
    return cast(Answer, json.loads(answer.stdout))


def start_on_host(
    function: Callable[..., object], *arguments: object, library: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Call `function` in a new process to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOESORT_HOST_")}
    call = [library or host_library(), function.__module__, function.__qualname__, json.dumps(arguments)]
    return subprocess.run(
        [sys.executable, "-m", __name__, *call],
        cwd=REPOSITORY,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@functools.cache
def host_library(*options: str) -> str:
    """Return the path of the host runtime, built by the environment's compiler with these further options."""
    compiler = native_library.find_compiler(native_library.RECIPES["host"]).command
    with mock.patch.dict(os.environ, CXX=shlex.join([*compiler, *options])):
        return str(native_library.get_library("host"))


def main(runtime: str, module: str, function: str, arguments: str) -> None:
    """Call the function and print its answer."""
    print(json.dumps(getattr(importlib.import_module(module), function)(Host(runtime), *json.loads(arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
