"""Providers by name: this package's own, and those of other packages."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.registry import BrokenProviderError, UnknownProviderError
from moesort_tune.providers.work import base
from tests.providers.installed import install_package

if sys.version_info >= (3, 11):
    import tomllib

PROVIDER = """
from moesort_tune.providers.facts.aiter import AiterFacts
from moesort_tune.providers.facts.base import Provider
from moesort_tune.domain.vocabulary import Candidate

class Facts(AiterFacts):
    name = {name!r}
    candidates = {candidates}
    operation = {operation!r}

PROVIDER = Provider(Facts(), work={work!r})
"""

Install = Callable[..., None]


def get_text(
    *,
    name: str = "third",
    candidates: str = "AiterFacts.candidates",
    work: str = "third.work",
    operation: str = "moe_sorting",
) -> str:
    """Return a module that defines a provider."""
    return PROVIDER.format(name=name, candidates=candidates, work=work, operation=operation)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages into a folder of packages that only this test has."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_installed()
    before = set(sys.modules)

    def install(package: str = "third", module: str | None = None, **entry_points: str) -> None:
        modules = {"__init__.py": get_text() if module is None else module}
        install_package(tmp_path, package, modules, **entry_points or {"third": f"{package}:PROVIDER"})

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]
    forget_installed()


def forget_installed() -> None:
    """Have the registry look again at what is installed."""
    registry._list_installed.cache_clear()
    registry.get_provider.cache_clear()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_bundled_providers_are_those_of_the_project() -> None:
    """Other tools find the bundled providers by the entry points, this package by a constant: both say the same."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][registry.GROUP] == registry.BUNDLED


@pytest.mark.parametrize("name", registry.BUNDLED)
def test_bundled_provider_satisfies_what_is_asked_of_others(name: str) -> None:
    """The check that other packages' providers pass is one that this package's own pass."""
    registry._check(name, registry.get_provider(name))


def test_provider_of_another_package_is_found(install: Install) -> None:
    """An entry point is all that a package needs to offer its kernels."""
    install()
    assert registry.list_names() == ("builtin", "aiter", "align", "third")
    assert registry.get_facts("third").name == "third"
    assert registry.find_facts("third") is registry.get_facts("third")


def test_provider_is_loaded_when_it_is_asked_for(install: Install) -> None:
    """A package that is installed costs nothing, and breaks nothing, until somebody names its provider."""
    install(module="raise RuntimeError('loaded')")
    assert "third" in registry.list_names()
    assert registry.get_facts("builtin").name == "builtin"
    assert "third" not in sys.modules


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("PROVIDER = 3", "TypeError: expected a Provider, got 3"),
        ("", "AttributeError: module 'third' has no attribute 'PROVIDER'"),
        (get_text(name="fourth"), "ValueError: its facts are named 'fourth'"),
        (get_text(operation="topk"), "expected moe_sorting or moe_align_block_size as its operation, got 'topk'"),
        (get_text(candidates="(Candidate('Wave', 1),)"), "that begins with a letter, got 'Wave'"),
        (get_text(candidates="(Candidate('1', 1),)"), "ValueError: expected a name of at most 32 lower-case letters"),
        (get_text(candidates="(Candidate(3, 1),)"), "that begins with a letter, got 3"),
        *(
            (get_text(candidates=f"(Candidate({name!r}, 1),)"), f"other than all, automatic, tie, got {name!r}")
            for name in ("all", "automatic", "tie")
        ),
        (get_text(candidates="()"), "expected at least one candidate, got none"),
        (get_text(candidates="(Candidate('a', 1), Candidate('a', 2))"), "candidates of different names, got a, a"),
        (get_text(candidates="(Candidate('a', 1), Candidate('b', 1))"), "the policy of each candidate, got 1, 1"),
        (get_text(candidates="(Candidate('a', 0), Candidate('b', 1))"), "the policy of each candidate, got 0, 1"),
        (get_text(candidates="(Candidate('a', -1), Candidate('b', 1))"), "the policy of each candidate, got -1, 1"),
        (get_text(candidates="(Candidate('a', 1.5), Candidate('b', True))"), "of each candidate, got 1.5, True"),
    ],
)
def test_provider_that_cannot_be_loaded_is_named_with_its_package(install: Install, module: str, reason: str) -> None:
    """A sentence says which package to repair, before a sweep of hours ends in a table that cannot be written."""
    install(module=module)
    with pytest.raises(BrokenProviderError) as broken:
        registry.get_facts("third")
    assert str(broken.value).startswith("the provider third of the package third cannot be loaded (")
    assert reason in str(broken.value)
    assert str(broken.value).endswith("update or uninstall that package")
    assert registry.find_facts("third") is None


@pytest.mark.parametrize("name", ["all", "automatic", "tie"])
def test_reserved_name_of_a_provider_is_refused(install: Install, name: str) -> None:
    """On the command line and in a table these words mean something else than whose kernels to run."""
    install(module=get_text(name=name), **{name: "third:PROVIDER"})
    with pytest.raises(BrokenProviderError, match=f"other than all, automatic, tie, got '{name}'"):
        registry.get_provider(name)


def test_unknown_provider_is_refused_with_the_names_that_there_are(install: Install) -> None:
    """A mistyped name ends in a sentence, wherever it was passed."""
    install()
    with pytest.raises(UnknownProviderError, match="kernels must be builtin or aiter or align or third, got 'thrid'"):
        registry.get_provider("thrid")
    assert registry.find_facts("thrid") is None


def test_bundled_name_cannot_be_claimed(install: Install) -> None:
    """Rows of `builtin` are used by every serving process: no other package's kernels may stand behind the name."""
    install(module=get_text(name="builtin"), builtin="third:PROVIDER")
    assert registry.list_names() == ("builtin", "aiter", "align")
    assert registry.get_provider("builtin").work == "moesort_tune.providers.work.builtin"


def test_name_that_two_packages_claim_is_refused(install: Install) -> None:
    """It would depend on the order of installation whose kernels are meant."""
    install("third")
    install("another")
    assert registry.list_names() == ("builtin", "aiter", "align", "third")
    with pytest.raises(BrokenProviderError, match=r"registered by (third and another|another and third); uninstall"):
        registry.get_provider("third")


def test_work_module_that_cannot_be_imported_is_named_with_its_package(install: Install) -> None:
    """A table of such kernels can still be shown; only measuring them is refused."""
    install(module=get_text(work="third.no_such_module"))
    assert registry.get_facts("third").name == "third"
    assert "the provider third of the package third cannot be loaded (ModuleNotFoundError" in base.why_not("third")
    assert "third" not in base.available()
    with pytest.raises(BrokenProviderError):
        base.revision_of("third", "gfx942")
