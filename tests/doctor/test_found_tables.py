"""The revisions by which a table that was found is called stale."""

from pathlib import Path

import pytest

from moesort_tune.doctor.found_tables import find_tables
from moesort_tune.providers.work import aiter as aiter_work
from moesort_tune.sorting.revision import compute_kernels_revision
from moesort_tune.tables import store
from tests.tables.examples import EXAMPLE, device, entry, make_published_entry, table


@pytest.mark.parametrize(
    ("provider", "revisions", "own"),
    [
        ("builtin", ("5c1e0f",), (compute_kernels_revision("gfx942"),)),
        ("aiter", ("5c1e0f",), ("0.1.19 for gfx942",)),
        ("third", (), ()),
    ],
)
def test_entry_is_compared_with_its_own_provider(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    revisions: tuple[str, ...],
    own: tuple[str, ...],
) -> None:
    """Each provider names its revision; a table of kernels that are not installed here is not called stale."""
    monkeypatch.setattr(aiter_work, "revision_of", lambda arch: f"0.1.19 for {arch}")
    (tmp_path / "gfx942.yaml").write_text(EXAMPLE.replace("provider: builtin", f"provider: {provider}"))
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / "gfx942.yaml"))
    found = find_tables()[0]
    assert (found.refused, found.revisions, found.own_revisions) == ("", revisions, own)


def test_products_of_a_table_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, with the number of compute units that its entries serve."""
    devices = [device(id="0x74a1"), device(id="0x74a5"), device(compute_units=80)]
    store.save(tmp_path / "gfx942.yaml", table(*(entry(device=one) for one in devices)))
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path))
    found = [(one.compute_units, one.product) for one in find_tables()[0].devices]
    assert found == [(304, "MI300X (0x74a1)"), (304, "MI325X (0x74a5)"), (80, "AMD Instinct MI300X")]


def test_table_that_nobody_measured_is_used_only_where_its_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the state of a copied model against that of a sweep: the runtime refuses it in a folder."""
    path = tmp_path / "tables" / "gfx942.yaml"
    path.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    for one, evidence, used in (
        (entry(evidence="modelled"), "modelled", False),
        (make_published_entry(), "published", False),
        (entry(evidence="learned"), "measured", True),
        (entry(), "measured", True),
    ):
        store.save(path, table(one))
        for named, expected in ((None, used), (path.parent, used), (path, True)):
            monkeypatch.setenv("MOESORT_TUNE_TABLE", str(named or ""))
            found = find_tables()[0]
            assert ([device.evidence for device in found.devices], found.is_used_where_found) == ([evidence], expected)


def test_modelled_table_is_not_compared_with_the_kernels_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a model, which serves whatever revision runs, from being called measured with other kernels."""
    store.save(tmp_path / "gfx942.yaml", table(entry(evidence="modelled")))
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / "gfx942.yaml"))
    assert (find_tables()[0].revisions, find_tables()[0].own_revisions) == ((), ())
