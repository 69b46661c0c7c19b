"""Every HIP call of the cuda runtime reaches CUDA as the call it should, with the arguments in their places."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import native_library
from tests.runtimes.cuda_process import Cuda, CudaProcess

Scenario = Callable[[Cuda], dict[str, list[str]]]


class Recorder:
    """Make calls and keep the driver's calls of each."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        cuda.ok("hipSetDevice", 0)
        cuda.driver_calls()
        self.calls: dict[str, list[str]] = {}

    def __call__(self, name: str, *arguments: object) -> Any:
        result = self.cuda.ok(name, *arguments)
        self.calls[name] = self.cuda.driver_calls()
        return result


def _devices(cuda: Cuda) -> dict[str, list[str]]:
    record = Recorder(cuda)
    record("hipInit", 0)
    record("hipGetDeviceCount")
    record("hipDeviceGet", 1)
    record("hipDeviceTotalMem", 1)
    record("hipDeviceSynchronize")
    record("hipDeviceGetStreamPriorityRange")
    record("hipSetDevice", 1)
    record("hipGetDevice")
    return record.calls


DEVICES = {
    "hipInit": ["cuInit(0)"],
    "hipGetDeviceCount": ["cuDeviceGetCount()"],
    "hipDeviceGet": ["cuDeviceGet(1)"],
    "hipDeviceTotalMem": ["cuDeviceTotalMem_v2(1)"],
    "hipDeviceSynchronize": ["cuCtxSynchronize()"],
    "hipDeviceGetStreamPriorityRange": ["cuCtxGetStreamPriorityRange()"],
    "hipSetDevice": ["cuDeviceGet(1)", "cuDevicePrimaryCtxRetain(1)", "cuCtxSetCurrent(device 1)"],
    "hipGetDevice": [],
}


def _memory(cuda: Cuda) -> dict[str, list[str]]:
    record = Recorder(cuda)
    kinds = cuda.hip.hipMemcpyKind
    stream = record("hipStreamCreate")
    one = int(record("hipMalloc", 64))
    two = record("hipMallocAsync", 32, stream)
    write_combined_and_coherent = 0x40000004
    pinned = record("hipHostMalloc", 16, write_combined_and_coherent)
    host = bytearray(64)
    record("hipHostGetDevicePointer", pinned, 0)
    record("hipMemGetInfo")
    record("hipMemcpy", one, host, 24, kinds.hipMemcpyHostToDevice)
    record("hipMemcpyAsync", host, one, 28, kinds.hipMemcpyDeviceToHost, stream)
    record("hipMemcpyHtoD", one + 8, host, 8)
    record("hipMemcpyDtoH", host, one + 8, 8)
    record("hipMemcpyDtoD", two, one, 8)
    record("hipMemcpyHtoDAsync", one, host, 8, stream)
    record("hipMemcpyDtoHAsync", host, one, 8, stream)
    record("hipMemcpyDtoDAsync", two, one, 8, stream)
    record("hipMemset", one, 3, 5)
    record("hipMemsetAsync", one, -1, 6, stream)
    record("hipMemsetD8", one, 4, 7)
    record("hipMemsetD8Async", one, 5, 8, stream)
    record("hipMemsetD32", one, -1, 9)
    record("hipMemsetD32Async", one, 6, 10, stream)
    record("hipHostFree", pinned)
    record("hipFreeAsync", two, stream)
    record("hipFree", one)
    return record.calls


# HIP's copies are done when they return; CUDA's need not be.
WAIT = "cuStreamSynchronize(stream 0)"

