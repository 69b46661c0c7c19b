"""What AITER's own `moe_sorting` does when nobody steers it, and what it may be told. Standard library only."""

from typing import Final

_RULE_LDS_INTS: Final = 65536 // 2 // 4
"""The rule counts half of 64 KiB of LDS in 4-byte words, whatever the device has."""

_NEVER_ONESHOT_EXPERTS: Final = 512
"""From here on AITER takes multiphase whatever the token count (AITER pull request 3986)."""

_ENDLESS_ONESHOT_EXPERTS: Final = 819
"""From here on AITER's oneshot has an inner step of 0 and never ends."""

_LARGEST_TOKENS: Final = (1 << 24) - 1
"""A token id has 24 bits."""


def aiter_oneshot_max_tokens(num_experts: int) -> int:
    """Largest token count for which AITER by itself (policy 0) takes oneshot; 0 where it never does."""
    lds_rows = _RULE_LDS_INTS // (num_experts + 1)
    if num_experts >= _NEVER_ONESHOT_EXPERTS or lds_rows < 10:
        return 0
    return (lds_rows - 2) // 8 * 8


def aiter_forced_oneshot_max_tokens(num_experts: int) -> int:
    """Largest token count for which AITER may be told to take oneshot (policy 1); -1 where it never may.

    Told so, it loops over more tokens than its rule allows, so that only the experts set a limit.
    """
    return -1 if num_experts >= _ENDLESS_ONESHOT_EXPERTS else _LARGEST_TOKENS
