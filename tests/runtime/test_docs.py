"""docs/tables.md and docs/runtime.md say what is true: their table is one, their example runs, no reason is missing."""

import re
from pathlib import Path

import pytest

from moesort_tune.runtime import Reason
from moesort_tune.tables.schema import Evidence, Row
from moesort_tune.tables.store import load

DOCS = Path(__file__).parents[2] / "docs"


def read_snippet(page: str, language: str) -> str:
    """Return the first block of this language on the page."""
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_example_of_the_runtime_runs_on_the_table_of_the_other_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both can be copied as they stand."""
    monkeypatch.chdir(tmp_path)
    Path("tables").mkdir()
    Path("tables/gfx942.yaml").write_text(read_snippet("tables.md", "yaml"))
    exec(read_snippet("runtime.md", "python"), {})
    reported = capsys.readouterr().out.splitlines()
    assert reported[0].startswith("multiphase (policy 2) for 32 tokens, 128 experts, topk 4: exact row (row 128/4)")
    assert reported[1] == "{'exact row': 1}"


def test_refusal_on_the_page_is_the_one_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence that a person will search for."""
    monkeypatch.chdir(tmp_path)
    Path("tables").mkdir()
    lines = read_snippet("tables.md", "yaml").splitlines()
    rows = [lines[-1].replace("topk: 4", f"topk: {topk}") for topk in (1, 2, 3, "eight")]
    Path("tables/gfx942.yaml").write_text("\n".join([*lines[:-1], *rows]))
    with pytest.raises(Exception, match="eight") as refused:
        load(Path("tables/gfx942.yaml"))
    assert str(refused.value) == read_snippet("tables.md", "text").strip()


def test_every_reason_and_field_is_explained() -> None:
    """A new one needs its line."""
    runtime, tables = (DOCS / "runtime.md").read_text(), (DOCS / "tables.md").read_text()
    for reason in Reason:
        assert f"| {reason} | " in runtime
    for field in (*Row.__struct_fields__, *(f"evidence.{name}" for name in Evidence.__struct_fields__)):
        assert f"`{field}`" in tables or field == "evidence"
