"""The cuda runtime's modules, launches and graphs."""

import ctypes
from typing import Any

import pytest

from tests.runtimes.cuda_process import Cuda, CudaProcess

ORDINARY_LDS_BYTES = 48 * 1024
OPT_IN_LDS_BYTES = 232448
STATIC_LDS_BYTES = 1024  # of the stand-in's kernel


class FillArguments(ctypes.Structure):
    """What the stand-in's kernel takes, by value."""

    _fields_ = (("data", ctypes.c_void_p), ("count", ctypes.c_int), ("value", ctypes.c_int))


class Fill:
    """The stand-in's kernel, and eight integers for it to fill."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.stream = cuda.ok("hipStreamCreate")
        self.pointer = int(cuda.ok("hipMalloc", 32))
        self.module = cuda.ok("hipModuleLoadData", b"cubin of sm_90\0")
        self.kernel = cuda.ok("hipModuleGetFunction", self.module, b"fill")

    def launch(self, arguments: FillArguments, lds_bytes: int = 0) -> str:
        """Launch by kernelParams; return the name of the code."""
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        geometry = (1, 1, 1, 8, 1, 1)
        return self.cuda.call(
            "hipModuleLaunchKernel", self.kernel, *geometry, lds_bytes, self.stream, parameters, None
        )[0]

    def contents(self) -> list[int]:
        """Return the eight integers."""
        back = (ctypes.c_int * 8)()
        self.cuda.ok("hipMemcpy", back, self.pointer, 32, self.cuda.hip.hipMemcpyKind.hipMemcpyDeviceToHost)
        return list(back)


def _launch_with_parameters(cuda: Cuda) -> list[int]:
    fill = Fill(cuda)
    assert fill.launch(FillArguments(fill.pointer, 3, 5)) == "hipSuccess"
    return fill.contents()


def test_launch_hands_over_the_argument_block(cuda: CudaProcess) -> None:
    """The way that the sorting kernels are launched: one struct by value, through kernelParams."""
    assert cuda.run(_launch_with_parameters) == [5, 5, 5, 0, 0, 0, 0, 0]


def _launch_with_extra(cuda: Cuda) -> list[int]:
    fill = Fill(cuda)
    extra: Any = (ctypes.c_void_p(fill.pointer), ctypes.c_int(2), ctypes.c_int(6))
    cuda.ok("hipModuleLaunchKernel", fill.kernel, 1, 1, 1, 8, 1, 1, 0, fill.stream, None, extra)
    return fill.contents()


def test_launch_translates_the_extra_list(cuda: CudaProcess) -> None:
    """hip-python's `extra` ends as HIP's lists do; CUDA would read on past a mark that it does not know."""
    assert cuda.run(_launch_with_extra) == [6, 6, 0, 0, 0, 0, 0, 0]


def _launch_with_lds(cuda: Cuda) -> list[str]:
    fill = Fill(cuda)
    most = OPT_IN_LDS_BYTES - STATIC_LDS_BYTES
    return [fill.launch(FillArguments(fill.pointer, 1, 1), size) for size in (ORDINARY_LDS_BYTES, most, most + 1)]


def test_launch_may_use_all_lds(cuda: CudaProcess) -> None:
    """A kernel gets all LDS that the device reports without being asked to opt in, and not a byte more."""
    assert cuda.run(_launch_with_lds) == ["hipSuccess", "hipSuccess", "hipErrorInvalidValue"]


def _launch_each_way(cuda: Cuda) -> list[str]:
    """Launch a kernel that may start early, another one, and that one again after its module was loaded anew."""
    fill = Fill(cuda)
    plain, launches = fill.kernel, list[str]()
    early = [cuda.ok("hipModuleGetFunction", fill.module, b"early_fill") for _ in range(100)][-1]
    for kernel in (early, plain):
        fill.kernel = kernel
        cuda.driver_calls()
        assert fill.launch(FillArguments(fill.pointer, 3, 5)) == "hipSuccess"
        launches += cuda.driver_calls()
        assert fill.contents() == [5, 5, 5, 0, 0, 0, 0, 0]
    cuda.ok("hipModuleUnload", fill.module)
    again = Fill(cuda)
    cuda.driver_calls()
    assert again.launch(FillArguments(again.pointer, 3, 5)) == "hipSuccess"
    return launches + cuda.driver_calls()


PLAIN = "cuLaunchKernel(1 1 1, 8 1 1, 0, stream {})"
EARLY = "cuLaunchKernelEx(1 1 1, 8 1 1, 0, stream {}, attribute 6 is 1)"


def test_kernel_that_declares_it_may_start_before_the_launch_in_front_has_ended(cuda: CudaProcess) -> None:
    """Protects every other kernel: to start early is asked for where a kernel of the module declares it, and forgotten
    with the module."""
    assert cuda.run(_launch_each_way) == [EARLY.format(1), PLAIN.format(1), PLAIN.format(2)]


@pytest.mark.parametrize("environment", [{"CUDA_STAND_IN_VERSION": "12020"}, {"MOESORT_CUDA_EARLY_START": "0"}])
def test_launch_is_an_ordinary_one_for_an_old_driver_and_on_request(
    cuda: CudaProcess, environment: dict[str, str]
) -> None:
    """Protects graphs of drivers before 12.3, which would lose the order of the two launches."""
    assert cuda.run(_launch_each_way, **environment) == [PLAIN.format(1), PLAIN.format(1), PLAIN.format(2)]


def _code_for_another_architecture(cuda: Cuda) -> list[str]:
    images = [b"cubin of sm_80\0", b"no code\0"]
    codes = [cuda.call("hipModuleLoadData", image)[0] for image in images]
    module = cuda.ok("hipModuleLoadData", b"cubin of sm_90\0")
    return [*codes, cuda.call("hipModuleGetFunction", module, b"sort")[0]]


def test_unfit_code_is_told_as_hip_tells_it(cuda: CudaProcess) -> None:
    """Code of another architecture, no code, and a kernel that is not there are three different errors."""
    assert cuda.run(_code_for_another_architecture) == [
        "hipErrorNoBinaryForGpu",
        "hipErrorInvalidImage",
        "hipErrorNotFound",
    ]


def _capture(cuda: Cuda) -> list[object]:
    fill = Fill(cuda)
    relaxed = cuda.hip.hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    cuda.ok("hipStreamBeginCapture", fill.stream, relaxed)
    status = cuda.ok("hipStreamIsCapturing", fill.stream).name
    cuda.ok("hipMemsetAsync", fill.pointer, 0, 32, fill.stream)
    fill.launch(FillArguments(fill.pointer, 4, 2))
    cuda.ok("hipMemcpyDtoDAsync", fill.pointer + 16, fill.pointer, 8, fill.stream)
    graph = cuda.ok("hipStreamEndCapture", fill.stream)
    executable = cuda.ok("hipGraphInstantiateWithFlags", graph, 0)
    cuda.ok("hipMemset", fill.pointer, 1, 32)
    before = fill.contents()
    cuda.ok("hipGraphLaunch", executable, fill.stream)
    return [status, before, fill.contents()]


def test_graph_replays_what_was_captured(cuda: CudaProcess) -> None:
    """Memsets, kernels and copies are captured, not run, and run in their order when the graph is launched."""
    ones = 0x01010101
    assert cuda.run(_capture) == ["hipStreamCaptureStatusActive", [ones] * 8, [2, 2, 2, 2, 2, 2, 0, 0]]


def _measure_elapsed(cuda: Cuda) -> float:
    fill = Fill(cuda)
    start, stop = cuda.ok("hipEventCreate"), cuda.ok("hipEventCreate")
    cuda.ok("hipEventRecord", start, fill.stream)
    for _ in range(3):
        fill.launch(FillArguments(fill.pointer, 1, 1))
    cuda.ok("hipEventRecord", stop, fill.stream)
    cuda.ok("hipEventSynchronize", stop)
    return float(cuda.ok("hipEventElapsedTime", start, stop))


def test_elapsed_time_is_in_milliseconds(cuda: CudaProcess) -> None:
    """Three launches of the stand-in's half millisecond are 1.5."""
    assert cuda.run(_measure_elapsed) == 1.5
