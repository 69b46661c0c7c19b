"""The operator's candidates, and the numbers by which `dispatch_policy` asks for them."""

from typing import Final

from moesort_tune.domain.vocabulary import AUTOMATIC, KernelName
from moesort_tune.providers.facts.base import Facts, map_kernels
from moesort_tune.providers.facts.builtin import PROVIDER

FACTS: Final[Facts] = PROVIDER.facts
"""Facts of the kernels that the operator runs."""

KERNELS: Final[dict[int, KernelName]] = map_kernels(FACTS)
"""Kernels by their dispatch_policy, in the candidates' order."""

POLICIES: Final = {AUTOMATIC: "automatic", **KERNELS}
"""Every dispatch_policy and its name."""


def describe_policies() -> str:
    """Return every dispatch_policy with its name: '0 (automatic), 1 (oneshot), 2 (multiphase) or 3 (wave)'."""
    *others, last = [f"{policy} ({name})" for policy, name in sorted(POLICIES.items())]
    return f"{', '.join(others)} or {last}"
