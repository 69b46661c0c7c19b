"""The emulator itself: what tinygrad gets wrong for wave64 is corrected, and wrong memory accesses are found."""

import functools

import numpy as np
import numpy.typing as npt
import pytest

from moesort_tune.device import ahead_of_time
from moesort_tune.device.architectures import ARCHITECTURES
from tests.isa.counts import compute_launch_cost
from tests.isa.memory import GlobalMemory, MemoryFaultError
from tests.isa.program import EmulatedLaunch, Program
from tests.isa.waves import ORDERS, Order
from tests.offload import find_real_compiler

Words = npt.NDArray[np.int32]

SOURCE = r"""
#define KERNEL(threads) extern "C" __attribute__((global, amdgpu_flat_work_group_size(threads, threads))) void
#define DPP(name, op, control) \
  int name = value; asm volatile("s_nop 4\n" op " %0, %0" control : "+v"(name))

static __attribute__((device)) void barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

KERNEL(64) lanes(const int* in, int* out) {
  int lane = __builtin_amdgcn_workitem_id_x(), value = in[lane];
  DPP(shr, "v_add_u32_dpp", ", %0 row_shr:1 row_mask:0xf bank_mask:0xf bound_ctrl:0");
  DPP(newbcast, "v_mov_b32_dpp", " row_newbcast:7 row_mask:0xf bank_mask:0xf bound_ctrl:0");
  DPP(keep, "v_add_u32_dpp", ", %0 row_shr:8 row_mask:0xf bank_mask:0xf");
  DPP(bcast, "v_add_u32_dpp", ", %0 row_bcast:15 row_mask:0xa bank_mask:0xf");
  int pull = value, from = (lane - 3) * 4;
  asm volatile("ds_bpermute_b32 %0, %1, %0\n s_waitcnt lgkmcnt(0)" : "+v"(pull) : "v"(from));
  int odd = value;
  if (lane & 1)
    asm volatile("s_nop 4\n v_add_u32_dpp %0, %0, %0 row_shr:1 row_mask:0xf bank_mask:0xf bound_ctrl:0" : "+v"(odd));
  int push = value, to = lane * 7 * 4;
  asm volatile("ds_permute_b32 %0, %1, %0\n s_waitcnt lgkmcnt(0)" : "+v"(push) : "v"(to));
  int all[] = {shr, newbcast, keep, bcast, pull, odd, push};
  for (int i = 0; i < 7; i++) out[64 * i + lane] = all[i];
}

KERNEL(256) through_lds(const int* in, int* out, int words) {
  extern __attribute__((shared)) int lds[];
  int thread = __builtin_amdgcn_workitem_id_x();
  lds[words - 1 - thread] = in[thread];
  barrier();
  int again = __hip_atomic_load(in + thread, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  out[thread] = lds[words - 256 + thread] + again + ((volatile const int*)in)[thread + 600];
}

KERNEL(256) without_barrier(int* out) {
  extern __attribute__((shared)) int lds[];
  int thread = __builtin_amdgcn_workitem_id_x();
  __hip_atomic_store(&lds[thread], thread, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  out[thread] = __hip_atomic_load(&lds[thread & 63], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

KERNEL(64) past_the_end(int* out) {
  int lane = __builtin_amdgcn_workitem_id_x();
  __amdgpu_buffer_rsrc_t whole = __builtin_amdgcn_make_buffer_rsrc(out, 0, -1, 0x27000);
  __builtin_amdgcn_raw_buffer_store_b32(lane, whole, lane % 2 ? -4 : 4 * lane, 0, 0);
}
"""


@functools.cache
def compile_programs(arch: str) -> bytes:
    return ahead_of_time.compile_unit(SOURCE, ahead_of_time.list_target_options(arch), find_real_compiler("emulator"))


class Bench:
    """A loaded program, and arrays in the memory that it may touch."""

    def __init__(self, arch: str) -> None:
        self.memory = GlobalMemory()
        self.program = Program(compile_programs(arch), self.memory)

    def array(self, values: Words) -> tuple[int, Words]:
        """Return (address, view) of a copy of `values` in global memory."""
        address = self.memory.allocate(values.nbytes)
        view = self.memory.view(address, values.nbytes).view(np.int32)
        view[:] = values
        return address, view

    def launch(
        self, kernel: str, *arguments: int, threads: int, lds_bytes: int = 0, order: Order = "forward"
    ) -> EmulatedLaunch:
        packed = b"".join(value.to_bytes(8, "little") for value in arguments[:2])
        packed += b"".join(value.to_bytes(4, "little") for value in arguments[2:])
        return self.program.launch(
            kernel,
            packed,
            grid=1,
            block=threads,
            lds_bytes=lds_bytes,
            order=order,
        )


