"""Live objects of the host runtime in this process: tests compare them before and after."""

import ctypes
from collections import Counter

import pytest

from moesort_tune.device import libraries

KINDS = ("stream", "event", "module", "graph", "graph_exec", "program", "memory", "memory_bytes")


def count_live_objects() -> Counter[str]:
    """Return the number of unreleased objects by kind. Skip the test where the runtime cannot count them."""
    chosen = libraries.choose()
    if chosen.runtime != "host":
        pytest.skip("only the host runtime counts what was not given back")
    live = ctypes.CDLL(chosen.hip).moesort_host_live
    live.restype = ctypes.c_long
    return Counter({kind: live(kind.encode()) for kind in KINDS})
