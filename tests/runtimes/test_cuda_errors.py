"""The cuda runtime's errors: CUDA's codes as HIP's, last error, names, and sentences."""

import os
from pathlib import Path

from tests.runtimes.conftest import STAND_INS, build_stand_in, hide
from tests.runtimes.cuda_process import Cuda, CudaProcess, text

# CUresult: HIP's code for it. The first ones HIP has as they are, the others stand for codes that it has not.
TRANSLATIONS = {
    1: "hipErrorInvalidValue",
    2: "hipErrorOutOfMemory",
    3: "hipErrorNotInitialized",
    100: "hipErrorNoDevice",
    201: "hipErrorInvalidContext",
    209: "hipErrorNoBinaryForGpu",
    214: "hipErrorECCNotCorrectable",
    218: "hipErrorInvalidKernelFile",
    400: "hipErrorInvalidHandle",
    500: "hipErrorNotFound",
    700: "hipErrorIllegalAddress",
    701: "hipErrorLaunchOutOfResources",
    702: "hipErrorLaunchTimeOut",
    719: "hipErrorLaunchFailure",
    801: "hipErrorNotSupported",
    900: "hipErrorStreamCaptureUnsupported",
    906: "hipErrorStreamCaptureImplicit",
    910: "hipErrorGraphExecUpdateFailure",
    999: "hipErrorUnknown",
    34: "hipErrorInsufficientDriver",
    46: "hipErrorContextAlreadyInUse",
    220: "hipErrorECCNotCorrectable",
    221: "hipErrorSharedObjectInitFailed",
    222: "hipErrorInvalidKernelFile",
    715: "hipErrorLaunchFailure",
    716: "hipErrorIllegalAddress",
    800: "hipErrorNotSupported",
    802: "hipErrorNotInitialized",
    803: "hipErrorInsufficientDriver",
    909: "hipErrorLaunchTimeOut",
    912: "hipErrorInvalidConfiguration",
    911: "hipErrorUnknown",
    12345: "hipErrorUnknown",
}


def _list_translations(cuda: Cuda) -> dict[str, str]:
    cuda.ok("hipDeviceSynchronize")
    answers = {}
    for code in TRANSLATIONS:
        os.environ["CUDA_STAND_IN_FAIL"] = f"cuCtxSynchronize={code}"
        answers[str(code)] = cuda.call("hipDeviceSynchronize")[0]
    return answers


def test_cudas_codes_become_hips(cuda: CudaProcess) -> None:
    """A failure reads the same on every runtime; what HIP has no code for gets the nearest one, never a wrong one."""
    assert cuda.run(_list_translations) == {str(code): name for code, name in TRANSLATIONS.items()}


def _last_errors(cuda: Cuda) -> list[str]:
    cuda.ok("hipDeviceSynchronize")
    os.environ["CUDA_STAND_IN_FAIL"] = "cuMemAlloc_v2=2"
    answers = [cuda.call("hipMalloc", 64)[0]]
    os.environ["CUDA_STAND_IN_FAIL"] = ""
    cuda.ok("hipDeviceSynchronize")
    answers += [cuda.call(name)[0] for name in ("hipPeekAtLastError", "hipGetLastError", "hipGetLastError")]
    return answers


def test_last_error_stays_until_it_is_asked_for(cuda: CudaProcess) -> None:
    """A call that succeeds does not hide the failure before it; asking once clears it."""
    out_of_memory = "hipErrorOutOfMemory"
    assert cuda.run(_last_errors) == [out_of_memory, out_of_memory, out_of_memory, "hipSuccess"]


def _not_ready(cuda: Cuda) -> list[str]:
    event = cuda.ok("hipEventCreate")
    os.environ["CUDA_STAND_IN_FAIL"] = "cuEventQuery=600"
    return [cuda.call("hipEventQuery", event)[0], cuda.call("hipGetLastError")[0]]


