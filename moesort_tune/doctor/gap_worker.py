"""The child process of gap_probe.py: measures the launch gap of one device and writes it as JSON.

python -m moesort_tune.doctor.gap_worker amd|cuda|host ORDINAL
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict

import msgspec

from moesort_tune.device import hip
from moesort_tune.device.libraries import RuntimeName
from moesort_tune.doctor.gap_probe import ModeGap, ProbedGap
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import WarmUp
from moesort_tune.measure.launch_gap import measure_launch_gaps
from moesort_tune.measure.sentinel import Sentinel
from moesort_tune.measure.timers import OF_SENTINEL, Stopwatch, capture_long_graph, repeat

CLOCK_RAMP = WarmUp(tolerance=0.02, window=20, max_seconds=2.0)
"""As before a sweep: MI300's clock ramps for 400 ms and more after a pause."""


def main(runtime: RuntimeName, ordinal: str) -> None:
    """Write the ProbedGap to standard output, or a sentence to standard error and exit with status 1."""
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # keeps a driver's output out of the answer
        try:
            output.write(msgspec.json.encode(asdict(probe_device(runtime, int(ordinal)))))
        except MoesortTuneError as error:
            sys.exit(str(error))


def probe_device(runtime: RuntimeName, ordinal: int) -> ProbedGap:
    """Return the launch gap of a device. Raise HipError, CompileError."""
    device = hip.open_device(runtime, ordinal)
    with ExitStack() as resources:
        stream = resources.enter_context(device.create_stream())
        stopwatch = resources.enter_context(closing(Stopwatch(device, stream)))
        sentinel = resources.enter_context(closing(Sentinel(device)))
        sentinels = capture_long_graph(stopwatch, [sentinel.launch], OF_SENTINEL)
        resources.push(sentinels.graph)
        _ramp_up(lambda: stopwatch.measure_us(repeat(sentinel.launch, 200)), runtime)
        measured = measure_launch_gaps(stopwatch, sentinel, sentinels)
        modes = tuple(map(ModeGap.of, measured.gaps))
        return ProbedGap(runtime, ordinal, device.properties.name, modes, failures=dict(measured.failures))


def _ramp_up(measure_us: Callable[[], float], runtime: RuntimeName) -> None:
    """Keep the device busy until its clock has settled; a host has no clock that waits for work."""
    times: list[float] = []
    started = time.monotonic()
    while runtime != "host" and not CLOCK_RAMP.is_steady(times):
        times.append(measure_us())
        if time.monotonic() - started > CLOCK_RAMP.max_seconds:
            break


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type] # the names that gap_probe.py passes
