"""A provider of another package, from its entry point to a sweep, a decision and C++."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.tables import store
from tests.providers.installed import install_package

SOURCES = Path(__file__).parent / "third"

CLOCK = "third_step=1; sentinel=10"
"""A sort takes as many microseconds as it has launches."""

# wave, one launch a token, is limited to 12 tokens. block has 30 launches at 80 to 83 tokens, as many as grid.
CHOICES = {1: "wave (policy 3)", 12: "wave (policy 3)", 13: "block (policy 1)", 79: "block (policy 1)"}
CHOICES |= {84: "grid (policy 7)", 500: "grid (policy 7)"}

COMPILER = shutil.which("g++") or "c++"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packages that holds `third` as pip would install it."""
    folder = tmp_path_factory.mktemp("packages")
    install_package(
        folder, "third", {path.name: path.read_text() for path in SOURCES.glob("*.py")}, third="third:PROVIDER"
    )
    return folder


@pytest.fixture(scope="module")
def table(packages: Path) -> Path:
    """Return a table that a sweep of the provider's kernels wrote."""
    path = packages / "host.yaml"
    grid = ("--experts", "8", "--topk", "2", "--tokens", "1:128", "--time-budget", "600")
    swept = moesort_tune(packages, "sweep", "--kernels", "third", "--arch", "host", *grid, "--out", str(path), "--json")
    assert json.loads(swept)[0]["provider"] == "third"
    return path


def moesort_tune(packages: Path, *arguments: str) -> str:
    """Run the command where the provider is installed, and return what it prints."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(packages), *filter(None, sys.path)]),
        "MOESORT_TUNE_RUNTIME": "host",
        "MOESORT_HOST_CLOCK": CLOCK,
    }
    command = [sys.executable, "-m", "moesort_tune.cli.main", *arguments]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_worker_sweeps_the_provider(table: Path) -> None:
    """A worker process finds the provider by its name alone, and measures every candidate within its limit."""
    (entry,) = store.load(table).tables
    assert (entry.kernels.provider, entry.kernels.revision) == ("third", "1")
    (row,) = entry.rows
    assert row.policy == ((1, "wave"), (13, "block"), (84, "grid"))
    assert row.tie == ((80, 83, ("block", "grid")),)
    assert row.limits == {"wave": 12}


def test_table_is_shown(packages: Path, table: Path) -> None:
    """A table of kernels that this package has never heard of is one like any other."""
    shown = moesort_tune(packages, "show", str(table))
    assert "third kernels, revision 1" in shown
    assert "grid" in shown


@pytest.mark.parametrize(("tokens", "choice"), CHOICES.items())
def test_table_decides(packages: Path, table: Path, tokens: int, choice: str) -> None:
    """The choice is one of the provider's kernels, with the policy that the provider gave it."""
    decided = moesort_tune(packages, "show", str(table), "--lookup", f"{tokens},8,2", "--kernels", "third")
    assert decided.startswith(f"{choice} for {tokens} tokens")


def test_exported_table_decides_alike(packages: Path, table: Path) -> None:
    """The header holds the provider's own C++ text of its limits, and compiles."""
    (packages / "policy.h").write_text(
        moesort_tune(packages, "export", str(table), "--format", "cpp", "--kernels", "third")
    )
    units = store.load(table).tables[0].device.compute_units
    checks = "".join(
        f'static_assert(moesort_policy({tokens}, 8, 2, {units}) == {choice[-2]}, "{tokens}");\n'
        for tokens, choice in CHOICES.items()
    )
    source = packages / "main.cpp"
    source.write_text(f'#include "policy.h"\n{checks}int main() {{}}\n')
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only")
    compiled = subprocess.run([COMPILER, *strict, str(source)], capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr


def test_table_is_shown_where_the_provider_is_not_installed(table: Path, tmp_path: Path) -> None:
    """A table may travel to a machine without the package: what it says of itself can still be read."""
    assert "third kernels, revision 1" in moesort_tune(tmp_path, "show", str(table))
