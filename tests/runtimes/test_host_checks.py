"""The host runtime's checking mode: every access of a kernel is looked up."""

import ctypes
import re
from typing import Any

import pytest

from tests.runtimes.host_process import Host, run_on_host
from tests.runtimes.test_host_faults import find_faults

OUT = "an allocation of 1000 bytes"
UNWRITTEN = f"of {OUT} that nobody has written"


WRONG = {
    "if (t == 3) out[250] = 1;": f"thread (3, 0, 0) writes 4 bytes at address 0x, right behind {OUT}",
    "if (t == 3) out[-1] = 1;": f"thread (3, 0, 0) writes 4 bytes at address 0x, 4 bytes before {OUT}",
    "out[t] = out[t + 122];": f"thread (0, 0, 0) reads 4 bytes at offset 488 {UNWRITTEN}",
    "if (t == 3) *(long long*)&out[249] = 1;": f"thread (3, 0, 0) writes 8 bytes at offset 996 of {OUT}",
    "lds[t] = 1;": "thread (64, 0, 0) writes 4 bytes at offset 256 of LDS, but the launch has 256 bytes",
    "if (t == 5) out[t] = lds[t];": (
        "thread (5, 0, 0) reads 4 bytes at offset 20 of LDS that no thread of the workgroup has written"
    ),
    "atomicAdd(&lds[2], 1);": (
        "thread (0, 0, 0) reads 4 bytes at offset 8 of LDS that no thread of the workgroup has written"
    ),
    "atomicOr(&out[2], 1);": f"thread (0, 0, 0) reads 4 bytes at offset 8 {UNWRITTEN}",
    "if (t == 1) __builtin_memset(out + 240, 0, 44);": f"thread (1, 0, 0) writes 44 bytes at offset 960 of {OUT}",
    "if (t == 1) __builtin_memcpy(out, out + 9, 48);": f"thread (1, 0, 0) reads 48 bytes at offset 36 {UNWRITTEN}",
    "if (t == 2) *(uint4*)out = make_uint4(out[3], 0, 0, 0);": (
        f"thread (2, 0, 0) reads 4 bytes at offset 12 {UNWRITTEN}"
    ),
}


@pytest.fixture(scope="module")
def reported() -> dict[str, str]:
    """Return the sentences about the kernels with a wrong access."""
    return find_faults(WRONG, MOESORT_HOST_CHECK="1")


@pytest.mark.parametrize("body", WRONG)
def test_wrong_access_is_reported_with_thread_and_line(body: str, reported: dict[str, str]) -> None:
    """Protects every kernel test: junk that is read, or a row too far, seldom changes a result."""
    assert re.sub("0x[0-9a-f]+", "0x", reported[body]) == f", {WRONG[body]} (kernels.hip:4)"


CLEAN = """
struct Row { int values[24]; };
__device__ const int kTable[4] = {1, 2, 3, 4};
extern "C" __global__ void kernel(int* out, const Row row) {
  HIP_DYNAMIC_SHARED(int, lds);
  int local[8];
  for (int i = 0; i < 8; ++i) local[i] = row.values[i] + kTable[i % 4];
  for (unsigned i = threadIdx.x; i < 64; i += blockDim.x) lds[i] = 0;
  __syncthreads();
  atomicAdd(&lds[threadIdx.x % 4], local[threadIdx.x % 8]);
  __syncthreads();
  if (threadIdx.x == 0) for (unsigned i = 0; i < blockDim.x; ++i) out[i] = 0;
  __syncthreads();
  out[threadIdx.x] += lds[threadIdx.x % 4] + __shfl(local[0], 0) + __popcll(__ballot(1));
}"""


def _clean_kernel(host: Host) -> list[int]:
    row = (ctypes.c_int * 24)(*range(24))
    out = host.allocate(64)
    assert host.launch(host.kernel(CLEAN), out, row, lds_bytes=256) == "hipSuccess", host.fault()
    return host.read(out, 64)


def test_clean_kernel_passes() -> None:
    """Protects checking mode's use: stack, arguments, globals, loops that compilers turn into memset are no errors."""
    sums = [8 * (i + kind) + 8 * (i + 4 + kind) for i, kind in zip(range(4), (1, 2, 3, 4), strict=True)]
    assert run_on_host(_clean_kernel, MOESORT_HOST_CHECK="1") == [sums[t % 4] + 1 + 64 for t in range(64)]


READ_THIRD = 'extern "C" __global__ void kernel(int* in, int* out) { if (threadIdx.x == 0) out[0] = in[2]; }'


def _launch_writer(host: Host, how: str) -> str:
    source, other, out = host.allocate(4), host.allocate(4), host.allocate(1)
    kinds = host.hip.hipMemcpyKind
    if how == "memcpy":
        host.write(source, [1, 2, 3, 4])
    elif how == "memset of the half":
        host.ok("hipMemset", source.value, 0, 8)
    elif how == "copy of written":
        host.write(other, [1, 2, 3, 4])
        host.ok("hipMemcpy", source.value, other.value, 16, kinds.hipMemcpyDeviceToDevice)
    else:
        host.ok("hipMemcpy", source.value, other.value, 16, kinds.hipMemcpyDeviceToDevice)
    code = host.launch(host.kernel(READ_THIRD), source, out)
    return "passes" if code == "hipSuccess" else "fails"


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("memcpy", "passes"),
        ("memset of the half", "fails"),
        ("copy of written", "passes"),
        ("copy of unwritten", "fails"),
    ],
)
def test_copies_and_fills_count_as_written(how: str, outcome: str) -> None:
    """Protects inputs, and that copying junk does not make it good."""
    assert run_on_host(_launch_writer, how, MOESORT_HOST_CHECK="1") == outcome


def _use_freed(host: Host) -> list[Any]:
    kernel = host.kernel(READ_THIRD)
    source, out = host.allocate(4), host.allocate(1)
    host.write(source, [1, 2, 3, 4])
    host.ok("hipFree", source.value)
    again = [host.allocate(4).value for _ in range(8)]
    return [source.value in again, host.launch(kernel, source, out), host.fault()]


def test_freed_memory_is_not_reused_and_reported() -> None:
    """Protects against a launch that outlives its buffers."""
    reused, code, sentence = run_on_host(_use_freed, MOESORT_HOST_CHECK="1")
    assert (reused, code) == (False, "hipErrorLaunchFailure")
    assert "in an allocation of 16 bytes that was freed (kernels.hip:1)" in sentence


def _use_host_memory(host: Host, register: bool) -> str:
    values = (ctypes.c_int32 * 4)(1, 2, 3, 4)
    if register:
        host.ok("hipHostRegister", ctypes.addressof(values), 16, 0)
    return host.launch(host.kernel(READ_THIRD), ctypes.c_void_p(ctypes.addressof(values)), host.allocate(1))


@pytest.mark.parametrize(("register", "code"), [(True, "hipSuccess"), (False, "hipErrorLaunchFailure")])
def test_host_memory_must_be_registered(register: bool, code: str) -> None:
    """Protects GPUs, which cannot read a host pointer; tensors on the CPU can be registered."""
    assert run_on_host(_use_host_memory, register, MOESORT_HOST_CHECK="1") == code