MEMORY = {
    "hipStreamCreate": ["cuStreamCreate(0)"],
    "hipMalloc": ["cuMemAlloc_v2(64)"],
    "hipMallocAsync": ["cuMemAllocAsync(32, stream 1)"],
    "hipHostMalloc": ["cuMemHostAlloc(16, 7)"],
    "hipHostGetDevicePointer": ["cuMemHostGetDevicePointer_v2(block 2, 0)"],
    "hipMemGetInfo": ["cuMemGetInfo_v2()"],
    "hipMemcpy": ["cuMemcpy(block 0, host, 24)", WAIT],
    "hipMemcpyAsync": ["cuMemcpyAsync(host, block 0, 28, stream 1)"],
    "hipMemcpyHtoD": ["cuMemcpy(block 0 + 8, host, 8)", WAIT],
    "hipMemcpyDtoH": ["cuMemcpy(host, block 0 + 8, 8)", WAIT],
    "hipMemcpyDtoD": ["cuMemcpy(block 1, block 0, 8)", WAIT],
    "hipMemcpyHtoDAsync": ["cuMemcpyAsync(block 0, host, 8, stream 1)"],
    "hipMemcpyDtoHAsync": ["cuMemcpyAsync(host, block 0, 8, stream 1)"],
    "hipMemcpyDtoDAsync": ["cuMemcpyAsync(block 1, block 0, 8, stream 1)"],
    "hipMemset": ["cuMemsetD8_v2(block 0, 3, 5)"],
    "hipMemsetAsync": ["cuMemsetD8Async(block 0, 255, 6, stream 1)"],
    "hipMemsetD8": ["cuMemsetD8_v2(block 0, 4, 7)"],
    "hipMemsetD8Async": ["cuMemsetD8Async(block 0, 5, 8, stream 1)"],
    "hipMemsetD32": ["cuMemsetD32_v2(block 0, 4294967295, 9)"],
    "hipMemsetD32Async": ["cuMemsetD32Async(block 0, 6, 10, stream 1)"],
    "hipHostFree": ["cuMemFreeHost(block 2)"],
    "hipFreeAsync": ["cuMemFreeAsync(block 1, stream 1)"],
    "hipFree": ["cuMemFree_v2(block 0)"],
}


def _streams(cuda: Cuda) -> dict[str, list[str]]:
    record = Recorder(cuda)
    stream = record("hipStreamCreateWithFlags", 1)
    other = record("hipStreamCreateWithPriority", 1, -3)
    start = record("hipEventCreate")
    blocking_without_system_fence = 0x20000001
    stop = record("hipEventCreateWithFlags", blocking_without_system_fence)
    record("hipEventRecord", start, stream)
    record("hipStreamWaitEvent", other, start, 0)
    record("hipEventQuery", start)
    record("hipEventSynchronize", start)
    cuda.ok("hipEventRecord", stop, other)
    cuda.driver_calls()
    record("hipEventElapsedTime", start, stop)
    record("hipStreamQuery", stream)
    record("hipStreamSynchronize", other)
    record("hipEventDestroy", stop)
    record("hipStreamDestroy", stream)
    return record.calls


STREAMS = {
    "hipStreamCreateWithFlags": ["cuStreamCreate(1)"],
    "hipStreamCreateWithPriority": ["cuStreamCreateWithPriority(1, -3)"],
    "hipEventCreate": ["cuEventCreate(0)"],
    "hipEventCreateWithFlags": ["cuEventCreate(1)"],
    "hipEventRecord": ["cuEventRecord(0, stream 1)"],
    "hipStreamWaitEvent": ["cuStreamWaitEvent(stream 2, 0, 0)"],
    "hipEventQuery": ["cuEventQuery(0)"],
    "hipEventSynchronize": ["cuEventSynchronize(0)"],
    "hipEventElapsedTime": ["cuEventElapsedTime(0, 1)"],
    "hipStreamQuery": ["cuStreamQuery(stream 1)"],
    "hipStreamSynchronize": ["cuStreamSynchronize(stream 2)"],
    "hipEventDestroy": ["cuEventDestroy_v2(1)"],
    "hipStreamDestroy": ["cuStreamDestroy_v2(stream 1)"],
}


def _modules(cuda: Cuda) -> dict[str, list[str]]:
    record = Recorder(cuda)
    module = record("hipModuleLoadData", b"cubin of sm_90\0")
    kernel = record("hipModuleGetFunction", module, b"fill")
    record("hipModuleGetGlobal", module, b"table")
    registers = cuda.hip.hipFunction_attribute.HIP_FUNC_ATTRIBUTE_NUM_REGS
    record("hipFuncGetAttribute", registers, kernel)
    record("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor", kernel, 256, 4096)
    no_elements = (ctypes.c_int * 3)()
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(no_elements))
    record("hipModuleLaunchKernel", kernel, 1, 2, 3, 4, 5, 6, 7, None, parameters, None)
    record("hipModuleUnload", module)
    code, _ = cuda.call("hipModuleLoad", b"no such file")
    assert code == "hipErrorFileNotFound"
    record.calls["hipModuleLoad"] = cuda.driver_calls()
    return record.calls


MODULES = {
    "hipModuleLoadData": ["cuModuleLoadData()"],
    "hipModuleGetFunction": [
        "cuModuleGetFunction(fill)",
        "cuModuleGetFunction(fill_starts_early)",
        "cuDeviceGetAttribute(97, 0)",
        "cuFuncGetAttribute(1)",
        "cuFuncSetAttribute(8, 231424)",
    ],
    "hipModuleGetGlobal": ["cuModuleGetGlobal_v2(table)"],
    "hipFuncGetAttribute": ["cuFuncGetAttribute(4)"],
    "hipModuleOccupancyMaxActiveBlocksPerMultiprocessor": ["cuOccupancyMaxActiveBlocksPerMultiprocessor(256, 4096)"],
    "hipModuleLaunchKernel": ["cuLaunchKernel(1 2 3, 4 5 6, 7, stream 0)"],
    "hipModuleUnload": ["cuModuleUnload()"],
    "hipModuleLoad": ["cuModuleLoad(no such file)"],
}


