"""The revisions by which a table that was found is called stale."""

from pathlib import Path

import pytest

from moesort_tune.doctor.found_tables import find_tables
from moesort_tune.providers.work import aiter as aiter_work
from moesort_tune.sorting.revision import compute_kernels_revision
from moesort_tune.tables import store
from tests.tables.examples import EXAMPLE, device, entry, table


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
