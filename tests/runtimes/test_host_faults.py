"""Kernels that go wrong on the host runtime: the launch fails and says where, as a device's would not."""

import ctypes
import re
from collections.abc import Iterable
from typing import Any

import pytest

from tests.runtimes.host_process import Host, run_on_host, start_on_host

KERNEL = """
#line 1 "kernels.hip"
extern "C" __global__ void NAME(int* out) {
  HIP_DYNAMIC_SHARED(int, lds);
  int t = threadIdx.x;
  BODY
}
"""
GOOD = 'extern "C" __global__ void good(int* out) { __syncthreads(); if (threadIdx.x == 0) out[0] = 7; }'


def _find_faults(host: Host, bodies: list[str]) -> list[list[Any]]:
    kernels = [KERNEL.replace("NAME", f"kernel{i}").replace("BODY", body) for i, body in enumerate(bodies)]
    module = host.module(GOOD + "".join(kernels))
    good = host.ok("hipModuleGetFunction", module, b"good")
    answers = []
    for i in range(len(bodies)):
        out = host.allocate(250)
        kernel = host.ok("hipModuleGetFunction", module, f"kernel{i}".encode())
        code = host.launch(kernel, out, block=128, lds_bytes=256)
        sentence = host.fault()
        host.ok("hipDeviceReset")
        # The workgroup was left in the middle; the next one starts afresh.
        answers.append([code, sentence, host.launch(good, out, block=128), host.read(out, 1)])
    return answers


def find_faults(bodies: Iterable[str], **settings: str) -> dict[str, str]:
    """Return the sentences about kernels with these bodies, from the colon or comma behind the workgroup on."""
    bodies = list(bodies)
    sentences = {}
    for body, (code, sentence, after, value) in zip(bodies, run_on_host(_find_faults, bodies, **settings), strict=True):
        assert (code, after, value) == ("hipErrorLaunchFailure", "hipSuccess", [7]), body
        reported = re.fullmatch(r"kernel kernel\d+, workgroup \(0, 0, 0\)(.*)", sentence)
        assert reported is not None, sentence
        sentences[body] = reported[1]
    return sentences


WORKGROUP = "; every thread of the workgroup must reach the same place"
WAVE = "; every thread of the wave must reach the same place"


DIVERGING = {
    "if (t == 70) return; __syncthreads();": (
        ": thread (64, 0, 0) waits at __syncthreads (kernels.hip:4) but thread (70, 0, 0) has returned" + WORKGROUP
    ),
    "if (t < 64) __syncthreads();": (
        ": thread (0, 0, 0) waits at __syncthreads (kernels.hip:4) but thread (64, 0, 0) has returned" + WORKGROUP
    ),
    "if (t < 64) __syncthreads();\n else __syncthreads();": (
        ": thread (0, 0, 0) waits at __syncthreads (kernels.hip:4) but thread (64, 0, 0) waits at __syncthreads"
        " (kernels.hip:5)" + WORKGROUP
    ),
    "if (t % 64 < 5) __ballot(1);\n __syncthreads();": (
        ": thread (0, 0, 0) waits at __ballot (kernels.hip:4) but thread (5, 0, 0) waits at __syncthreads"
        " (kernels.hip:5)" + WAVE
    ),
    "if (t == 3) return; __shfl(t, 0);": (
        ": thread (0, 0, 0) waits at __shfl (kernels.hip:4) but thread (3, 0, 0) has returned" + WAVE
    ),
    "t % 2 ? __any(1) : __all(1);": (
        ": thread (0, 0, 0) waits at __all (kernels.hip:4) but thread (1, 0, 0) waits at __any (kernels.hip:4)" + WAVE
    ),
}


@pytest.fixture(scope="module")
def diverged() -> dict[str, str]:
    """Return the sentences about the diverging kernels."""
    return find_faults(DIVERGING)


@pytest.mark.parametrize("body", DIVERGING)
def test_divergence_is_reported_with_both_places(body: str, diverged: dict[str, str]) -> None:
    """Protects GPUs from hanging: a barrier or wave operation that some threads never reach is an error here."""
    assert diverged[body] == DIVERGING[body]


def test_waves_may_do_different_wave_operations() -> None:
    """Protects kernels that give waves different work: only a barrier needs the whole workgroup."""
    body = """
      int t = threadIdx.x, sum = 0;
      if (t < 64) { for (int i = 0; i < 3; ++i) sum += __popcll(__ballot(1)); } else sum = __shfl(t, 1);
      __syncthreads();
      out[t] = sum;
    """
    assert run_on_host(_compute_128, body) == [192] * 64 + [65] * 64


def _compute_128(host: Host, body: str) -> list[int]:
    return host.compute(body, 128, block=128)