@pytest.fixture
def bench(arch: str) -> Bench:
    """Return the programs above, compiled for each target."""
    return Bench(arch)


def test_lane_operations_are_what_the_guides_say(bench: Bench) -> None:
    """Protects every scan and ballot: DPP and permutes, in place, with and without inactive lanes."""
    lane = np.arange(64)
    row, place = lane & ~15, lane & 15
    value = (lane * 1000 + 7).astype(np.int32)
    source, _ = bench.array(value)
    target, words = bench.array(np.zeros(7 * 64, np.int32))
    bench.launch("lanes", source, target, threads=64)
    pushed = np.zeros(64, np.int32)
    pushed[lane * 7 % 64] = value
    expected = {
        "row_shr, 0 from outside": value + np.where(place >= 1, np.roll(value, 1), 0),
        "row_newbcast": value[row + 7],
        "row_shr, unchanged from outside": value + np.where(place >= 8, np.roll(value, 8), 0),
        "row_bcast with a row mask": value + np.where(row // 16 % 2 == 1, value[np.maximum(row - 1, 0)], 0),
        "ds_bpermute, negative address": value[(lane - 3) % 64],
        "row_shr, 0 from inactive lanes": value,
        "ds_permute": pushed,
    }
    for (name, want), got in zip(expected.items(), words.reshape(7, 64), strict=True):
        np.testing.assert_array_equal(got, want, err_msg=name)


def test_store_past_the_end_of_a_buffer_is_dropped(bench: Bench) -> None:
    """Protects counts of other kernels: they send idle lanes to an offset whose last byte is past the whole buffer."""
    target, words = bench.array(np.full(64, -1, np.int32))
    bench.launch("past_the_end", target, threads=64)
    lane = np.arange(64)
    np.testing.assert_array_equal(words, np.where(lane % 2 == 0, lane, -1))


def through_lds(bench: Bench, *, lds_bytes: int, words: int, inputs: int = 1024) -> tuple[EmulatedLaunch, Words, Words]:
    value = np.arange(inputs, dtype=np.int32) * 3 + 1
    source, _ = bench.array(value)
    target, out = bench.array(np.zeros(256, np.int32))
    return bench.launch("through_lds", source, target, words, threads=256, lds_bytes=lds_bytes), value, out


def test_all_of_lds_can_be_used(bench: Bench, arch: str) -> None:
    """Protects gfx950's 160 KiB, and counts: barriers are seen, and the second load of a line finds it in L1."""
    size = ARCHITECTURES[arch].lds_bytes
    launch, value, out = through_lds(bench, lds_bytes=size, words=size // 4)
    np.testing.assert_array_equal(out, value[:256] + value[255::-1] + value[600:856])
    cost = compute_launch_cost(launch)
    assert cost.classes["barrier"] == 1
    assert cost.instructions == len(launch.trace.waves[0, 0, 0][cost.wave])
    assert sum(executed.l1_hit for executed in launch.trace.waves[0, 0, 0][0]) == 1


def test_more_lds_than_there_is_is_refused(bench: Bench, arch: str) -> None:
    """Protects launches: the emulator refuses what a GPU would refuse."""
    with pytest.raises(ValueError, match="bytes of LDS"):
        through_lds(bench, lds_bytes=ARCHITECTURES[arch].lds_bytes + 4, words=256)


def test_access_past_the_lds_asked_for_is_found(bench: Bench) -> None:
    """Protects the LDS sizes of launches: on a GPU such a write would be lost."""
    with pytest.raises(MemoryFaultError, match="ds_write_b32 touches byte 2047 of 1024 bytes of LDS"):
        through_lds(bench, lds_bytes=1024, words=512)


def test_read_outside_every_allocation_is_found(bench: Bench) -> None:
    """Protects global memory: the input ends 5 elements before the kernel's last read."""
    with pytest.raises(MemoryFaultError, match="_load_dword touches 4 bytes"):
        through_lds(bench, lds_bytes=1024, words=256, inputs=851)


def test_missing_barrier_shows_in_one_of_the_orders(bench: Bench) -> None:
    """Protects the exactness tests: they run in every order, since a race can be right by luck in one of them."""
    right = {}
    for order in ORDERS:
        target, out = bench.array(np.zeros(256, np.int32))
        bench.launch("without_barrier", target, threads=256, lds_bytes=1024, order=order)
        right[order] = bool((out == np.arange(256) % 64).all())
    assert right == {"forward": True, "backward": False, "shuffled": False}
