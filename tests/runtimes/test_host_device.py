"""The host runtime's device query and settings."""

import pytest

from tests.runtimes.host_process import Host, run_on_host, start_on_host


def _describe(host: Host) -> dict[str, object]:
    code, properties = host.describe("hipGetDeviceProperties", "hipDeviceProp_t", 0)
    assert code == "hipSuccess"
    names = {name: getattr(properties, name) for name in ("name", "gcnArchName")}
    return {
        **{key: text.decode() if isinstance(text, bytes) else text for key, text in names.items()},
        "compute_units": properties.multiProcessorCount,
        "wavefront": properties.warpSize,
        "lds_bytes": properties.sharedMemPerBlock,
        "threads": properties.maxThreadsPerBlock,
        "revision": properties.asicRevision,
    }


def test_properties_follow_the_settings() -> None:
    """Protects the layout of HIP's struct, which has strings in front and behind, and tests that pose as other GPUs."""
    settings = {"COMPUTE_UNITS": "304", "WAVEFRONT_SIZE": "32", "LDS_BYTES": "163840"}
    assert run_on_host(_describe, **{f"MOESORT_HOST_{name}": value for name, value in settings.items()}) == {
        "name": "moesort-tune host",
        "gcnArchName": "host",
        "compute_units": 304,
        "wavefront": 32,
        "lds_bytes": 163840,
        "threads": 1024,
        "revision": 0,
    }


def test_wavefront_is_64_unless_asked() -> None:
    """Protects that machines without a GPU run what AMD's data centre GPUs run."""
    assert run_on_host(_describe)["wavefront"] == 64


def _attributes(host: Host) -> list[int]:
    attribute = host.hip.hipDeviceAttribute_t
    wanted = (
        attribute.hipDeviceAttributeWarpSize,
        attribute.hipDeviceAttributeMultiprocessorCount,
        attribute.hipDeviceAttributeMaxSharedMemoryPerBlock,
        attribute.hipDeviceAttributeMaxThreadsPerBlock,
    )
    return [host.ok("hipDeviceGetAttribute", number, 0) for number in wanted]


def test_attributes_agree_with_the_properties() -> None:
    """Protects HIP's numbers of attributes."""
    assert run_on_host(_attributes, MOESORT_HOST_COMPUTE_UNITS="7") == [64, 7, 65536, 1024]


def _codes_of_wrong_devices(host: Host) -> list[str]:
    wavefront = host.hip.hipDeviceAttribute_t.hipDeviceAttributeWarpSize
    calls = (("hipSetDevice", 1), ("hipDeviceGetAttribute", wavefront, 1), ("hipGetLastError",))
    return [host.code(*call) for call in calls]


def test_second_device_does_not_exist() -> None:
    """Protects callers that count devices wrongly."""
    assert run_on_host(_codes_of_wrong_devices) == ["hipErrorInvalidDevice"] * 3


def _list_devices(host: Host) -> list[list[int]]:
    found = []
    for ordinal in range(host.ok("hipGetDeviceCount")):
        host.ok("hipSetDevice", ordinal)
        _, properties = host.describe("hipGetDeviceProperties", "hipDeviceProp_t", ordinal)
        free, total = host.ok("hipMemGetInfo")
        found.append([properties.multiProcessorCount, properties.pciBusID, (total - free) >> 30])
    return found


@pytest.mark.parametrize(
    ("variables", "devices"),
    [
        ({}, [[4, 1, 0], [8, 2, 60], [8, 2, 0]]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [[8, 2, 0], [4, 1, 0]]),
        ({"CUDA_VISIBLE_DEVICES": "2,0", "HIP_VISIBLE_DEVICES": "1"}, [[8, 2, 60]]),
        ({"HIP_VISIBLE_DEVICES": "0,7,1"}, [[4, 1, 0]]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_several_devices_are_those_described_and_visible(variables: dict[str, str], devices: list[list[int]]) -> None:
    """Protects tests of fleets: units, addresses, memory in use, and the variables by which HIP hides devices."""
    described = {"MOESORT_HOST_DEVICES": "units=4; units=8, bus=2, used=60; units=8, bus=2", **variables}
    assert run_on_host(_list_devices, **described) == devices


def _error_texts(host: Host) -> list[str]:
    error = host.hip.hipError_t.hipErrorLaunchFailure
    return [str(host.ok(call, error)) for call in ("hipGetErrorName", "hipGetErrorString")]


def test_error_codes_have_names_and_sentences() -> None:
    """Protects messages made of them."""
    name, sentence = run_on_host(_error_texts)
    assert name == "hipErrorLaunchFailure"
    assert "a kernel failed" in sentence


def _call_what_is_missing(host: Host) -> str:
    try:
        host.call("hipMallocManaged", 16, 1)
    except RuntimeError as error:
        return str(error)
    return ""


def test_missing_call_fails_by_name() -> None:
    """Protects the reader of the error: what is not implemented says its name."""
    assert "hipMallocManaged" in run_on_host(_call_what_is_missing)


def _first_call(host: Host) -> list[str]:
    return [host.code("hipGetDeviceCount"), host.code("hiprtcVersion"), host.fault()]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "SEED",
            "18446744073709551616",
            "MOESORT_HOST_SEED must be a whole number from 0 to 18446744073709551615 (got '18446744073709551616')",
        ),
        ("CLOCK_NOISE", "nan", "MOESORT_HOST_CLOCK_NOISE must be a number from 0 to 1 (got 'nan')"),
        ("SEED", "one", "MOESORT_HOST_SEED must be a whole number from 0 to 18446744073709551615 (got 'one')"),
        ("WAVEFRONT_SIZE", "48", "MOESORT_HOST_WAVEFRONT_SIZE must be 32 or 64 (got '48')"),
        ("THREADS", "0", "MOESORT_HOST_THREADS must be a whole number from 1 to 256 (got '0')"),
        ("CHECK", "yes", "MOESORT_HOST_CHECK must be a whole number from 0 to 1 (got 'yes')"),
        ("CLOCK_NOISE", "7", "MOESORT_HOST_CLOCK_NOISE must be a number from 0 to 1 (got '7')"),
        (
            "DEVICES",
            "units=0",
            "MOESORT_HOST_DEVICES must be units=N[,slowdown=X][,bus=N][,used=GIB] for each device, separated by ';' "
            "(got 'units=0')",
        ),
        ("LAUNCH_LOG", "/", "MOESORT_HOST_LAUNCH_LOG: cannot open '/': Is a directory"),
    ],
)
def test_wrong_setting_fails_the_first_call(name: str, value: str, sentence: str) -> None:
    """Protects against a misspelt setting that would quietly test nothing."""
    answer = run_on_host(_first_call, **{f"MOESORT_HOST_{name}": value})
    assert answer == ["hipErrorInvalidConfiguration", "HIPRTC_ERROR_INTERNAL_ERROR", sentence]


def test_wrong_setting_is_told_on_stderr() -> None:
    """Protects callers that only print HIP's code."""
    assert "MOESORT_HOST_SEED" in start_on_host(_first_call, MOESORT_HOST_SEED="x").stderr
