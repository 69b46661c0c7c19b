"""The host runtime's streams, events, captures and graphs."""

import ctypes
from typing import Any

import pytest

from tests.runtimes.host_process import Host, run_on_host

ADD = 'extern "C" __global__ void kernel(int* out, int value) { if (threadIdx.x == 0) *out += value; }'


class Captured:
    """A capture on a stream of its own: clear, then add 5, then copy the sum behind itself."""

    def __init__(self, host: Host, mode: str = "Relaxed", flags: int = 1) -> None:
        self.host = host
        self.kernel = host.kernel(ADD)
        self.out = host.allocate(2)
        self.stream = host.ok("hipStreamCreateWithFlags", flags)
        host.ok(
            "hipStreamBeginCapture", self.stream, getattr(host.hip.hipStreamCaptureMode, f"hipStreamCaptureMode{mode}")
        )

    def record(self) -> None:
        """Enqueue the three operations."""
        assert self.out.value is not None
        kinds = self.host.hip.hipMemcpyKind
        self.host.ok("hipMemsetAsync", self.out.value, 0, 4, self.stream)
        assert self.add(5) == "hipSuccess"
        self.host.ok(
            "hipMemcpyAsync", self.out.value + 4, self.out.value, 4, kinds.hipMemcpyDeviceToDevice, self.stream
        )

    def add(self, value: int) -> str:
        """Enqueue one launch."""
        return self.host.launch(self.kernel, self.out, ctypes.c_int(value), stream=self.stream)

    def end(self) -> Any:
        """Return the instantiated graph."""
        graph = self.host.ok("hipStreamEndCapture", self.stream)
        executable = self.host.ok("hipGraphInstantiateWithFlags", graph, 0)
        self.host.ok("hipGraphDestroy", graph)
        return executable


def _replay(host: Host) -> list[list[int]]:
    captured = Captured(host)
    host_before = (ctypes.c_int32 * 2)(1, 2)
    captured.record()
    executable = captured.end()
    host.write(captured.out, list(host_before))
    seen = [host.read(captured.out, 2)]
    for _ in range(2):
        host.ok("hipGraphLaunch", executable, captured.stream)
        seen.append(host.read(captured.out, 2))
    host.ok("hipGraphExecDestroy", executable)
    return [*seen, [int(host.code("hipGraphLaunch", executable, captured.stream) != "hipSuccess")]]


def test_capture_records_and_replay_runs() -> None:
    """Protects timing by graphs: nothing runs while capturing, everything in order at each replay."""
    assert run_on_host(_replay) == [[1, 2], [5, 5], [5, 5], [1]]


def _keep_arguments(host: Host) -> list[int]:
    captured = Captured(host)
    value = ctypes.c_int(3)
    host.launch(captured.kernel, captured.out, value, stream=captured.stream)
    value.value = 100
    executable = captured.end()
    host.write(captured.out, [0, 0])
    host.ok("hipGraphLaunch", executable, captured.stream)
    return host.read(captured.out, 1)


def test_graph_keeps_the_arguments_of_its_capture() -> None:
    """Protects callers that reuse an argument block."""
    assert run_on_host(_keep_arguments) == [3]


def _outlive_the_module(host: Host) -> list[Any]:
    module = host.module(ADD)
    kernel = host.ok("hipModuleGetFunction", module, b"kernel")
    captured = Captured(host)
    host.launch(kernel, captured.out, ctypes.c_int(4), stream=captured.stream)
    executable = captured.end()
    host.ok("hipModuleUnload", module)
    host.write(captured.out, [0, 0])
    host.ok("hipGraphLaunch", executable, captured.stream)
    return [host.launch(kernel, captured.out, ctypes.c_int(4)), *host.read(captured.out, 1)]


def test_graph_outlives_its_module() -> None:
    """Protects the process: a kernel's handle ends with its module, a graph keeps the code."""
    assert run_on_host(_outlive_the_module) == ["hipErrorInvalidHandle", 4]


FORBIDDEN = ("hipStreamSynchronize", "hipStreamQuery", "hipDeviceSynchronize", "hipMalloc", "hipFree", "hipMemset")


def _forbidden(captured: Captured) -> dict[str, tuple[object, ...]]:
    return {
        "hipStreamSynchronize": (captured.stream,),
        "hipStreamQuery": (captured.stream,),
        "hipDeviceSynchronize": (),
        "hipMalloc": (64,),
        "hipFree": (captured.out.value,),
        "hipMemset": (captured.out.value, 0, 4),
    }


