"""Which emulated tests run. Needs no emulator, so CI runs it where there is none too."""

import os
import subprocess
import sys

import pytest

from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.sorting.launches import KERNELS
from tests.isa.conftest import HOURGLASS_VARIABLE
from tests.isa.test_emulated_align import SHARP
from tests.isa.test_hourglass import CASES
from tests.isa.tinygrad_emulator import FOLDER


@pytest.mark.parametrize("short", [False, True])
def test_hourglass_leaves_only_the_sharp_cases(short: bool) -> None:
    """Protects CI's time, and the whole suite from being left out unasked."""
    environment = {name: value for name, value in os.environ.items() if name != HOURGLASS_VARIABLE}
    command = (sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "emulator", str(FOLDER))
    collected = subprocess.run(
        command,
        env={**environment, **({HOURGLASS_VARIABLE: "1"} if short else {})},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line for line in collected.splitlines() if "::" in line]
    each = len(KERNELS) * len(AMD_ARCHITECTURES)
    assert sum("test_hourglass" in name for name in names) == len(CASES) * each
    assert sum("test_sharp_alignment" in name for name in names) == len(SHARP) * each
    sharp = (len(CASES) + len(SHARP)) * each
    assert len(names) == sharp if short else len(names) > 5 * sharp
