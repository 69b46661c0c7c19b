"""Resources made through hip are released: at the end of a `with`, once, and after a partial failure."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext

import pytest

from moesort_tune.device import compiler, hip
from moesort_tune.device.hip import HipError
from tests.live_objects import KINDS, count_live_objects

MAKERS: dict[str, Callable[[hip.Device], hip.Resource]] = {
    "stream": lambda device: device.create_stream(),
    "event": lambda device: device.create_event(),
    "memory": lambda device: device.allocate(100),
    "module": lambda device: device.load(sentinel(device)),
}


def sentinel(device: hip.Device) -> bytes:
    """Return the code of a kernel."""
    return compiler.get_code(compiler.Unit("sentinel.hip", device.properties.arch))


def do_nothing(_stream: hip.Stream) -> None:
    """Enqueue nothing."""


def refuse(_stream: hip.Stream) -> None:
    """Fail, as captured work may."""
    raise ValueError("this work cannot be captured")


def test_counts_know_every_kind(device: hip.Device) -> None:
    """Protects these tests from counting what the runtime does not know."""
    del device
    assert min(count_live_objects().values()) >= 0
    assert set(count_live_objects()) == set(KINDS)


@pytest.mark.parametrize("kind", MAKERS)
def test_resource_is_released_once_at_the_end_of_with(device: hip.Device, kind: str) -> None:
    """A device of a sweep of hours has room for each point's resources, if each point releases them."""
    before = count_live_objects()
    with MAKERS[kind](device) as resource:
        assert count_live_objects()[kind] == before[kind] + 1
    assert count_live_objects() == before
    resource.destroy()  # HIP would refuse the handle, or take it for another object's


def test_graph_leaves_neither_graph_nor_executable(device: hip.Device) -> None:
    """A graph is two objects to HIP: what was captured, and what is replayed."""
    with device.create_stream() as stream:
        before = count_live_objects()
        with device.capture(stream, do_nothing) as graph:
            graph.launch(stream)
            assert count_live_objects() - before == {"graph_exec": 1}
        assert count_live_objects() == before


def test_work_that_fails_in_a_capture_leaves_nothing(device: hip.Device) -> None:
    """The capture ends, its graph is gone, the error is the work's own, and the stream can be used again."""
    with device.create_stream() as stream:
        before = count_live_objects()
        with pytest.raises(ValueError, match="this work cannot be captured"):
            device.capture(stream, refuse)
        assert count_live_objects() == before
        device.capture(stream, do_nothing).destroy()


def test_borrowed_stream_stays_its_owner_s(device: hip.Device) -> None:
    """torch's streams are torch's to destroy."""
    with device.create_stream() as stream:
        with hip.BorrowedStream(int(stream.handle)) as borrowed:
            borrowed.synchronize()
        stream.synchronize()


def test_error_inside_is_not_hidden_by_one_of_giving_back(device: hip.Device) -> None:
    """After a kernel's fault every call may fail; what happened first is what a person must read."""
    with device.allocate(16) as buffer, ExitStack() as both:
        broken = both.enter_context(device.allocate(0))
        broken.pointer = buffer.pointer + 1  # HIP refuses to free it
        with pytest.raises(ValueError, match="first"):
            _fail_inside(both)
    with device.allocate(16) as buffer:
        broken = device.allocate(0)
        broken.pointer = buffer.pointer + 1
        with pytest.raises(HipError, match="hipFree failed"), broken:
            pass


def _fail_inside(resources: ExitStack) -> None:
    with resources:
        raise ValueError("first")


@pytest.mark.parametrize("source", [b'extern "C" __global__ void kernel(int* out) { *out = 1; }', b"no code"])
def test_compiling_leaves_no_program(device: hip.Device, source: bytes) -> None:
    """Also where the source does not compile, and the error still has the compiler's log."""
    before = count_live_objects()
    options = [f"--offload-arch={device.properties.arch}"]
    expected = pytest.raises(HipError, match=r"source\.hip") if source == b"no code" else nullcontext()
    with expected:
        hip.compile_source(name="source.hip", source=source, headers={}, options=options)
    assert count_live_objects() == before
