"""The host runtime's memory: known by its ranges, full of junk."""

import ctypes

from tests.runtimes.host_process import Host, run_on_host


def _fresh_memory(host: Host) -> list[int]:
    return host.read(host.allocate(1024), 1024)


def test_fresh_memory_is_junk() -> None:
    """Protects GPUs: code that relies on zeros works by luck there."""
    assert 0 not in run_on_host(_fresh_memory)


def _copies_out_of_range(host: Host) -> list[str]:
    pointer = host.allocate(4).value
    assert pointer is not None
    kinds = host.hip.hipMemcpyKind
    data = (ctypes.c_int32 * 8)()
    return [
        host.code("hipMemcpy", pointer, data, 16, kinds.hipMemcpyHostToDevice),
        host.code("hipMemcpy", pointer, data, 17, kinds.hipMemcpyHostToDevice),
        host.code("hipMemcpy", data, pointer + 4, 16, kinds.hipMemcpyDeviceToHost),
        host.code("hipMemcpy", pointer, data, 32, kinds.hipMemcpyDefault),
        host.code("hipMemcpy", data, ctypes.addressof(data), 16, kinds.hipMemcpyDeviceToHost),
        host.code("hipMemset", pointer + 8, 0, 8),
        host.code("hipMemset", pointer + 8, 0, 9),
        host.code("hipMemset", ctypes.addressof(data), 0, 4),
    ]


def test_copy_or_fill_past_an_allocation_is_refused() -> None:
    """Protects neighbouring allocations from a wrong size, and the host from a pointer that is not the device's."""
    good, bad = "hipSuccess", "hipErrorInvalidValue"
    assert run_on_host(_copies_out_of_range) == [good, bad, bad, bad, bad, good, bad, bad]


def _fills(host: Host) -> list[int]:
    pointer = host.allocate(4)
    address = int(pointer.value or 0)
    host.ok("hipMemset", address, 0x1FF, 16)  # of the value one byte counts
    host.ok("hipMemsetD32Async", address + 4, -7, 2, None)
    return host.read(pointer, 4)


def test_fills_write_bytes_or_words() -> None:
    """Protects hipMemset and hipMemsetD32, which count differently."""
    assert run_on_host(_fills) == [-1, -7, -7, -1]


def _frees(host: Host) -> list[str]:
    pointer = host.ok("hipMalloc", 16)
    pinned = host.ok("hipHostMalloc", 16, 0)
    address = int(pointer)
    return [
        host.code("hipFree", address + 4),
        host.code("hipFree", int(pinned)),
        host.code("hipFree", address),
        host.code("hipFree", address),
        host.code("hipFree", None),
        host.code("hipHostFree", int(pinned)),
    ]


def test_memory_is_freed_once_and_by_its_own_call() -> None:
    """Protects the process: a wrong free is an error code."""
    good, bad = "hipSuccess", "hipErrorInvalidValue"
    assert run_on_host(_frees) == [bad, bad, good, bad, good, good]


def _allocate_too_much(host: Host) -> list[str]:
    return [host.code("hipMalloc", 1 << 46), host.code("hipMalloc", 0), host.code("hipGetLastError")]


def test_more_memory_than_there_is_is_refused() -> None:
    """Protects the machine: the operating system would promise it, and kill somebody when it is used."""
    assert run_on_host(_allocate_too_much) == ["hipErrorOutOfMemory", "hipSuccess", "hipErrorOutOfMemory"]


def _kinds_of_memory(host: Host) -> list[str]:
    device = int(host.ok("hipMalloc", 64))
    pinned = int(host.ok("hipHostMalloc", 64, 0))
    own = (ctypes.c_char * 64)()
    host.ok("hipHostRegister", ctypes.addressof(own), 64, 0)

    def kind(pointer: int) -> str:
        code, attributes = host.describe("hipPointerGetAttributes", "hipPointerAttribute_t", pointer)
        return str(attributes.type.name) if code == "hipSuccess" else code

    kinds = [kind(pointer) for pointer in (device + 63, pinned, ctypes.addressof(own), device + 64)]
    host.ok("hipHostUnregister", ctypes.addressof(own))
    return [*kinds, kind(ctypes.addressof(own))]


def test_pointer_attributes_tell_whose_memory_it_is() -> None:
    """Protects callers that accept a pointer only of the device."""
    assert run_on_host(_kinds_of_memory) == [
        "hipMemoryTypeDevice",
        "hipMemoryTypeHost",
        "hipMemoryTypeHost",
        "hipErrorInvalidValue",
        "hipErrorInvalidValue",
    ]
