"""The cuda runtime's memory: contents, what a pointer is, the cases in which HIP and CUDA differ."""

from typing import Any

from tests.runtimes.cuda_process import Cuda, CudaProcess


def _contents(cuda: Cuda) -> list[int]:
    kinds = cuda.hip.hipMemcpyKind
    pointer = int(cuda.ok("hipMalloc", 16))
    cuda.ok("hipMemsetD32", pointer, 0x01020304, 4)
    cuda.ok("hipMemset", pointer + 4, 9, 4)
    cuda.ok("hipMemcpy", pointer + 8, bytes([7] * 4), 4, kinds.hipMemcpyHostToDevice)
    back = bytearray(16)
    cuda.ok("hipMemcpy", back, pointer, 16, kinds.hipMemcpyDeviceToHost)
    return list(back)


def test_memory_holds_what_was_written(cuda: CudaProcess) -> None:
    """Copies and both widths of set reach the bytes that they name."""
    assert cuda.run(_contents) == [4, 3, 2, 1, 9, 9, 9, 9, 7, 7, 7, 7, 4, 3, 2, 1]


def _pointer_attributes(cuda: Cuda, pointer: object) -> Any:
    try:
        return cuda.ok("hipPointerGetAttributes", pointer)
    except TypeError:  # before hip-python 10 the caller brings the struct
        attributes = cuda.hip.hipPointerAttribute_t()
        cuda.ok("hipPointerGetAttributes", attributes, pointer)
        return attributes


def _kinds_of_memory(cuda: Cuda) -> list[list[object]]:
    cuda.ok("hipSetDevice", 1)
    pointers = [cuda.ok("hipMalloc", 8), cuda.ok("hipHostMalloc", 8, 0), bytearray(8)]
    answers: list[list[object]] = []
    for pointer in pointers:
        attributes = _pointer_attributes(cuda, pointer)
        answers.append([attributes.type.name, attributes.device, attributes.isManaged])
    device_pointer = int(_pointer_attributes(cuda, pointers[0]).devicePointer)
    answers.append([device_pointer == int(pointers[0]), cuda.ok("hipPeekAtLastError")])
    return answers


def test_pointer_attributes_tell_device_from_host_memory(cuda: CudaProcess) -> None:
    """Memory that the driver does not know is unregistered, which is an answer and no error."""
    assert cuda.run(_kinds_of_memory) == [
        ["hipMemoryTypeDevice", 1, 0],
        ["hipMemoryTypeHost", 1, 0],
        ["hipMemoryTypeUnregistered", -1, 0],
        [True, None],
    ]


def _zero_bytes(cuda: Cuda) -> list[object]:
    stream = cuda.ok("hipStreamCreate")
    cuda.driver_calls()
    pointers = [cuda.ok("hipMalloc", 0), cuda.ok("hipMallocAsync", 0, stream), cuda.ok("hipHostMalloc", 0, 0)]
    cuda.ok("hipFree", None)
    cuda.ok("hipFreeAsync", None, stream)
    cuda.ok("hipHostFree", None)
    return [[int(pointer or 0) for pointer in pointers], cuda.driver_calls()]


def test_zero_bytes_are_a_null_pointer(cuda: CudaProcess) -> None:
    """As in HIP, and unlike in CUDA, allocating and freeing nothing is no error."""
    assert cuda.run(_zero_bytes) == [[0, 0, 0], []]
