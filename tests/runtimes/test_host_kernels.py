"""What kernels may use on the host runtime: built-ins, LDS, atomics, launches of every shape."""

import ctypes
from typing import Any

import pytest

from tests.runtimes.host_process import Host, run_on_host

LANES = {"64": 64, "32": 32}


def _compute(host: Host, body: str, count: int, shape: dict[str, int]) -> list[int]:
    return host.compute(body, count, **shape)


def _lanes(body: str, width: str, threads: int = 64) -> list[int]:
    """Return out[t] of each thread of one workgroup, with waves of `width`."""
    return run_on_host(_compute, body, threads, {"block": threads}, MOESORT_HOST_WAVEFRONT_SIZE=width)


@pytest.mark.parametrize("width", LANES)
def test_ballot_has_a_bit_for_each_lane_of_the_wave(width: str) -> None:
    """Protects counting by popcounts: the mask is the wave's own, and as wide as it."""
    lanes = LANES[width]
    body = """
      unsigned long long mask = __ballot(threadIdx.x % 3 == 0);
      out[threadIdx.x] = __popcll(mask) * 100 + __popcll(mask >> 31);
    """
    expected = []
    for thread in range(64):
        first = thread // lanes * lanes
        bits = [int((first + lane) % 3 == 0) for lane in range(lanes)]
        expected.append(sum(bits) * 100 + sum(bits[31:]))
    assert _lanes(body, width) == expected


@pytest.mark.parametrize("width", LANES)
def test_shuffles_move_values_inside_the_wave(width: str) -> None:
    """Protects prefix sums: at the ends of a wave a lane keeps its own value."""
    lanes = LANES[width]
    body = """
      int t = threadIdx.x;
      int up = __shfl_up(t, 3u), down = __shfl_down(t, 3u), other = __shfl_xor(t, 5), first = __shfl(t, 0);
      out[t] = up + 100 * down + 10000 * other + 1000000 * first;
    """
    expected = []
    for t in range(64):
        lane, start = t % lanes, t // lanes * lanes
        up = t - 3 if lane >= 3 else t
        down = t + 3 if lane + 3 < lanes else t
        expected.append(up + 100 * down + 10000 * (start + (lane ^ 5)) + 1000000 * start)
    assert _lanes(body, width) == expected


def test_shuffles_stay_in_their_segment() -> None:
    """Protects the width argument: no value leaves its segment of lanes."""
    body = "int t = threadIdx.x; out[t] = __shfl(t, 9, 8) * 10000 + __shfl_up(t, 1u, 8) * 100 + __shfl_down(t, 7u, 8);"
    expected = []
    for t in range(64):
        first = t // 8 * 8
        down = t + 7 if t % 8 == 0 else t
        expected.append((first + 1) * 10000 + (t - 1 if t % 8 else t) * 100 + down)
    assert _lanes(body, "64") == expected


def test_shuffles_carry_every_type_whole() -> None:
    """Protects 64-bit and floating point values, which are more than one register on a GPU."""
    body = """
      unsigned long long wide = __shfl((1ull << 40) + threadIdx.x, 5);
      float real = __shfl(0.5f + threadIdx.x, 6);
      double large = __shfl(1e300, 7);
      unsigned word = __shfl(0xffffffffu, 8);
      out[threadIdx.x] = wide == (1ull << 40) + 5 && real == 6.5f && large == 1e300 && word == 0xffffffffu;
    """
    assert _lanes(body, "64") == [1] * 64


def test_votes_ask_the_whole_wave() -> None:
    """Protects __any and __all."""
    body = """
      bool second = threadIdx.x >= 64;
      int any = __any(threadIdx.x == 70), all = __all(threadIdx.x != 70), none = __any(0);
      out[threadIdx.x] = any + 2 * all + 4 * none;
    """
    assert _lanes(body, "64", 128) == [2] * 64 + [1] * 64


def test_lane_that_does_not_exist_gives_junk() -> None:
    """Protects workgroups that are no multiple of the wave: what a missing lane gives is no handy zero."""
    body = """
      unsigned long long lanes = __ballot(1);
      out[threadIdx.x] = __popcll(lanes) * 2 + (__shfl(1, 50) == 0);
    """
    assert _lanes(body, "64", 40) == [80] * 40


def test_bit_functions_are_those_of_hip() -> None:
    """Protects the corner cases, where C++ compilers differ from HIP."""
    body = """
      out[0] = __clz(0); out[1] = __clz(1); out[2] = __ffs(0); out[3] = __ffs(8); out[4] = __popc(0xf0f0u);
      out[5] = __umulhi(0x80000000u, 6u); out[6] = __clzll(1); out[7] = min(3, -2) + max(3u, 2u);
    """
    assert run_on_host(_compute, body, 8, {"block": 1}) == [32, 31, 0, 4, 8, 3, 63, 1]


