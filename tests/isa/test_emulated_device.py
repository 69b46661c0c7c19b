"""The emulated device leaves nothing to the HIP runtime that is attached. Needs no emulator, so CI runs it."""

import pytest

from moesort_tune.device import hip
from tests.isa.device import EmulatedBuffer, EmulatedKernel, EmulatedModule, EmulatedPreparedLaunch, EmulatedStream

MEMSET_OF_TIMERS = {"memset"}
"""Of streams: nothing that is emulated is timed."""


@pytest.mark.parametrize(
    ("emulated", "real"),
    [
        (EmulatedBuffer, hip.Buffer),
        (EmulatedStream, hip.Stream),
        (EmulatedModule, hip.Module),
        (EmulatedKernel, hip.Kernel),
        (EmulatedPreparedLaunch, hip.PreparedLaunch),
    ],
)
def test_emulated_class_overrides_what_its_base_does_on_a_device(emulated: type, real: type) -> None:
    """Protects the emulated suite, which CI skips, from a method that was added to the real class alone."""
    public = {name for name, member in vars(real).items() if callable(member) and not name.startswith("_")}
    assert public - vars(emulated).keys() - MEMSET_OF_TIMERS == set()