CRASHING = {
    "if (t == 9) *(volatile int*)64 = 1;": ", thread (9, 0, 0) accesses address 0x40, in no allocation",
    "out[t] = t; out[0] = out[1] / (out[2] - 2);": ", thread (2, 0, 0) divides by zero",
    "lds[t] = 1;": ", thread (64, 0, 0) accesses offset 256 of LDS, but the launch has 256 bytes",
    "if (t == 1) out[250 + 1024] = 1;": ", thread (1, 0, 0) accesses address 0x, 4096 bytes behind an allocation of",
}


@pytest.fixture(scope="module")
def crashed() -> dict[str, str]:
    """Return the sentences about the crashing kernels."""
    return find_faults(CRASHING)


@pytest.mark.parametrize("body", CRASHING)
def test_processor_fault_is_reported_with_thread_and_line(body: str, crashed: dict[str, str]) -> None:
    """Protects the process, which goes on, and the reader, who gets the line."""
    reported = re.sub("0x[0-9a-f]{6,}", "0x", crashed[body])
    assert reported.startswith(CRASHING[body])
    assert reported.endswith("(kernels.hip:4)")


DEEP = """
static int deep(volatile int* p, int n) {
  volatile int room[64]; room[n & 63] = n; return n == 0 ? 0 : deep(p, n - 1) + room[n & 63]; }
extern "C" __global__ void kernel(int* out) { out[0] = deep(out, 1 << 20); }"""


def _overflow(host: Host) -> list[str]:
    return [host.launch(host.kernel(DEEP), host.allocate(1)), host.fault()]


def test_stack_overflow_is_reported() -> None:
    """Protects the next thread's stack, and the reader from looking for a wild pointer."""
    code, sentence = run_on_host(_overflow)
    assert code == "hipErrorLaunchFailure"
    assert re.search(r"thread \(0, 0, 0\) needs more than the \d+ bytes of stack that a thread has", sentence)


def _after_a_fault(host: Host) -> dict[str, str]:
    kernel = host.kernel(KERNEL.replace("NAME", "kernel").replace("BODY", "if (t == 0) return; __syncthreads();"))
    pointer = host.allocate(4)
    stream = host.ok("hipStreamCreate")
    first = host.launch(kernel, pointer, stream=stream)
    codes = {
        "hipModuleLaunchKernel": first,
        "hipStreamSynchronize": host.code("hipStreamSynchronize", stream),
        "hipDeviceSynchronize": host.code("hipDeviceSynchronize"),
        "hipMalloc": host.code("hipMalloc", 4),
        "hipGetLastError": host.code("hipGetLastError"),
        "hipFree": host.code("hipFree", pointer.value),
        "hipStreamDestroy": host.code("hipStreamDestroy", stream),
        "hipDeviceReset": host.code("hipDeviceReset"),
    }
    return {**codes, "after the reset": host.code("hipDeviceSynchronize"), "sentence": host.fault()}


def test_fault_stays_until_the_device_is_reset() -> None:
    """Protects results: after a fault nothing runs, as on a device, but everything can still be given back."""
    failed = ("hipModuleLaunchKernel", "hipStreamSynchronize", "hipDeviceSynchronize", "hipMalloc", "hipGetLastError")
    works = ("hipFree", "hipStreamDestroy", "hipDeviceReset", "after the reset")
    expected = {**dict.fromkeys(failed, "hipErrorLaunchFailure"), **dict.fromkeys(works, "hipSuccess"), "sentence": ""}
    assert run_on_host(_after_a_fault) == expected


def _crash_outside(host: Host) -> None:
    host.compute("out[0] = 1;", 1)  # the handlers are there
    ctypes.string_at(64)


def test_crash_outside_a_kernel_is_still_a_crash() -> None:
    """Protects other people's handlers: only a kernel's faults are taken."""
    answer = start_on_host(_crash_outside, PYTHONFAULTHANDLER="1")
    assert answer.returncode < 0
    assert "_crash_outside" in answer.stderr


def _fault_beside_others(host: Host) -> list[str]:
    kernel = host.kernel(
        'extern "C" __global__ void kernel(int* out) { if (blockIdx.x == 40) return; __syncthreads();'
        " if (blockIdx.x == 41 && threadIdx.x == 5) *(volatile int*)64 = 1; __syncthreads(); }"
    )
    return [host.launch(kernel, host.allocate(1), grid=64, block=256), host.fault()]


def test_fault_on_another_core_fails_the_launch() -> None:
    """Protects launches of many workgroups, which run on threads of the runtime's own."""
    code, sentence = run_on_host(_fault_beside_others, MOESORT_HOST_THREADS="4")
    assert code == "hipErrorLaunchFailure"
    assert sentence.startswith("kernel kernel, workgroup (41, 0, 0), thread (5, 0, 0) accesses address 0x40")