def _calls_while_capturing(host: Host) -> dict[str, list[str]]:
    answers = {}
    for name in FORBIDDEN:
        captured = Captured(host, "Global")
        codes = [host.code(name, *_forbidden(captured)[name]), captured.add(1)]
        codes.append(host.code("hipStreamEndCapture", captured.stream))
        answers[name] = [*codes, captured.add(1), host.code("hipStreamSynchronize", captured.stream)]
    return answers


def test_call_that_waits_ends_a_capture() -> None:
    """Protects captures that work here only: on a GPU such a call invalidates them, and the stream is usable after."""
    expected = [
        "hipErrorStreamCaptureUnsupported",
        "hipErrorStreamCaptureInvalidated",
        "hipErrorStreamCaptureInvalidated",
        "hipSuccess",
        "hipSuccess",
    ]
    assert run_on_host(_calls_while_capturing) == dict.fromkeys(FORBIDDEN, expected)


def _allocate_while_relaxed(host: Host) -> list[str]:
    captured = Captured(host, "Relaxed")
    return [host.code("hipMalloc", 64), captured.add(1), host.code("hipStreamEndCapture", captured.stream)]


def test_relaxed_capture_allows_an_allocation() -> None:
    """Protects the mode that serving engines capture with."""
    assert run_on_host(_allocate_while_relaxed) == ["hipSuccess"] * 3


def _default_stream_while_capturing(host: Host, flags: int) -> list[str]:
    captured = Captured(host, "Relaxed", flags)
    code = host.launch(captured.kernel, captured.out, ctypes.c_int(1))
    return [code, host.code("hipStreamEndCapture", captured.stream)]


@pytest.mark.parametrize(
    ("flags", "codes"),
    [
        (0, ["hipErrorStreamCaptureImplicit", "hipErrorStreamCaptureInvalidated"]),
        (1, ["hipSuccess", "hipSuccess"]),
    ],
)
def test_default_stream_breaks_captures_of_blocking_streams_only(flags: int, codes: list[str]) -> None:
    """Protects the default stream's meaning: it waits for every stream that was not made non-blocking."""
    assert run_on_host(_default_stream_while_capturing, flags) == codes


def _misuse_captures(host: Host) -> list[str]:
    mode = host.hip.hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    stream = host.ok("hipStreamCreate")
    codes = [host.code("hipStreamBeginCapture", None, mode), host.code("hipStreamEndCapture", stream)]
    host.ok("hipStreamBeginCapture", stream, mode)
    return [*codes, host.code("hipStreamBeginCapture", stream, mode), host.call("hipStreamIsCapturing", stream)[1].name]


def test_captures_begin_and_end_once() -> None:
    """Protects the states of a capture."""
    assert run_on_host(_misuse_captures) == [
        "hipErrorStreamCaptureUnsupported",
        "hipErrorIllegalState",
        "hipErrorIllegalState",
        "hipStreamCaptureStatusActive",
    ]


def _events(host: Host) -> dict[str, Any]:
    start, stop, silent = (host.ok("hipEventCreate") for _ in range(3))
    untimed = host.ok("hipEventCreateWithFlags", 2)
    answer: dict[str, Any] = {"unrecorded": host.code("hipEventElapsedTime", start, stop)}
    for event in (start, stop, untimed):
        host.ok("hipEventRecord", event, None)
    answer["recorded"] = host.ok("hipEventElapsedTime", start, stop) >= 0
    answer["backwards"] = host.ok("hipEventElapsedTime", stop, start) <= 0
    answer["untimed"] = host.code("hipEventElapsedTime", start, untimed)
    captured = Captured(host)
    host.ok("hipEventRecord", silent, captured.stream)
    captured.end()
    answer["captured"] = host.code("hipEventSynchronize", silent)
    host.ok("hipEventDestroy", start)
    answer["destroyed"] = host.code("hipEventRecord", start, None)
    return answer


def test_events_carry_time_only_when_recorded_outside_a_capture() -> None:
    """Protects measurements: an event without a time is an error, never zero microseconds."""
    assert run_on_host(_events) == {
        "unrecorded": "hipErrorInvalidHandle",
        "recorded": True,
        "backwards": True,
        "untimed": "hipErrorInvalidHandle",
        "captured": "hipErrorCapturedEvent",
        "destroyed": "hipErrorInvalidHandle",
    }
