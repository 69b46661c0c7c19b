"""The registered providers by name, each loaded when it is first asked for."""

import functools
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from moesort_tune.domain.vocabulary import ALIGN, NAME_PATTERN, RESERVED_NAMES, SORTING, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.base import Facts, Provider, get_operation

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "moesort_tune.providers"
"""Entry point group in which packages register their providers."""

BUNDLED: Final = {
    "builtin": "moesort_tune.providers.facts.builtin:PROVIDER",
    "aiter": "moesort_tune.providers.facts.aiter:PROVIDER",
    "align": "moesort_tune.providers.facts.align:PROVIDER",
}
"""This package's own entry points, as pyproject.toml declares them. They are named here too because reading the entry
points of all installed packages takes longer than a serving process needs to start, and since an uninstalled checkout
has none."""


class UnknownProviderError(ValueError):
    """A name under which no provider is registered."""


class BrokenProviderError(MoesortTuneError):
    """A registered provider that cannot be loaded."""


class _Registration(NamedTuple):
    """An entry point, 'module:attribute', and the package that declares it."""

    target: str
    package: str


def list_names() -> tuple[str, ...]:
    """Return the names of all registered providers, this package's own first."""
    return (*BUNDLED, *_list_installed())


@functools.cache
def get_provider(name: str) -> Provider:
    """Return the provider that is registered as `name`. Raise UnknownProviderError, BrokenProviderError."""
    registrations = _list_registrations(name)
    if not registrations:
        raise UnknownProviderError(f"kernels must be {' or '.join(list_names())}, got {name!r}")
    if len({registration.target for registration in registrations}) > 1:
        packages = " and ".join(registration.package for registration in registrations)
        raise BrokenProviderError(f"the provider {name} is registered by {packages}; uninstall all but one of them")
    module, _, attribute = registrations[0].target.partition(":")
    with name_package_in_errors(name):
        found = getattr(importlib.import_module(module), attribute)
        if name not in BUNDLED:
            _check(name, found)
    return cast(Provider, found)


def get_facts(name: str) -> Facts:
    """Return the facts of the provider that is registered as `name`. Raise as get_provider does."""
    return get_provider(name).facts


def find_facts(name: str) -> Facts | None:
    """Return the facts of a provider that may not be registered or not be usable here, as one that a table names."""
    try:
        return get_facts(name) if _list_registrations(name) else None
    except BrokenProviderError:
        return None


def find_operation(name: str) -> Operation:
    """Return what a provider's kernels compute, moe_sorting for one that is not registered or not usable here."""
    facts = find_facts(name)
    return SORTING if facts is None else get_operation(facts)


@contextmanager
def name_package_in_errors(name: str) -> Iterator[None]:
    """Raise a BrokenProviderError that names the provider's package for every error of its code."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BrokenProviderError(
            f"the provider {name} of the package {_list_registrations(name)[0].package} cannot be loaded ({reason}); "
            "update or uninstall that package"
        ) from error


def _check(name: str, found: object) -> None:
    """Raise TypeError or ValueError for an object that is no provider, or one that no table could hold."""
    if not isinstance(found, Provider):
        raise TypeError(f"expected a Provider, got {found!r}")
    if found.facts.name != name:
        raise ValueError(f"its facts are named {found.facts.name!r}")
    kernels = [candidate.name for candidate in found.facts.candidates]
    policies = [candidate.policy for candidate in found.facts.candidates]
    if (operation := get_operation(found.facts)) not in (SORTING, ALIGN):
        raise ValueError(f"expected {SORTING} or {ALIGN} as its operation, got {operation!r}")
    for word in (name, *kernels):
        _check_name(word)
    if not kernels:
        raise ValueError("expected at least one candidate, got none")
    if len(set(kernels)) < len(kernels):
        raise ValueError(f"expected candidates of different names, got {', '.join(kernels)}")
    if len(set(policies)) < len(policies) or not all(type(policy) is int and policy >= 1 for policy in policies):
        got = ", ".join(map(repr, policies))
        raise ValueError(f"expected a different whole number from 1 as the policy of each candidate, got {got}")


def _check_name(word: object) -> None:
    """Raise ValueError for a name that neither a table nor the command line could hold."""
    if not isinstance(word, str) or not re.fullmatch(NAME_PATTERN, word):
        raise ValueError(
            "expected a name of at most 32 lower-case letters, digits and underscores that begins with a letter, "
            f"got {word!r}"
        )
    if word in RESERVED_NAMES:
        raise ValueError(f"expected a name other than {', '.join(sorted(RESERVED_NAMES))}, got {word!r}")


def _list_registrations(name: str) -> tuple[_Registration, ...]:
    if name in BUNDLED:
        return (_Registration(BUNDLED[name], "moesort-tune"),)
    return _list_installed().get(name, ())


@functools.cache
def _list_installed() -> dict[str, tuple[_Registration, ...]]:
    """Return the entry points of other packages by name, several where packages claim one name."""
    from importlib import metadata  # slow, and not needed for this package's own

    found: dict[str, tuple[_Registration, ...]] = {}
    for entry in metadata.entry_points(group=GROUP):
        if entry.name not in BUNDLED:
            found[entry.name] = (*found.get(entry.name, ()), _Registration(entry.value, _get_package(entry)))
    return found


def _get_package(entry: "EntryPoint") -> str:
    return entry.dist.name if entry.dist else "of unknown name"
