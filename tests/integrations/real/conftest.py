"""Checkouts and tables of the tests on real code; each test names the versions that it ran with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.real import sources
from tests.integrations.real.child import run_scenario
from tests.opt_in import name_version

Run = Callable[..., Any]


@pytest.fixture
def aiter_sources(request: pytest.FixtureRequest) -> Path:
    """Return the checkout of AITER, to be read."""
    checkout = sources.find_aiter()
    name_version(request.node, f"AITER {sources.describe_aiter(checkout)}")
    return checkout


@pytest.fixture
def vllm(request: pytest.FixtureRequest) -> Path:
    """Return the folder of vLLM."""
    return _find_framework(request.node, "vllm", "vLLM")


@pytest.fixture
def sglang(request: pytest.FixtureRequest) -> Path:
    """Return the folder of SGLang."""
    return _find_framework(request.node, "sglang", "SGLang")


def _find_framework(item: pytest.Item, project: str, title: str) -> Path:
    folder = sources.find_framework(project)
    name_version(item, f"{title} {sources.describe_framework(folder)}")
    return folder


@pytest.fixture
def run(aiter_sources: Path, tmp_path: Path) -> Run:
    """Return a function that runs a scenario in a process of its own, with the real AITER."""
    sources.find_importable_aiter()

    def run(scenario: str, **arguments: Any) -> Any:
        return run_scenario(scenario, tmp_path, checkout=aiter_sources, **arguments)

    return run


@dataclass(frozen=True)
class Server:
    """A way to run a worker of a framework. checkout: of AITER, None for the stand-in. audit: folder of its counts."""

    checkout: Path | None
    table: str
    folder: Path
    audit: Path

    def serve(self, *, framework: str, sources: Path, method: str, **variables: str) -> Any:
        """Return what a worker sorted under these variables, and its counts."""
        named = {"MOESORT_TUNE_TABLE": self.table, "MOESORT_TUNE_AUDIT": str(self.audit), **variables}
        options = {"framework": framework, "sources": sources, "method": method, "checkout": self.checkout}
        return run_scenario("serve", self.folder, variables=named, **options)


@pytest.fixture(params=["stand-in", "AITER"])
def server(request: pytest.FixtureRequest, tmp_path: Path, tables: Callable[..., str]) -> Server:
    """Return a server on AITER's own code, and on the stand-in, which needs no checkout."""
    checkout = None
    if request.param == "AITER":
        checkout = sources.find_importable_aiter()
        name_version(request.node, f"AITER {sources.describe_aiter(checkout)}")
    return Server(checkout, tables("aiter", checkout), tmp_path, tmp_path / "audit")


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that returns a table for the kernels of a provider, written once in a session.

    Its second argument is the checkout of AITER, None for the stand-in; by default the one that there is.
    """
    written: dict[tuple[str, Path | None], str] = {}

    def get(provider: str, *given: Path | None) -> str:
        (checkout,) = given or (sources.find_aiter(),)
        key = (provider, checkout)
        if key not in written:
            folder = tmp_path_factory.mktemp(provider)
            written[key] = run_scenario("write_table", folder, checkout=checkout, provider=provider)
        return written[key]

    return get


@pytest.fixture
def generation(aiter_sources: Path) -> str:
    """Return the generation of AITER that the stand-in must play to be like the checkout."""
    forms = sources.read_arguments(aiter_sources / "aiter/fused_moe.py", "moe_sorting")
    return "newer" if "output" in forms else "e4048607"
