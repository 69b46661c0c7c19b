"""The order in which the host runtime runs threads and workgroups."""

import pytest

from tests.runtimes.host_process import Host, host_library, run_on_host

ORDER = """
  HIP_DYNAMIC_SHARED(int, next);
  if (threadIdx.x == 0) next[0] = 0;
  __syncthreads();
  out[blockIdx.x * blockDim.x + atomicAdd(&next[0], 1)] = threadIdx.x;
"""


def _order(host: Host) -> list[int]:
    return host.compute(ORDER, 4 * 256, grid=4, block=256, lds_bytes=4)


def test_threads_run_in_their_order_unless_shuffled() -> None:
    """Protects repeatable runs."""
    assert run_on_host(_order) == list(range(256)) * 4


@pytest.mark.parametrize("cores", ["1", "3"])
def test_seed_shuffles_the_threads_the_same_way_on_any_number_of_cores(cores: str) -> None:
    """Protects the search for missing barriers, and that what a seed has found can be found again."""
    first, again, other = (
        run_on_host(_order, MOESORT_HOST_SEED=seed, MOESORT_HOST_THREADS=threads)
        for seed, threads in (("5", cores), ("5", "2"), ("6", cores))
    )
    assert first == again != other
    for block in range(4):
        assert first[256 * block : 256 * block + 256] != list(range(256))
        assert sorted(first[256 * block : 256 * block + 256]) == list(range(256))


MISSING_BARRIER = """
  HIP_DYNAMIC_SHARED(int, lds);
  lds[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = lds[threadIdx.x / 2];
"""


def _missing_barrier(host: Host) -> bool:
    return host.compute(MISSING_BARRIER, 256, block=256, lds_bytes=1024) == [t // 2 for t in range(256)]


def test_missing_barrier_goes_unseen_in_order_and_is_seen_shuffled() -> None:
    """Protects kernels on GPUs: this one is right only when lower threads happen to run first."""
    assert run_on_host(_missing_barrier) is True
    assert run_on_host(_missing_barrier, MOESORT_HOST_SEED="1") is False


def _workgroups(host: Host) -> list[int]:
    return host.compute("out[blockIdx.x] = blockIdx.x;", 64, grid=64, block=1)


def test_every_workgroup_runs_when_shuffled() -> None:
    """Protects the shuffled order of workgroups from losing one."""
    assert run_on_host(_workgroups, MOESORT_HOST_SEED="3") == list(range(64))


BARRIERS = """
  HIP_DYNAMIC_SHARED(int, lds);
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    lds[threadIdx.x] = threadIdx.x + i;
    __syncthreads();
    sum += lds[blockDim.x - 1 - threadIdx.x] + __shfl_up(i, 1u);
    __syncthreads();
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
"""


def _barriers_and_faults(host: Host) -> list[object]:
    answer: list[object] = [host.compute(BARRIERS, 5 * 192, grid=5, block=192, lds_bytes=768)]
    diverging = host.kernel('extern "C" __global__ void kernel() { if (threadIdx.x) __syncthreads(); }')
    crashing = host.kernel('extern "C" __global__ void kernel() { *(volatile int*)64 = 1; }')
    for kernel in (diverging, crashing):
        answer.append(host.launch(kernel))
        host.ok("hipDeviceReset")
    return [*answer, host.compute(BARRIERS, 5 * 192, grid=5, block=192, lds_bytes=768)]


@pytest.mark.parametrize("options", [(), ("-DMOESORT_HOST_UCONTEXT",)])
def test_either_way_to_switch_fibers_does_the_same(options: tuple[str, ...]) -> None:
    """Protects processors other than x86-64, whose fibers switch by swapcontext."""
    sums = [sum(191 - t + i + i for i in range(3)) for t in range(192)] * 5
    expected = [sums, "hipErrorLaunchFailure", "hipErrorLaunchFailure", sums]
    assert run_on_host(_barriers_and_faults, library=host_library(*options)) == expected
