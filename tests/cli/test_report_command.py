"""`report`: one page that needs nothing else."""

import builtins
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.cli.main import run
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence
from tests.cli.pictured import make_row, write_pictured_table
from tests.cli.swept import HostMachine
from tests.tables.examples import align_entry, device, entry, table

pytest.importorskip("plotly")

TABLE = Path("gfx942.yaml")
PAGE = Path("report.html")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


class Reader(HTMLParser):
    """Collects the elements of a page, the texts outside of scripts and styles, and the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._texts: list[str] = []
        self.feed(page)

    @property
    def text(self) -> str:
        """The words of the page, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text as what it is part of."""
        within = self.elements[-1][0] if self.elements else ""
        if within == "script" and data.strip():
            self.scripts.append(data)
        elif within != "style":
            self._texts.append(data)


def write_report(*options: str) -> Reader:
    """Return the page that `moesort-tune report` writes."""
    assert run(["report", str(TABLE), *options]) == 0
    return Reader(PAGE.read_text(encoding="utf-8"))


def test_page_refers_to_nothing_outside_of_it() -> None:
    """Protects a page that is read without a network: no address in any element, and a policy that forbids loading."""
    write_pictured_table(TABLE, 128)
    page = write_report()
    attributes = [attribute for _, some in page.elements for attribute in some.items()]
    assert [value for name, value in attributes if name in ("src", "href")] == ["#row-0"]
    assert any((value or "").startswith("default-src 'none';") for name, value in attributes if name == "content")
    assert not [tag for tag, _ in page.elements if tag in ("link", "img", "iframe")]


def test_page_says_what_show_says_and_draws_every_row() -> None:
    """Provenance, digest, choices, ties and notes; and for each row the medians of its samples."""
    write_pictured_table(TABLE, 8, 128)
    page = write_report()
    for words in (
        "AMD Instinct MI300X · 2026-11-22 · builtin kernels 5c1e0f",
        "AMD Instinct MI300X: 304 compute units, wave64, 64 KiB of LDS",
        "1-4 wave | 5-99 oneshot | 100+ multiphase",
        "oneshot=multiphase 65-99",
        "5 in 1-256",
        "128 experts, topk 4",
        "gfx942.samples.csv",
    ):
        assert words in page.text
    assert re.search(r"sha256 [0-9a-f]{64} ", page.text)
    drawn = [script for script in page.scripts if "Plotly.newPlot(" in script and len(script) < 100_000]
    assert len(drawn) == 2
    assert all('"y":[3.0,3.0,4.0,5.0,12.0]' in script for script in drawn)


def test_page_of_a_model_has_its_rows_alone() -> None:
    """Protects a page for somebody who serves one model from those of all others."""
    write_pictured_table(TABLE, 8, 128)
    page = write_report("--model", "gpt-oss-120b")
    assert "128 experts, topk 4" in page.text
    assert "8/4" not in page.text.replace("128/4", "")


def test_row_without_samples_is_on_the_page_in_words() -> None:
    """Protects the rest of a table whose samples are incomplete."""
    write_pictured_table(TABLE, 128)
    (only,) = store.load(TABLE).tables
    learned = make_row(64, evidence=Evidence(points=2, kind="learned"))
    store.save(TABLE, table(entry([learned, *only.rows])))
    page = write_report()
    assert "64/4: learned by a serving process" in page.text
    assert [attributes["id"] for tag, attributes in page.elements if tag == "h3"] == ["row-0"]


def test_text_of_a_table_stays_text() -> None:
    """Tables travel between machines: a device's name is no element of the page, and ends no script."""
    name = "</script><script>alert(1)</script><b>&amp;"
    write_pictured_table(TABLE, 128, device=device(name=name))
    page = write_report()
    assert f"{name}: 304 compute units" in page.text
    assert not [script for script in page.scripts if "alert(1)" in script]


