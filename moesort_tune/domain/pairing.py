"""Pair the keys of two collections whose keys need not be equal in every part."""

from collections.abc import Callable, Hashable, Sequence, Set
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def pair_keys(before: Set[Key], after: Set[Key], simplify: Sequence[Callable[[Key], Key]]) -> dict[Key, Key]:
    """Return for each key of `before` its partner in `after`, where there is one.

    Equal keys are partners. What is left is paired by each way to simplify a key in turn, where one key alone of either
    side is left to choose from.
    """
    partner = {key: key for key in before if key in after}
    for simplified in simplify:
        partner |= _pair_unique(before - partner.keys(), after - set(partner.values()), simplified)
    return partner


def _pair_unique(before: Set[Key], after: Set[Key], simplify: Callable[[Key], Key]) -> dict[Key, Key]:
    groups: dict[Key, tuple[list[Key], list[Key]]] = {}
    for side, keys in enumerate((before, after)):
        for key in keys:
            groups.setdefault(simplify(key), ([], []))[side].append(key)
    return {old[0]: new[0] for old, new in groups.values() if len(old) == len(new) == 1}
