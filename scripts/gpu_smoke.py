"""Test a new GPU: make every kind of call that moesort-tune makes, each with a known answer.

Prints one line a step and stops at the first that fails. With torch installed it also shows that torch's memory,
streams and context are the same ones. No sweep, no table, under half a minute.

    python scripts/gpu_smoke.py [--runtime amd|cuda|host]
"""

import ctypes
import importlib.util
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

from moesort_tune.device import hip, libraries, sources
from moesort_tune.device.hip_calls import import_hip
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.sentinel import SentinelArguments

BLOCK = 256
SOURCE = b"""
#include "platform/platform.h"

struct SmokeArguments {
  uint32_t* result;    // [blockDim.x]
  uint32_t lds_words;  // of the whole LDS
  uint32_t add;
};

DESCRIBE_LAUNCH(SmokeArguments, 0, 0, 0)

extern "C" __global__ void smoke(const SmokeArguments arguments) {
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  uint32_t* const end = memory + arguments.lds_words - blockDim.x;
  end[threadIdx.x] = threadIdx.x;
  __syncthreads();  // all threads' words are there
  const uint32_t opposite = end[blockDim.x - 1 - threadIdx.x];
  const uint32_t lane_below = __shfl_up(opposite, 1);
  const uint32_t odd_lanes = __popcll(__ballot(threadIdx.x % 2));
  arguments.result[threadIdx.x] = opposite + 1000 * odd_lanes + 100000 * (lane_below - opposite) + arguments.add;
}
"""


class SmokeArguments(ctypes.Structure):
    """As SOURCE declares it."""

    _fields_ = (("result", ctypes.c_void_p), ("lds_words", ctypes.c_uint32), ("add", ctypes.c_uint32))


