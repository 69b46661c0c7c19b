"""The host runtime's virtual clock: event times from formulas, for tests of everything that measures."""

import ctypes
import statistics

import pytest

from tests.runtimes.host_process import Host, run_on_host

SOURCE = """
struct Shape { int tokens, experts, topk; int* runs; };
template <> struct moesort_host::Describe<Shape> {
  static LaunchShape shape(const void* p) {
    const Shape& shape = *static_cast<const Shape*>(p);
    return {double(shape.tokens), double(shape.experts), double(shape.topk)};
  }
};
extern "C" __global__ void sort_one(const Shape shape) { if (threadIdx.x == 0) *shape.runs += 1; }
extern "C" __global__ void sort_two(const Shape shape) {}
extern "C" __global__ void other(int* runs) {}
"""


class Shape(ctypes.Structure):
    """The kernels' parameter block."""

    _fields_ = (("tokens", ctypes.c_int), ("experts", ctypes.c_int), ("topk", ctypes.c_int), ("runs", ctypes.c_void_p))


class Timed:
    """The three kernels, a stream and two events."""

    def __init__(self, host: Host) -> None:
        self.host = host
        module = host.module(SOURCE)
        names = ("sort_one", "sort_two", "other")
        self.kernels = {name: host.ok("hipModuleGetFunction", module, name.encode()) for name in names}
        self.stream = host.ok("hipStreamCreateWithFlags", 1)
        self.start, self.stop = host.ok("hipEventCreate"), host.ok("hipEventCreate")
        self.runs = host.allocate(1)
        host.write(self.runs, [0])

    def launch(self, name: str, tokens: int = 0) -> None:
        """One launch with 8 experts and topk 2."""
        shape = Shape(tokens, 8, 2, self.runs.value)
        assert self.host.launch(self.kernels[name], shape, stream=self.stream) == "hipSuccess"

    def begin(self) -> None:
        """Read the clock."""
        self.host.ok("hipEventRecord", self.start, self.stream)

    def end(self) -> float:
        """Return the microseconds since `begin`."""
        self.host.ok("hipEventRecord", self.stop, self.stream)
        return round(float(self.host.ok("hipEventElapsedTime", self.start, self.stop)) * 1000, 3)


def _time_launches(host: Host, launches: list[tuple[str, int]]) -> list[float]:
    timed = Timed(host)
    times = []
    for name, tokens in launches:
        timed.begin()
        timed.launch(name, tokens)
        times.append(timed.end())
    return times


@pytest.mark.parametrize(
    ("clock", "launches", "times"),
    [
        ("sort_one=2+0.01*tokens", [("sort_one", 1), ("sort_one", 100), ("sort_two", 1)], [2.01, 3.0, 0.0]),
        ("sort_*=3; *=1; sort_two=7", [("sort_one", 1), ("sort_two", 1), ("other", 0)], [3.0, 7.0, 1.0]),
        ("*=(experts - topk) * 2 / -(-4)", [("sort_one", 1)], [3.0]),
        ("*=max(min(tokens, 50), 10)", [("sort_one", 1), ("sort_one", 40), ("sort_one", 90)], [10.0, 40.0, 50.0]),
        ("*=10 - 2*launches", [("sort_one", 1), ("sort_one", 1), ("sort_two", 1)], [10.0, 8.0, 10.0]),
        ("*=1.5e1", [("other", 1)], [15.0]),
    ],
)
def test_launch_takes_what_its_formula_says(clock: str, launches: list[tuple[str, int]], times: list[float]) -> None:
    """Protects tests of sweeps, whose switches follow from the formulas."""
    assert run_on_host(_time_launches, launches, MOESORT_HOST_CLOCK=clock) == times


def _time_on_each_device(host: Host) -> list[list[float]]:
    times = []
    for ordinal in range(host.ok("hipGetDeviceCount")):
        host.ok("hipSetDevice", ordinal)
        times.append(_time_launches(host, [["sort_one", 10]]))  # type: ignore[list-item]
    return times


