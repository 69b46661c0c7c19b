"""The revisions by which a table that was found is called stale."""

from pathlib import Path

import pytest

from moesort_tune.doctor.found_tables import find_tables
from moesort_tune.providers.work import aiter as aiter_work
from moesort_tune.sorting.revision import compute_kernels_revision
from tests.tables.examples import EXAMPLE


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
    table = find_tables()[0]
    assert (table.refused, table.revisions, table.own_revisions) == ("", revisions, own)
