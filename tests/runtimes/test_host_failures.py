"""Calls of the host runtime that are made to fail."""

import pytest

from tests.runtimes.host_process import Host, run_on_host


def _codes(host: Host) -> list[str]:
    codes = [host.code("hipMalloc", 16) for _ in range(4)]
    version = host.code("hiprtcVersion")
    return [*codes, host.code("hipGetLastError"), version, host.code("hipDeviceSynchronize")]


def test_named_call_fails_at_its_nth_time() -> None:
    """Protects tests of what the program does about errors: exactly the chosen call fails, once."""
    codes = run_on_host(_codes, MOESORT_HOST_FAIL="hipMalloc:3:2,hipDeviceSynchronize:1:719,hiprtcVersion:1:11")
    assert codes == [
        "hipSuccess",
        "hipSuccess",
        "hipErrorOutOfMemory",
        "hipSuccess",
        "hipErrorOutOfMemory",
        "HIPRTC_ERROR_INTERNAL_ERROR",
        "hipErrorLaunchFailure",
    ]


def _first_call(host: Host) -> list[str]:
    return [host.code("hipGetDeviceCount"), host.fault()]


@pytest.mark.parametrize(
    "rule",
    ["hipMaloc:1:2", "hipMalloc:0:2", "hipMalloc:1", "hipMalloc:1:0", "malloc:1:2", "hipMalloc:1:4294967298", "x"],
)
def test_rule_that_can_never_fail_is_refused(rule: str) -> None:
    """Protects a test of an error from passing because the call's name was misspelt."""
    code, sentence = run_on_host(_first_call, MOESORT_HOST_FAIL=f"hipMalloc:1:2,{rule}")
    assert code == "hipErrorInvalidConfiguration"
    expected = "MOESORT_HOST_FAIL must be call:nth:code[,...] with a call of this runtime"
    assert sentence == f"{expected} (got '{rule}')"
