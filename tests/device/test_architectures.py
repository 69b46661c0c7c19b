"""Facts about architectures that nothing reports."""

import pytest

from moesort_tune.device.architectures import MIB, compute_last_level_cache_bytes


@pytest.mark.parametrize(
    ("arch", "l2_mib", "last_level_mib"),
    [
        ("gfx90a", 8, 8),
        ("gfx942", 4, 256),
        ("gfx950", 4, 256),
        ("sm_90", 50, 50),
        ("sm_100", 126, 126),
        ("new", 64, 64),
    ],
)
def test_cache_behind_a_small_l2_is_known(arch: str, l2_mib: int, last_level_mib: int) -> None:
    """Protects cold times on MI300 and MI350, whose L2 of one XCD is all that HIP reports."""
    assert compute_last_level_cache_bytes(arch, l2_mib * MIB) == last_level_mib * MIB
