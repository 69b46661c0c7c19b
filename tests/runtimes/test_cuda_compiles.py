"""The kernels compiled for NVIDIA GPUs by the real NVRTC, through hip-python and the cuda runtime. Needs no GPU."""

import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import sources
from moesort_tune.shipped import get_kernels_folder
from tests.opt_in import skip_or_fail
from tests.runtimes.cuda_process import Cuda, CudaProcess

ARCHITECTURES = ("sm_80", "sm_90")
FORMS = ("sorting", "MOESORT_ALIGN=32", "MOESORT_ALIGN=64")
CUDA_ELF_MACHINE = 190


def _find_installed_compiler() -> str | None:
    """Return the path of libnvrtc: MOESORT_CUDA_NVRTC, else of an installed wheel of NVIDIA's."""
    wheels = [path for folder in sys.path for path in sorted(Path(folder).glob("nvidia/*/lib/libnvrtc.so.[0-9]*"))]
    return os.environ.get("MOESORT_CUDA_NVRTC") or next(map(str, reversed(wheels)), None)


def _compile_all(cuda: Cuda) -> dict[str, list[Any]]:
    """Return {source, architecture and output form: [code's name, log, code in hexadecimal]}"""
    answers = {}
    for architecture, form in itertools.product(ARCHITECTURES, FORMS):
        headers = sources.read_headers(architecture)
        names = [name.encode() for name in headers]
        options = [f"--offload-arch={architecture}".encode(), b"-std=c++17", b"-O3", b"--ptxas-options=-v"]
        if form != "sorting":
            options.append(f"-D{form}".encode())
        for path in sorted(get_kernels_folder().glob("*.hip")):
            program = cuda.ok(
                "hiprtcCreateProgram", path.read_bytes(), path.name.encode(), len(names), list(headers.values()), names
            )
            code, _ = cuda.call("hiprtcCompileProgram", program, len(options), options)
            log = bytearray(cuda.ok("hiprtcGetProgramLogSize", program))
            cuda.ok("hiprtcGetProgramLog", program, log)
            cubin = bytearray(cuda.ok("hiprtcGetCodeSize", program) if code == "HIPRTC_SUCCESS" else 0)
            if cubin:
                cuda.ok("hiprtcGetCode", program, cubin)
            answers[f"{path.stem} {architecture} {form}"] = [code, log.rstrip(b"\0").decode(), cubin.hex()]
    return answers


@pytest.fixture(scope="module")
def compiled(cuda: CudaProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return every kernel source for every architecture, without an NVIDIA driver or a GPU."""
    compiler = _find_installed_compiler()
    if compiler is None:
        skip_or_fail(
            "nvrtc", "NVRTC is not installed: pip install nvidia-cuda-nvrtc (60 MB), or set MOESORT_CUDA_NVRTC"
        )
    nothing = tmp_path_factory.mktemp("no-driver")
    return CudaProcess(cuda.runtime, nothing).run(_compile_all, MOESORT_CUDA_NVRTC=compiler)


def test_kernels_compile_for_nvidia(compiled: dict[str, list[Any]]) -> None:
    """One source serves both vendors: what NVRTC lacks of HIP, platform/nvrtc.h has."""
    failures = {name: log for name, (code, log, _) in compiled.items() if code != "HIPRTC_SUCCESS"}
    assert failures == {}
    assert len(compiled) >= 2 * len(ARCHITECTURES) * len(FORMS)


def test_kernels_become_device_code_with_plain_names(compiled: dict[str, list[Any]]) -> None:
    """The code is a CUDA ELF file in which the launcher finds each kernel by the name it has in the source."""
    for name, (_, _, code) in compiled.items():
        image = bytes.fromhex(code)
        assert image[:4] == b"\x7fELF"
        assert int.from_bytes(image[18:20], "little") == CUDA_ELF_MACHINE
        source = (get_kernels_folder() / f"{name.split()[0]}.hip").read_text()
        kernels = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(', source)
        assert kernels
        assert [kernel for kernel in kernels if f".text.{kernel}".encode() not in image] == []


def test_kernels_keep_everything_in_registers(compiled: dict[str, list[Any]]) -> None:
    """No kernel spills or needs a stack, which would be slow memory in the innermost loops."""
    for name, (_, log, _) in compiled.items():
        frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        assert frames, f"{name}: the compiler's log tells no resources: {log}"
        assert set(frames) == {("0", "0", "0")}, f"{name}: {log}"