VERIFIED: dict[str, Any] = {
    "arch": "gfx942",
    "device": "AMD Instinct MI300X",
    "compute_units": 304,
    "revision": "5c1e0f",
    "more": "of a later version",
    "reports": [
        {
            "setting": "as swept",
            "points": 88,
            "regret": {
                "table": {
                    "mean": 1.0,
                    "p90": 1.0,
                    "worst": 1.0,
                    "worst_at": {"num_experts": 8, "topk": 2, "tokens": 4},
                },
                "AITER's rule": {
                    "mean": 1.0914,
                    "p90": 1.37,
                    "worst": 1.604,
                    "worst_at": {"num_experts": 128, "topk": 4, "tokens": 57},
                },
            },
        }
    ],
}


def test_page_has_the_figures_of_verify() -> None:
    """In the order of verify, with the point at which a policy is worst."""
    write_pictured_table(TABLE, 128)
    Path("verify.json").write_text(json.dumps(VERIFIED))
    text = write_report("--verify", "verify.json").text
    assert "as swept (88 points)" in text
    assert "table 1.000 1.000 1.000 - AITER's rule 1.091 1.370 1.604 128/4 at 57 tokens" in text


def test_page_names_another_operation_than_moe_sorting() -> None:
    """Rows and figures of the align form are headed as such; those of moe_sorting are as they were."""
    write_pictured_table(TABLE, 128)
    store.add_entry(TABLE, "gfx942", align_entry([make_row(128)]), replace=False, finished=True)
    Path("verify.json").write_text(
        json.dumps([VERIFIED, VERIFIED | {"revision": "a11f0e", "operation": "moe_align_block_size"}])
    )
    text = write_report("--verify", "verify.json").text
    assert "align, a11f0e, graph, moe_align_block_size" in text
    assert "align kernels for moe_align_block_size, revision a11f0e" in text
    assert "What the choices cost: verified on" in text
    assert "What the choices of moe_align_block_size cost: verified on" in text


def test_page_has_the_figures_of_each_device() -> None:
    """What verify prints of several devices is a list."""
    write_pictured_table(TABLE, 128)
    Path("verify.json").write_text(json.dumps([VERIFIED, VERIFIED | {"device": "another MI300X"}]))
    text = write_report("--verify", "verify.json").text
    assert "verified on AMD Instinct MI300X" in text
    assert "verified on another MI300X" in text


def test_figures_of_another_table_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from a page that proves one table by another."""
    write_pictured_table(TABLE, 128)
    for change in ({"arch": "gfx950"}, {"revision": "other"}, {"compute_units": 80}):
        Path("verify.json").write_text(json.dumps(VERIFIED | change))
        assert run(["report", str(TABLE), "--verify", "verify.json"]) == 1
        assert "which the table has no entry for" in capsys.readouterr().err
    for content in ("3", '{"arch": "gfx942"}', "no JSON"):
        Path("verify.json").write_text(content)
        assert run(["report", str(TABLE), "--verify", "verify.json"]) == 1
        assert "verify.json is not what `moesort-tune verify --json` prints" in capsys.readouterr().err
    assert not PAGE.exists()


def test_page_of_a_sweep_and_its_verification(host: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """What sweep and verify really write is what the page is made of."""
    assert host.sweep("--experts", "8", "--topk", "2") == 0
    capsys.readouterr()
    assert run(["verify", str(host.table), "--settings", "none", "--points", "1", "--json"]) == 0
    Path("verify.json").write_text(capsys.readouterr().out)
    assert run(["report", str(host.table), "--verify", "verify.json", "-o", str(PAGE)]) == 0
    page = Reader(PAGE.read_text(encoding="utf-8"))
    assert "8 experts, topk 2" in page.text
    assert "What the choices cost: verified on moesort-tune host" in page.text


def test_page_that_cannot_be_written_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """With the name that was asked for, and the reason."""
    write_pictured_table(TABLE, 128)
    assert run(["report", str(TABLE), "-o", "none/report.html"]) == 1
    assert capsys.readouterr().err == "Error: cannot write none/report.html: No such file or directory\n"


def test_report_without_its_libraries_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are an extra, so that a GPU machine need not have them."""
    write_pictured_table(TABLE, 128)
    real = builtins.__import__

    def miss(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("plotly"):
            raise ImportError("No module named 'plotly'")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", miss)
    assert run(["report", str(TABLE)]) == 1
    assert "report needs plotly and jinja2; pip install plotly jinja2" in capsys.readouterr().err