def compute_expected(wave: int, add: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the output of `smoke`: the first lane of a wave has none below it and keeps its own value."""
    thread = np.arange(BLOCK)
    from_lane_below = np.where(thread % wave == 0, 0, 1)
    values = BLOCK - 1 - thread + 1000 * (wave // 2) + 100000 * from_lane_below + add
    return np.asarray(values, np.uint32)


class Smoke:
    """The steps, on one device."""

    def __init__(self, runtime: str | None) -> None:
        self.device = hip.open_device(runtime)
        self.properties = self.device.properties
        self.stream = self.device.create_stream()
        self.result = self.device.allocate(4 * BLOCK)

    def device_facts(self) -> str:
        """Read the device's properties."""
        known = self.properties
        assert known.wavefront_size in {32, 64}, known
        return (
            f"{known.name}, {known.arch}, {known.compute_units} compute units, wave {known.wavefront_size}, "
            f"LDS {known.lds_bytes}, L2 {known.l2_cache_bytes}, memory {known.memory_bytes >> 30} GiB, "
            f"HIP {known.hip_version}, driver {known.driver_version}"
        )

    def memory(self) -> str:
        """Copy to the device and back, set memory, and address 3 GiB to the end."""
        values = np.arange(BLOCK, dtype=np.uint32)
        self.result.write(values)
        np.testing.assert_array_equal(self.result.read(np.uint32, BLOCK), values)
        size = (3 << 30) if self.properties.runtime != "host" else (1 << 20)
        with self.device.allocate(size) as large:
            large.fill(0x5A)
            np.testing.assert_array_equal(large.read(np.uint8, 64, offset=size - 64), 0x5A)
        return f"{size} bytes set and read at their end"

    def compiler(self) -> str:
        """Compile code at run time and load it."""
        start = time.perf_counter()
        self.module = self.device.load(self._compile("smoke.hip", SOURCE))
        self.kernel = self.module.get_kernel("smoke")
        return f"hiprtc {hip.get_compiler_version()}, {1000 * (time.perf_counter() - start):.0f} ms"

    def _compile(self, name: str, source: bytes) -> bytes:
        arch = self.properties.arch
        options = (f"--offload-arch={arch}", "-std=c++17", "-O3")
        return hip.compile_source(name=name, source=source, headers=sources.read_headers(arch), options=options)

    def _prepare(self, add: int, pointer: int | None = None, lds_bytes: int | None = None) -> hip.PreparedLaunch:
        lds_bytes = self.properties.lds_bytes if lds_bytes is None else lds_bytes
        arguments = SmokeArguments(self.result.pointer if pointer is None else pointer, lds_bytes // 4, add)
        return self.kernel.prepare(grid=1, block=BLOCK, lds_bytes=lds_bytes, arguments=arguments)

    def launch(self) -> str:
        """Launch with all LDS of a workgroup, a barrier and wave operations."""
        self._prepare(7).launch(self.stream)
        self.stream.synchronize()
        self._check(self.result.read(np.uint32, BLOCK), 7)
        return f"{self.properties.lds_bytes} bytes of LDS in one workgroup"

    def _check(self, values: np.ndarray[Any, Any], add: int) -> None:
        np.testing.assert_array_equal(values, compute_expected(self.properties.wavefront_size, add))

    def refusal(self) -> str:
        """Check that an impossible launch raises an error with a sentence, and that the next one works."""
        try:
            self._prepare(1, lds_bytes=self.properties.lds_bytes + 1024).launch(self.stream)
        except hip.HipError as error:
            self.launch()
            return str(error)
        raise AssertionError("a launch with more LDS than there is was accepted")

    def threads(self) -> str:
        """Check that the device is current in another thread."""
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._prepare(3).launch(self.stream)
                self.stream.synchronize()
                self._check(self.result.read(np.uint32, BLOCK), 3)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return "a launch and a copy from a second thread"

    def graph(self) -> str:
        """Check that captured work runs when it is replayed, and not before."""
        prepared = self._prepare(9)
        self.result.fill(0)

        def work(stream: hip.Stream) -> None:
            stream.memset(self.result, 0xFF, 4 * BLOCK)
            prepared.launch(stream)

        graph = self.device.capture(self.stream, work)
        np.testing.assert_array_equal(self.result.read(np.uint32, BLOCK), 0)
        graph.launch(self.stream)
        self.stream.synchronize()
        self._check(self.result.read(np.uint32, BLOCK), 9)
        return "a memset and a kernel captured and replayed"

    def timing(self) -> str:
        """Check that ten times the arithmetic takes about ten times as long."""
        module = self.device.load(self._compile("sentinel.hip", sources.read_source("sentinel.hip")))
        kernel = module.get_kernel("sentinel")
        virtual = self.properties.runtime == "host"
        steps = 500 if virtual else 20_000
        times = [self._time_us(self._prepare_sentinel(kernel, many)) for many in (steps, 10 * steps)]
        ratio = times[1] / times[0]
        assert virtual or 8 < ratio < 12, f"{times} us, ratio {ratio:.2f}"
        return f"{steps} steps {times[0]:.1f} us, ten times as many {times[1]:.1f} us, ratio {ratio:.2f}"

    def _prepare_sentinel(self, kernel: hip.Kernel, steps: int) -> hip.PreparedLaunch:
        arguments = SentinelArguments(self.result.pointer, steps, 0)
        return kernel.prepare(grid=1, block=self.properties.wavefront_size, lds_bytes=0, arguments=arguments)

    def _time_us(self, launch: hip.PreparedLaunch, repeats: int = 10) -> float:
        """Return the shortest time of one launch in a graph of `repeats`."""

        def work(stream: hip.Stream) -> None:
            for _ in range(repeats):
                launch.launch(stream)

        graph = self.device.capture(self.stream, work)
        start, stop = self.device.create_event(), self.device.create_event()
        times = []
        for _ in range(20):
            start.record(self.stream)
            graph.launch(self.stream)
            stop.record(self.stream)
            stop.synchronize()
            times.append(hip.get_elapsed_us(start, stop) / repeats)
        return min(times)

    def costs(self) -> str:
        """Measure the host cost of one launch, and the device cost of one in a graph."""
        empty = self._prepare(0, lds_bytes=4 * BLOCK)
        launches = 2000 if self.properties.runtime != "host" else 100
        start = time.perf_counter()
        for _ in range(launches):
            empty.launch(self.stream)
        host_us = 1e6 * (time.perf_counter() - start) / launches
        self.stream.synchronize()
        return f"a launch {host_us:.2f} us of Python, in a graph {self._time_us(empty, 200):.2f} us"

    def torch(self) -> str:
        """Check that torch's tensors and streams are this runtime's, in both directions and without a copy."""
        if importlib.util.find_spec("torch") is None:
            return "not installed"
        import torch

        if not torch.cuda.is_available():
            return f"{torch.__version__} sees no GPU"
        tensor = torch.zeros(BLOCK, dtype=torch.int32, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            stream: Any = SimpleNamespace(handle=torch.cuda.current_stream().cuda_stream)
            self._prepare(5, pointer=tensor.data_ptr()).launch(stream)
            doubled = tensor * 2  # ordered behind the kernel by the stream alone
        side.synchronize()
        self._check(doubled.cpu().numpy().astype(np.uint32) // 2, 5)
        pattern = torch.arange(BLOCK, dtype=torch.int32, device="cuda")
        torch.cuda.synchronize()
        back = np.empty(BLOCK, np.int32)
        kind = import_hip().hipMemcpyKind.hipMemcpyDeviceToHost
        hip.call("hipMemcpy", back.ctypes.data, pattern.data_ptr(), back.nbytes, kind)
        np.testing.assert_array_equal(back, np.arange(BLOCK))
        facts = torch.cuda.get_device_properties(0)
        assert facts.multi_processor_count == self.properties.compute_units
        return f"{torch.__version__}: tensor written on torch's stream, read back by hipMemcpy"

    def single_runtime(self) -> str:
        """Check that exactly one HIP runtime is mapped."""
        libraries.check_mapped()
        return str(libraries.choose().hip)


STEPS: tuple[Callable[[Smoke], str], ...] = (
    Smoke.device_facts,
    Smoke.memory,
    Smoke.compiler,
    Smoke.launch,
    Smoke.refusal,
    Smoke.threads,
    Smoke.graph,
    Smoke.timing,
    Smoke.costs,
    Smoke.torch,
    Smoke.single_runtime,
)


@click.command()
@click.option("--runtime", type=click.Choice(libraries.RUNTIMES), help="Instead of the attached GPU's.")
def main(runtime: str | None) -> None:
    """Test the attached GPU; exit with 0 if every step gave the known answer."""
    try:
        smoke = Smoke(runtime)
        for step in STEPS:
            click.echo(f"{step.__name__:15} {step(smoke)}")
    except (AssertionError, MoesortTuneError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
    click.echo("everything works")


if __name__ == "__main__":
    main()
