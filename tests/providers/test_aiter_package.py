"""What is known of an installed AITER without importing it."""

import sys
from pathlib import Path

import pytest

from moesort_tune.providers.work import aiter_package
from moesort_tune.providers.work.aiter_package import AiterPackage

HEADER = "moe_sorting_opus.h"
TAKEN = "const int eid = x[0];  // a comment\n"
GUARDED = TAKEN + "if (eid >= 0 && eid < num_experts) marks[eid] = 1;\n" + " " * 600
UNGUARDED = TAKEN + "if (eid < num_experts) marks[eid] = 1;\n" + " " * 600
FAULTY, FIXED = GUARDED + UNGUARDED, GUARDED + GUARDED


def install(folder: Path, csrc: str) -> None:
    """An AITER in `folder` whose C++ sources are below `csrc`."""
    (folder / "aiter").mkdir()
    (folder / "aiter" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / csrc / "include").mkdir(parents=True)
    (folder / csrc / "include" / HEADER).write_text(FAULTY)


@pytest.mark.parametrize("csrc", ["aiter_meta/csrc", "csrc"])
def test_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, csrc: str) -> None:
    """Protects processes that never sort; a wheel and a checkout keep their sources in different folders."""
    install(tmp_path, csrc)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = aiter_package.find()
    assert package is not None
    assert package.sources == {HEADER: FAULTY}
    assert "aiter" not in sys.modules


def test_folder_called_aiter_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a project that keeps a folder of that name: Python takes it for a package, nobody else shall."""
    (tmp_path / "aiter").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "aiter", raising=False)
    assert aiter_package.find() is None
    assert aiter_package.find_obstacle() == "AITER is not installed: there is no package aiter"


def test_revision_changes_with_version_and_sources() -> None:
    """Protects tables: rows of one AITER are not taken for another's."""
    revisions = [
        AiterPackage(version, {HEADER: text}).revision for version in ("0.1.19", "0.1.20") for text in (FAULTY, FIXED)
    ]
    assert len(set(revisions)) == 4
    assert all(revision.startswith(("0.1.19-", "0.1.20-")) for revision in revisions)


def test_revision_without_sources_is_the_version() -> None:
    """Protects wheels that leave the sources out: there is still something to tell one from the next."""
    assert AiterPackage("0.1.19", {}).revision == "0.1.19"


@pytest.mark.parametrize(
    ("sources", "safe"),
    [
        ({HEADER: UNGUARDED}, False),
        ({HEADER: FAULTY}, False),
        ({HEADER: FIXED}, True),
        ({HEADER: FIXED.replace("eid >= 0 && eid < num_experts", "static_cast<uint32_t>(eid) < num_experts")}, True),
        ({HEADER: "another design"}, False),
        ({}, False),
    ],
)
def test_negative_ids_are_safe_only_where_the_source_says_so(sources: dict[str, str], safe: bool) -> None:
    """Protects expert parallelism: every place must look, and what nobody knows counts as unsafe."""
    assert AiterPackage("0.1.19", sources).negative_ids_are_safe is safe
