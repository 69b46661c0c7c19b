"""The candidates that an entry's policies may name."""

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.tables.schema import Entry


def list_registered_names(provider: str) -> tuple[KernelName, ...] | None:
    """Return a registered provider's candidates in order, or None if it is not registered here."""
    facts = find_facts(provider)
    return None if facts is None else tuple(candidate.name for candidate in facts.candidates)


def list_names(*entries: Entry) -> tuple[KernelName, ...]:
    """Return the candidates of entries of one provider, in order.

    Where the provider is not registered, return every kernel that the rows name, in order of first appearance.
    """
    registered = list_registered_names(entries[0].kernels.provider)
    if registered is not None:
        return registered
    return tuple(dict.fromkeys(kernel for entry in entries for row in entry.rows for kernel in row.list_kernels()))