def test_lds_is_the_workgroups_own() -> None:
    """Protects exchange through LDS over a barrier, by the largest workgroup, in many workgroups."""
    body = """
      HIP_DYNAMIC_SHARED(int, lds);
      lds[threadIdx.x] = threadIdx.x + 1000 * blockIdx.x;
      __syncthreads();
      out[blockIdx.x * blockDim.x + threadIdx.x] = lds[blockDim.x - 1 - threadIdx.x];
    """
    answer = run_on_host(_compute, body, 9 * 1024, {"grid": 9, "block": 1024, "lds_bytes": 4096})
    assert answer == [1023 - thread + 1000 * block for block in range(9) for thread in range(1024)]


def test_atomics_lose_no_update() -> None:
    """Protects counters that workgroups on different cores share."""
    body = """
      if (blockIdx.x == 0 && threadIdx.x == 0) out[7] = 0;
      atomicAdd(&out[0], 1); atomicOr(&out[1], 1 << threadIdx.x % 8); atomicMax(&out[2], int(threadIdx.x));
      atomicMin(&out[3], -int(blockIdx.x)); atomicAnd(&out[4], ~(1 << threadIdx.x % 4));
      atomicAdd(reinterpret_cast<float*>(&out[5]), 0.5f);
      if (atomicCAS(&out[6], 0, 1 + int(blockIdx.x)) == 0) atomicExch(&out[7], 9);
    """
    answer = run_on_host(_atomics, body)
    assert answer[:5] == [64 * 256, 255, 255, -63, ~15]
    assert ctypes.c_float.from_buffer(ctypes.c_int32(answer[5])).value == 64 * 256 / 2
    assert 1 <= answer[6] <= 64


def _atomics(host: Host, body: str) -> list[int]:
    kernel = host.kernel(f'extern "C" __global__ void kernel(int* out) {{ {body} }}')
    out = host.allocate(8)
    host.write(out, [0, 0, 0, 0, -1, 0, 0, 0])
    assert host.launch(kernel, out, grid=64, block=256) == "hipSuccess"
    return host.read(out, 8)


def _three_axes(host: Host) -> list[int]:
    source = """extern "C" __global__ void kernel(int* out) {
      unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      out[block * 24 + thread] = __lane_id() + 100 * thread;
    }"""
    out = host.allocate(24 * 24)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(out))
    host.ok("hipModuleLaunchKernel", host.kernel(source), 2, 3, 4, 4, 3, 2, 0, None, parameters, None)
    return host.read(out, 24 * 24)


def test_grids_and_workgroups_have_three_axes() -> None:
    """Protects the numbering of threads: x runs fastest, and lanes follow it."""
    assert run_on_host(_three_axes) == [101 * thread for _ in range(24) for thread in range(24)]


MIXED = """
struct Pair { char tag; double value; };
extern "C" __global__ void kernel(char a, const Pair pair, int* out, unsigned char b) {
  out[0] = a; out[1] = pair.tag; out[2] = int(pair.value); out[3] = b;
}"""


class Pair(ctypes.Structure):
    """A struct with a hole."""

    _fields_ = (("tag", ctypes.c_char), ("value", ctypes.c_double))


def _pass_mixed_arguments(host: Host, packed: bool) -> list[int]:
    kernel = host.kernel(MIXED)
    out = host.allocate(4)
    pair = Pair(b"p", 6.0)
    if not packed:
        assert host.launch(kernel, ctypes.c_char(b"a"), pair, out, ctypes.c_ubyte(200)) == "hipSuccess"
    else:
        extra: Any = (ctypes.c_char(b"a"), pair, out, ctypes.c_ubyte(200))
        host.ok("hipModuleLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, None, extra)
    return host.read(out, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_arguments_arrive_by_type(packed: bool) -> None:
    """Protects both ways to pass arguments, kernelParams and the packed `extra`, with their alignment."""
    assert run_on_host(_pass_mixed_arguments, packed) == [ord("a"), ord("p"), 6, 200]


def _launch_codes(host: Host) -> list[str]:
    kernel = host.kernel('extern "C" __global__ void kernel() {}')
    shapes: list[dict[str, int]] = [
        {"block": 1024},
        {"block": 1025},
        {"block": 0},
        {"grid": 0},
        {"lds_bytes": 65536},
        {"lds_bytes": 65537},
    ]
    return [host.launch(kernel, **shape) for shape in shapes]


def test_launch_that_the_device_cannot_hold_is_refused() -> None:
    """Protects callers whose launch would be refused by a GPU: it never runs, and never looks fast."""
    configuration, value = "hipErrorInvalidConfiguration", "hipErrorInvalidValue"
    assert run_on_host(_launch_codes) == [
        "hipSuccess",
        configuration,
        configuration,
        configuration,
        "hipSuccess",
        value,
    ]


def _log_launches(host: Host) -> None:
    kernel = host.kernel('extern "C" __global__ void kernel() {}')
    host.launch(kernel, grid=3, block=128, lds_bytes=256)
    host.launch(kernel)


def test_launch_log_has_a_line_for_each_launch(tmp_path: Any) -> None:
    """Protects tests that prove which kernel ran."""
    log = tmp_path / "launches"
    run_on_host(_log_launches, MOESORT_HOST_LAUNCH_LOG=str(log))
    assert log.read_text() == "kernel 3x1x1 128x1x1 256\nkernel 1x1x1 64x1x1 0\n"
