"""Checkouts and tables of the tests on real code; each test names the versions that it ran with."""

from collections.abc import Callable
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


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that returns a table for the kernels of a provider, written once in a session."""
    written: dict[str, str] = {}

    def get(provider: str) -> str:
        if provider not in written:
            folder = tmp_path_factory.mktemp(provider)
            written[provider] = run_scenario("write_table", folder, checkout=sources.find_aiter(), provider=provider)
        return written[provider]

    return get


@pytest.fixture
def generation(aiter_sources: Path) -> str:
    """Return the generation of AITER that the stand-in must play to be like the checkout."""
    forms = sources.read_arguments(aiter_sources / "aiter/fused_moe.py", "moe_sorting")
    return "newer" if "output" in forms else "e4048607"
