"""A real HIP runtime without a GPU that is too old for this hip-python: what users of old containers meet."""

import pytest

from tests.device import real_rocm

pytestmark = pytest.mark.real_rocm

_OPEN = """
from moesort_tune.device import hip
from moesort_tune.errors import MoesortTuneError
try:
    hip.open_device()
except MoesortTuneError as error:
    print(error)
"""

_PROPERTIES = """
from moesort_tune.device import properties
from moesort_tune.errors import MoesortTuneError
try:
    properties.read_properties("amd", 0)
except MoesortTuneError as error:
    print(error)
"""

_DOCTOR = """
from moesort_tune.cli.doctor import doctor
doctor([])
"""


def test_machine_without_a_device_is_one_sentence() -> None:
    """Protects the first error that most people see: HIP is there, the GPU is not."""
    answer = real_rocm.run_python(_OPEN)
    assert "hipGetDeviceCount failed with hipErrorNoDevice" in answer.stdout, answer.stderr


def test_call_that_this_rocm_lacks_is_named() -> None:
    """Protects against a bare dlsym failure: the error names the library and what to install."""
    answer = real_rocm.run_python(_PROPERTIES)
    assert "hipGetDevicePropertiesR0600" in answer.stdout, answer.stderr
    assert str(real_rocm.find_folder()) in answer.stdout


def test_doctor_says_that_this_rocm_is_too_old() -> None:
    """Protects doctor on a real runtime: it describes the runtime, does not fail, and names what to install."""
    answer = real_rocm.run_python(_DOCTOR)
    assert answer.returncode == 0, answer.stderr
    assert "HIP 5.2." in answer.stdout
    assert "lacks hipGetDevicePropertiesR0600" in answer.stdout
    assert "install ROCm 6.2 or newer" in answer.stdout
