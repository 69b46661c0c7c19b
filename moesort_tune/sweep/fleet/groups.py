"""Group workers by what their devices say they are: a table has an entry for each kind."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from moesort_tune.sweep.cards import get_card, get_identity
from moesort_tune.sweep.worker.messages import DeviceFacts, Worker

Group = list[Worker]


def group_workers(workers: Iterable[Worker]) -> list[Group]:
    """Return the workers whose devices, software and kernels are the same together, the largest group first."""
    groups: dict[DeviceFacts, Group] = {}
    for worker in workers:
        groups.setdefault(get_identity(worker.facts), []).append(worker)
    return sorted(groups.values(), key=len, reverse=True)


def select_groups(groups: Sequence[Group], warn: Callable[[str], None]) -> list[Group]:
    """Return the first group of each entry of a table, and warn of the others, which differ in their software alone.

    An entry has one row for a shape, which cannot rest on both.
    """
    chosen: dict[tuple[object, ...], Group] = {}
    for group in groups:
        first = chosen.setdefault(_get_entry(group[0].facts), group)
        if first is not group:
            cards = ", ".join(get_card(worker.facts) or worker.facts.name for worker in group)
            warn(
                f"left out, since their software is not that of the {len(first)} others of their kind: {cards} with"
                f" {_describe_difference(group[0].facts, first[0].facts)}; sweep them with --out another file"
            )
    return list(chosen.values())


def name_kinds(kinds: Sequence[DeviceFacts]) -> list[str]:
    """Return what tells kinds from each other, for a person; '' for the only one."""
    if len(kinds) == 1:
        return [""]
    alike = Counter(facts.compute_units for facts in kinds)
    return [
        f"{'' if alike[facts.compute_units] == 1 else f'{facts.name}, '}{facts.compute_units} compute units"
        for facts in kinds
    ]


def _get_entry(facts: DeviceFacts) -> tuple[object, ...]:
    """Return what a table tells entries apart by."""
    return facts.arch, facts.compute_units, facts.device_id, facts.provider, facts.revision


def _describe_difference(facts: DeviceFacts, others: DeviceFacts) -> str:
    """Return the fields in which two kinds differ: 'driver 6.16.6 instead of 6.12.0'."""
    names = ("name", "wavefront_size", "lds_bytes", "runtime", "hip", "driver", "compiler")
    differing = [name for name in names if getattr(facts, name) != getattr(others, name)]
    return ", ".join(f"{name} {getattr(facts, name)} instead of {getattr(others, name)}" for name in differing)
