"""Name the card that a worker holds, and tell which workers hold the same kind of device."""

from dataclasses import replace

from moesort_tune.sweep.worker.messages import DeviceFacts

Card = str
"""Host and PCI address of a card, 'node7 0000:0c:00', as far as they are known; its partitions share it."""


def format_card(host: str, pci_address: str) -> Card:
    """Return the name of the card at an address of a host."""
    return " ".join(filter(None, (host, pci_address)))


def get_card(facts: DeviceFacts) -> Card:
    """Return the name of the card that these facts are of."""
    return format_card(facts.host, facts.pci_address)


def get_identity(facts: DeviceFacts) -> DeviceFacts:
    """Return what devices of one kind with the same software and kernels share: the facts without the place."""
    return replace(facts, host="", pci_address="")
