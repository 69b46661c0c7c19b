"""Describe where and how samples were measured, and the differences between two such descriptions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from moesort_tune.device.products import format_product
from moesort_tune.sweep.samples import Sample

Environment = Mapping[str, str]
"""Values by name; several are separated by commas."""


class EnvironmentDifference(NamedTuple):
    """A value that two environments do not share; '' where one of them does not know it."""

    name: str
    before: str
    after: str


def collect_environment(samples: Iterable[Sample]) -> Environment:
    """Return the device, software, kernels and settings of samples, each value once."""
    values: dict[str, set[str]] = {}
    for known in {tuple(_list_values(sample)) for sample in samples}:
        for name, value in known:
            values.setdefault(name, set()).add(value)
    return {name: ", ".join(sorted(values[name])) for name in sorted(values, key=_rank)}


def find_differences(before: Environment, after: Environment) -> list[EnvironmentDifference]:
    """Return the values in which two environments differ; days always do, and are none."""
    names = sorted({*before, *after} - {"date"}, key=_rank)
    pairs = (EnvironmentDifference(name, before.get(name, ""), after.get(name, "")) for name in names)
    return [pair for pair in pairs if pair.before != pair.after]


def _list_values(sample: Sample) -> Iterator[tuple[str, str]]:
    known = {
        "device": sample.device,
        "product": format_product(sample.device_id) if sample.device_id != sample.device else "",
        "architecture": sample.arch,
        "compute units": str(sample.compute_units),
        "host": sample.host,
        "PCI address": sample.pci_address,
        f"{sample.provider} revision": sample.revision,
        "date": sample.date,
        **_split(sample.software),
        **_split(sample.settings),
    }
    return ((name, value) for name, value in known.items() if value)


def _split(text: str) -> dict[str, str]:
    """Return the values of 'unit_size=32;ep=1' by name."""
    return {name: value for name, _, value in (part.partition("=") for part in text.split(";")) if name}


_ORDER = ("device", "product", "architecture", "compute units", "host", "PCI address")


def _rank(name: str) -> tuple[int, str]:
    """Order names: the device first, then the kernels, then the rest by name."""
    if name in _ORDER:
        return _ORDER.index(name), ""
    return len(_ORDER) + (not name.endswith(" revision")), name
