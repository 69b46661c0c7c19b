"""The rule by which AITER's `moe_sorting` chooses a kernel itself, and the limits of forcing one."""

from typing import Final

from moesort_tune.domain.vocabulary import MAX_TOKENS

AITER_RULE: Final = "AITER's rule"

_RULE_LDS_INTS: Final = 65536 // 2 // 4
"""The rule counts half of 64 KiB of LDS in 4-byte words, whatever the device has."""

_NEVER_ONESHOT_EXPERTS: Final = 512
"""From here on AITER takes multiphase whatever the token count (AITER pull request 3986)."""

ENDLESS_ONESHOT_EXPERTS: Final = 819
"""From here on AITER's oneshot has an inner step of 0 and never ends."""


def compute_aiter_oneshot_max_tokens(num_experts: int) -> int:
    """Return the largest token count for which AITER by itself (policy 0) takes oneshot; 0 where it never does."""
    lds_rows = _RULE_LDS_INTS // (num_experts + 1)
    if num_experts >= _NEVER_ONESHOT_EXPERTS or lds_rows < 10:
        return 0
    return (lds_rows - 2) // 8 * 8


AITER_RULE_CPP: Final = f"""\
constexpr int rule(int tokens, int num_experts, int /*topk*/, bool /*moe_buf*/, bool /*masked*/) {{
  if (num_experts >= {_NEVER_ONESHOT_EXPERTS}) return 1;
  const int lds_rows = {_RULE_LDS_INTS} / (num_experts + 1);
  return tokens <= (lds_rows < 10 ? 0 : (lds_rows - 2) / 8 * 8) ? 0 : 1;
}}
"""
"""The rule in C++17: the index of the candidate, oneshot before multiphase."""


def compute_aiter_forced_oneshot_max_tokens(num_experts: int) -> int:
    """Return the largest token count for which policy 1 is safe; -1 where it never is.

    Forced oneshot loops over more tokens than AITER's rule allows, so only the experts set a limit.
    """
    return -1 if num_experts >= ENDLESS_ONESHOT_EXPERTS else MAX_TOKENS
