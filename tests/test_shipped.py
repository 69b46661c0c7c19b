"""The shipped tables: the files in the package, never a sweep's output in a checkout."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from moesort_tune import shipped
from moesort_tune.tables import store
from tests.tables import examples

REPOSITORY = Path(__file__).parents[1]
SWEPT = ("gfx942", "sm_90", "host")
TABLES = Path("moesort_tune", "data", "tables")
FOUND = """
import json
from moesort_tune import runtime
from moesort_tune.doctor.found_tables import find_tables
served = {arch: runtime.get(arch=arch).explain(tokens=1, num_experts=128, topk=4).table for arch in %r}
print(json.dumps([{arch: str(table) for arch, table in served.items()},
                  [table.path for table in find_tables() if table.origin == "shipped"]]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout in whose root sweeps were run, without a .gitignore that could hide their output."""
    root = tmp_path / "checkout"
    for folder in ("moesort_tune", "hip_kernels"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / file, root)
    for arch in SWEPT:
        store.save(root / "tables" / f"{arch}.yaml", examples.table(examples.entry(), arch=arch))
    return root


def test_what_a_sweep_wrote_decides_nowhere_else(checkout: Path, tmp_path: Path) -> None:
    """Protects an editable install: its sweeps leave the shipped tables as they are, also where the names are alike."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = [sys.executable, "-c", FOUND % (SWEPT,)]
    environment = {"PYTHONPATH": f"{checkout}:{':'.join(filter(None, sys.path))}"}
    for folder in (checkout, elsewhere):
        answer = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        served, found = json.loads(answer.stdout)
        assert served == {"gfx942": "None", "sm_90": str(checkout / TABLES / "sm_90.yaml"), "host": "None"}
        assert found == [str(checkout / TABLES / "sm_90.yaml")]


def test_packages_hold_the_shipped_tables_alone(checkout: Path, tmp_path: Path) -> None:
    """Protects wheels and sdists built in a checkout where a sweep has run."""
    expected = {path.relative_to(REPOSITORY) for path in shipped.get_tables_folder().rglob("*.yaml")}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    (wheel,), (source,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        assert select_tables(archive.namelist()) == expected
    with tarfile.open(source) as archive:
        assert select_tables(name.partition("/")[2] for name in archive.getnames()) == expected


def select_tables(names: Iterable[str]) -> set[Path]:
    """Return the YAML files."""
    return {Path(name) for name in names if name.endswith(".yaml")}