def _graphs(cuda: Cuda) -> dict[str, list[str]]:
    record = Recorder(cuda)
    stream = cuda.ok("hipStreamCreate")
    cuda.driver_calls()
    relaxed = cuda.hip.hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    record("hipStreamBeginCapture", stream, relaxed)
    record("hipStreamIsCapturing", stream)
    record("hipStreamGetCaptureInfo", stream)
    cuda.ok("hipMemsetAsync", cuda.ok("hipMalloc", 8), 0, 8, stream)
    cuda.driver_calls()
    graph = record("hipStreamEndCapture", stream)
    executable = record("hipGraphInstantiateWithFlags", graph, 1)
    record("hipGraphUpload", executable, stream)
    record("hipGraphLaunch", executable, stream)
    record("hipGraphExecDestroy", executable)
    record("hipGraphDestroy", graph)
    return record.calls


GRAPHS = {
    "hipStreamBeginCapture": ["cuStreamBeginCapture_v2(stream 1, 2)"],
    "hipStreamIsCapturing": ["cuStreamIsCapturing(stream 1)"],
    "hipStreamGetCaptureInfo": ["cuStreamGetCaptureInfo_v2(stream 1)"],
    "hipStreamEndCapture": ["cuStreamEndCapture(stream 1)"],
    "hipGraphInstantiateWithFlags": ["cuGraphInstantiateWithFlags(1)"],
    "hipGraphUpload": ["cuGraphUpload(stream 1)"],
    "hipGraphLaunch": ["cuGraphLaunch(stream 1)"],
    "hipGraphExecDestroy": ["cuGraphExecDestroy()"],
    "hipGraphDestroy": ["cuGraphDestroy()"],
}


# Calls that are not one call of the driver: the tests of devices, memory, errors and hiprtc hold them.
ELSEWHERE = {
    "hipDeviceGetAttribute",
    "hipGetDevicePropertiesR0600",
    "hipPointerGetAttributes",
    "hipRuntimeGetVersion",
    "hipDriverGetVersion",
    "hipGetLastError",
    "hipPeekAtLastError",
    "hipGetErrorName",
    "hipGetErrorString",
    "hiprtcVersion",
    "hiprtcGetErrorString",
    "hiprtcCreateProgram",
    "hiprtcCompileProgram",
    "hiprtcDestroyProgram",
    "hiprtcGetCodeSize",
    "hiprtcGetCode",
    "hiprtcGetProgramLogSize",
    "hiprtcGetProgramLog",
    "hiprtcAddNameExpression",
    "hiprtcGetLoweredName",
    "moesort_cuda_problem",
}
SCENARIOS: dict[Scenario, dict[str, list[str]]] = {
    _devices: DEVICES,
    _memory: MEMORY,
    _streams: STREAMS,
    _modules: MODULES,
    _graphs: GRAPHS,
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.strip("_"))
def test_calls_reach_the_driver_one_to_one(cuda: CudaProcess, scenario: Scenario) -> None:
    """Each HIP call becomes the driver's counterpart, with every argument in its place, and nothing besides."""
    assert cuda.run(scenario) == SCENARIOS[scenario]


def test_library_exports_what_is_tested_and_no_more(cuda: CudaProcess) -> None:
    """A call without a test cannot be added, and no helper's name can meet another library's."""
    nm = shutil.which("nm")
    assert nm is not None, "nm (of binutils, which every C compiler needs) was not found"
    answer = subprocess.run([nm, "-D", "--defined-only", str(cuda.runtime)], capture_output=True, text=True, check=True)
    exported = {line.split()[-1] for line in answer.stdout.splitlines()}
    assert exported == ELSEWHERE.union(*SCENARIOS.values())


@pytest.mark.parametrize("compiler", ["gcc", "clang-22"])
def test_sources_compile_without_a_warning(compiler: str, tmp_path: Path) -> None:
    """The library is built on users' machines, by whatever compiler is there."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    recipe = native_library.RECIPES["cuda"]
    files = [str(path) for path in sorted(recipe.folder.glob("*.c"))]
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
    answer = subprocess.run(
        [compiler, *recipe.options, *warnings, *files, "-o", str(tmp_path / "library.so"), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