def test_not_ready_is_no_failure(cuda: CudaProcess) -> None:
    """Polling an event leaves no error behind for the next one who asks."""
    assert cuda.run(_not_ready) == ["hipErrorNotReady", "hipSuccess"]


def _problems(cuda: Cuda) -> list[str]:
    problems = [cuda.problem()]
    cuda.ok("hipDeviceSynchronize")
    for code in (716, 12345):
        os.environ["CUDA_STAND_IN_FAIL"] = f"cuCtxSynchronize={code}"
        cuda.call("hipDeviceSynchronize")
        problems.append(cuda.problem())
    return problems


def test_problem_names_the_call_and_cudas_own_error(cuda: CudaProcess) -> None:
    """What the translation to HIP's codes loses is reported beside it."""
    assert cuda.run(_problems) == [
        "",
        "cuCtxSynchronize returned CUDA_ERROR_MISALIGNED_ADDRESS (716)",
        "cuCtxSynchronize returned an unknown error (12345)",
    ]


def _list_names(cuda: Cuda) -> list[str]:
    codes = [cuda.hip.hipError_t.hipErrorIllegalAddress, cuda.hip.hipError_t.hipSuccess]
    answers = []
    for code in codes:
        answers += [text(cuda.ok("hipGetErrorName", code)), text(cuda.ok("hipGetErrorString", code))]
    return answers


def test_errors_have_hips_names(cuda: CudaProcess) -> None:
    """hip-python's own lookup of a code gives HIP's name and a meaning."""
    assert cuda.run(_list_names) == [
        "hipErrorIllegalAddress",
        "a kernel touched memory that is not its own",
        "hipSuccess",
        "no error",
    ]


def _all_names(cuda: Cuda) -> list[list[str]]:
    members = [code for code in cuda.hip.hipError_t if code.value in KNOWN_CODES]
    return [[code.name, text(cuda.ok("hipGetErrorName", code))] for code in members]


KNOWN_CODES = {*range(10), 35, 100, 101, *range(200, 220), *range(300, 305), 400, 401, 500, 600, *range(700, 721)}


def test_error_names_are_hip_pythons(cuda: CudaProcess) -> None:
    """No name in the library's table belongs to another code."""
    pairs = cuda.run(_all_names)
    assert len(pairs) > 50
    assert [name for name, _ in pairs] == [reported for _, reported in pairs]


def _first_calls(cuda: Cuda) -> list[str]:
    codes = [cuda.call("hipGetDeviceCount")[0], cuda.call("hipMalloc", 64)[0], cuda.call("hipInit", 0)[0]]
    return [*codes, cuda.problem()]


def test_missing_driver_is_no_device(cuda: CudaProcess, tmp_path: Path) -> None:
    """A machine without NVIDIA's driver has no device, and the reason says what to do."""
    hide(tmp_path, "libcuda.so.1")
    assert CudaProcess(cuda.runtime, tmp_path).run(_first_calls) == [
        *["hipErrorNoDevice"] * 3,
        "libcuda.so.1 cannot be opened: install NVIDIA's driver, or choose another runtime with MOESORT_TUNE_RUNTIME",
    ]


def test_old_driver_is_told_by_the_missing_call(cuda: CudaProcess, tmp_path: Path) -> None:
    """A driver that lacks a call is refused at once, not when the call is made."""
    build_stand_in(STAND_INS / "nvrtc", tmp_path / "libcuda.so.1", "-DNVRTC_MAJOR=13", "-Wl,-soname,libcuda.so.1")
    assert CudaProcess(cuda.runtime, tmp_path).run(_first_calls) == [
        *["hipErrorInsufficientDriver"] * 3,
        "NVIDIA's driver has no cuInit: update it to one for CUDA 11.4 or newer",
    ]


def test_driver_without_gpu_is_no_device(cuda: CudaProcess) -> None:
    """What the driver's own start says is what every call says."""
    assert cuda.run(_first_calls, CUDA_STAND_IN_FAIL="cuInit=100") == [
        *["hipErrorNoDevice"] * 3,
        "cuInit returned an unknown error (100)",
    ]
