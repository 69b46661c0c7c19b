"""Both timers on a real GPU recover the length of a kernel that waits for a known time."""

import ctypes
from pathlib import Path

import pytest

from moesort_tune.device import compiler, hip, sources
from moesort_tune.measure.launch_gap import measure_launch_gaps
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.timers import (
    EagerTimer,
    GraphTimer,
    Stopwatch,
    Work,
    Works,
    allocate_flush_buffer,
    capture_long_graph,
)
from tests.opt_in import needs_gpu

pytestmark = pytest.mark.gpu

SPIN_US = {"short": 2, "long": 60}
"""One far below what a launch costs the host (5 to 9 us in Python), one far above."""

OVERHEAD_US = {"graph": 2.0, "eager": 2.5, "cold": 4.0}
"""What starting and ending a kernel may add on the device, by way of timing; one timed alone pays for both events."""

TICK_US = 1.1
"""Step of the wall clock on the coarsest GPUs."""

RELATIVE = 1.07
"""Each of the kernels in a sample may overshoot, and waits for that clock's next step."""


class SpinArguments(ctypes.Structure):
    """As spin.hip declares it."""

    _fields_ = (("nanoseconds", ctypes.c_uint64),)


@pytest.fixture
def works(device: hip.Device) -> Works:
    """Waits of SPIN_US."""
    arch = device.properties.arch
    needs_gpu(arch != "host")
    code = hip.compile_source(
        name="spin.hip",
        source=(Path(__file__).parent / "spin.hip").read_bytes(),
        headers=sources.read_headers(arch),
        options=compiler.Unit("spin.hip", arch).options,
    )
    kernel = device.load(code).get_kernel("spin")
    return {(name, 0): _launcher(kernel, spin_us) for name, spin_us in SPIN_US.items()}


def _launcher(kernel: hip.Kernel, microseconds: int) -> Work:
    arguments = SpinArguments(1000 * microseconds)
    return kernel.prepare(grid=1, block=1, lds_bytes=0, arguments=arguments).launch


@pytest.mark.parametrize("mode", ["graph", "eager", "cold"])
def test_timer_recovers_a_known_length(device: hip.Device, works: Works, mode: str) -> None:
    """Times are the device's own: what lasts 2 or 60 us is measured as that, whatever the host needs to launch it."""
    stopwatch, sentinel = Stopwatch(device, device.create_stream()), Sentinel(device)
    sentinels = capture_long_graph(stopwatch, [sentinel.launch])
    if mode == "graph":
        timer: GraphTimer | EagerTimer = GraphTimer(stopwatch, works, sentinels)
    else:
        flush = allocate_flush_buffer(device) if mode == "cold" else None
        timer = EagerTimer(stopwatch, works, sentinel.launch, sentinels, flush)
    for name, spin_us in SPIN_US.items():
        samples = sorted(timer.sample(name, 0) for _ in range(15))
        assert spin_us - TICK_US <= samples[7] <= RELATIVE * spin_us + OVERHEAD_US[mode]
    timer.close()


def test_further_launches_cost_time_in_every_mode(device: hip.Device, works: Works) -> None:
    """Protects the launch gap from a device that would merge, skip or overlap the empty kernels of one stream."""
    assert works
    stopwatch, sentinel = Stopwatch(device, device.create_stream()), Sentinel(device)
    measured = measure_launch_gaps(stopwatch, sentinel, capture_long_graph(stopwatch, [sentinel.launch]))
    assert not measured.failures
    for gap in measured.gaps:
        one, two, four = (gap.times_us[count].median for count in (1, 2, 4))
        assert one < two < four, gap.mode
        assert gap.gap_us > 0.1, gap.mode


def test_sentinel_takes_microseconds(device: hip.Device, works: Works) -> None:
    """The sentinel is long enough to tell a clock by and short enough to cost nothing."""
    stopwatch, sentinel = Stopwatch(device, device.create_stream()), Sentinel(device)
    timer = GraphTimer(stopwatch, works, capture_long_graph(stopwatch, [sentinel.launch]))
    assert 1.0 < sorted(timer.sample_sentinel() or 0.0 for _ in range(15))[7] < 50.0
    timer.close()


def test_graph_is_captured_on_a_stream_of_its_own(device: hip.Device, works: Works) -> None:
    """Protects callers on the default stream, which cannot be captured but replays what another one captured."""
    default = hip.BorrowedStream(0)
    timer = GraphTimer(Stopwatch(device, default, capturing=device.create_stream()), works)
    timer.prepare("long", 0)
    assert SPIN_US["long"] - TICK_US <= sorted(timer.sample("long", 0) for _ in range(15))[7]
    assert timer.sample_sentinel() is None
    timer.close()
