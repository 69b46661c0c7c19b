"""The packages: their tables, never a sweep's output in a checkout, and what an index and a packager find in them."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from moesort_tune import __version__, shipped
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
    for file in ("pyproject.toml", "README.md", "LICENSE"):
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


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the source package of this repository."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return folder


def test_version_is_written_once(packages: Path) -> None:
    """Protects releases from a package that is one version and says another."""
    (wheel,) = packages.glob("*.whl")
    assert wheel.name.startswith(f"moesort_tune-{__version__}-")


def test_page_of_an_index_has_no_links_into_the_repository(packages: Path) -> None:
    """Protects the first page that many see: beside it on an index lie no files, so such a link leads nowhere."""
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        page = email.message_from_bytes(archive.read(name)).get_payload()
    assert "# moesort-tune" in page
    assert [target for target in re.findall(r"\]\(([^)]*)\)", str(page)) if "://" not in target] == []
    assert "<picture" not in page


def test_wheel_says_that_it_has_types(packages: Path) -> None:
    """Protects users of mypy, which reads no annotations of a package without this file."""
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "moesort_tune/py.typed" in archive.namelist()


def test_source_package_runs_its_tests(packages: Path, tmp_path: Path) -> None:
    """Protects whoever packages this for a distribution: all tests are found there, and some run."""
    (source,) = packages.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    for command in (["--collect-only"], ["tests/docs/test_pages.py", "tests/domain"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *command],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.name)
def test_actions_are_pinned_by_hash(workflow: Path) -> None:
    """Protects releases: a tag of somebody else's action can be moved to other code, a hash cannot."""
    used = re.findall(r"uses: *(\S+)", workflow.read_text())
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []
    jobs = yaml.safe_load(workflow.read_text())
    assert "permissions" in jobs