def test_device_has_its_own_units_and_speed() -> None:
    """Protects tests of fleets, whose variants cross elsewhere and whose slow cards are slow by a known factor."""
    devices = {"MOESORT_HOST_DEVICES": "units=4;units=8;units=8,slowdown=1.5"}
    times = run_on_host(_time_on_each_device, MOESORT_HOST_CLOCK="*=2+8*tokens/units", **devices)
    assert times == [[22.0], [12.0], [18.0]]


def _time_graph(host: Host) -> dict[str, object]:
    timed = Timed(host)
    timed.begin()
    host.ok("hipMemsetAsync", timed.runs.value, 0, 4, timed.stream)
    free = timed.end()
    mode = host.hip.hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    host.ok("hipStreamBeginCapture", timed.stream, mode)
    for _ in range(200):
        timed.launch("sort_one", 50)
        timed.launch("sort_two", 50)
    graph = host.ok("hipStreamEndCapture", timed.stream)
    executable = host.ok("hipGraphInstantiateWithFlags", graph, 0)
    timed.begin()
    host.ok("hipGraphLaunch", executable, timed.stream)
    replayed = timed.end()
    runs = host.read(timed.runs, 1)
    timed.launch("sort_one", 50)
    return {"memset": free, "replay": replayed, "runs in the replay": runs[0], "runs": host.read(timed.runs, 1)[0]}


def test_replay_only_advances_the_clock() -> None:
    """Protects the speed of sweeps in tests: a replay runs no kernel, a launch does."""
    answer = run_on_host(_time_graph, MOESORT_HOST_CLOCK="sort_one=2+tokens/100;sort_two=1")
    assert answer == {"memset": 0.0, "replay": 700.0, "runs in the replay": 0, "runs": 1}


def _noisy_times(host: Host) -> list[float]:
    return _time_launches(host, [("other", 0)] * 400)


def test_noise_is_seeded_and_as_wide_as_asked() -> None:
    """Protects tests of stopping rules: the same seed gives the same times, and the spread is what was asked for."""
    settings = {"MOESORT_HOST_CLOCK": "*=100", "MOESORT_HOST_CLOCK_NOISE": "0.05"}
    first, again, other = (
        run_on_host(_noisy_times, **settings, MOESORT_HOST_CLOCK_SEED=seed) for seed in ("1", "1", "2")
    )
    assert first == again != other
    assert statistics.median(first) == pytest.approx(100, abs=1)
    assert statistics.stdev(first) == pytest.approx(5, rel=0.15)


def _first_call(host: Host) -> list[str]:
    return [host.code("hipGetDeviceCount"), host.fault()]


@pytest.mark.parametrize(
    ("clock", "mistake"),
    [
        (
            "sort=2+token",
            "unknown name 'token' (known are tokens, experts, topk, launches, units, min, max) at character 3",
        ),
        ("sort=(2", "expected ')' at character 3"),
        ("sort=2+", "expected a number, a name or '(' at character 3"),
        ("sort=min(1)", "expected ',' at character 6"),
        ("sort=2 3", "expected an operator at character 3"),
        ("sort=" + "(" * 40, "too many parentheses at character 33"),
    ],
)
def test_bad_formula_fails_the_first_call(clock: str, mistake: str) -> None:
    """Protects the writer of a formula: what is wrong, and where."""
    code, sentence = run_on_host(_first_call, MOESORT_HOST_CLOCK=clock)
    assert code == "hipErrorInvalidConfiguration"
    assert sentence == f"MOESORT_HOST_CLOCK: {mistake} in '{clock}'"


def test_rule_without_a_formula_fails_the_first_call() -> None:
    """Protects against a clock that is quietly not there."""
    code, sentence = run_on_host(_first_call, MOESORT_HOST_CLOCK="moe_sorting_oneshot")
    assert code == "hipErrorInvalidConfiguration"
    assert sentence == "MOESORT_HOST_CLOCK must be kernel=formula[;...] (got 'moe_sorting_oneshot')"
