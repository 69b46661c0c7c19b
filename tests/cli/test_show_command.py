"""`show`: a table for a person, one decision, JSON, a picture."""

import builtins
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from moesort_tune import shipped
from moesort_tune.cli import default_table
from moesort_tune.cli.main import run
from moesort_tune.cli.plot import build_panels
from moesort_tune.domain.settings import Settings
from moesort_tune.sorting.geometry import compute_oneshot_max_tokens
from moesort_tune.sweep.samples import Sample, append_samples, get_samples_path
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence, Kernels
from tests.tables.examples import EXAMPLE, device, entry, make_published_entry, row, sweep, table


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty current folder, and no shipped tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(default_table, "get_tables_folder", lambda: Path("shipped"))
    assert shipped.get_tables_folder().name == "tables"
    return tmp_path


def run_show(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what `moesort-tune show` prints."""
    assert run(["show", *arguments]) == 0
    return capsys.readouterr().out


def fail_show(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> str:
    """Return the error of `moesort-tune show`."""
    assert run(["show", *arguments]) == status
    return capsys.readouterr().err


def test_show_tells_where_and_how_each_entry_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Device, kernels, settings and software, then a line a row."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    lines = [line.rstrip() for line in run_show(capsys, "gfx942.yaml").splitlines()]
    assert lines[:6] == [
        f"gfx942.yaml: gfx942, 1 entry, sha256 {hashlib.sha256(EXAMPLE.encode()).hexdigest()}",
        "",
        "AMD Instinct MI300X: 304 compute units, wave64, 64 KiB of LDS",
        "builtin kernels, revision 5c1e0f",
        "measured 2026-11-22 as replayed graphs, unit_size 32, model_dim 4096 bfloat16, uniform routing,"
        " with moe_buf, seed 0",
        "with hip 7.2.53211, driver 6.16.6, compiler hiprtc 7.2, moesort_tune 0.1.0",
    ]
    reported = next(line for line in lines if line.strip().startswith("128"))
    words = "128 4 oneshot to 24, multiphase up to 16384 19-24 64 1024 wave to 16, oneshot to 1024 31% 14 0.6%"
    assert " ".join(reported.split()) == words


def test_show_tells_the_launch_gap(capsys: pytest.CaptureFixture[str]) -> None:
    """An owner of such a GPU compares it with the probe of their own."""
    gap = "  launch_gap_us: {graph: 0.925, replay: 2, eager: 4.1}\n  kernels:"
    Path("gfx942.yaml").write_text(EXAMPLE.replace("  kernels:", gap))
    words = (
        "each further launch costs 0.93 us in one long graph, 2.00 us in a graph, replayed, 4.10 us launched one by one"
    )
    assert words in run_show(capsys, "gfx942.yaml").splitlines()


@pytest.mark.parametrize(
    ("name", "device_id", "text"),
    [
        ("AMD Instinct MI300X VF", "0x74b5", "AMD Instinct MI300X VF, MI300X (0x74b5, virtual function): 304"),
        ("AMD Radeon Graphics", "0x1234", "AMD Radeon Graphics, 0x1234: 304"),
        ("NVIDIA H200", "NVIDIA H200", "NVIDIA H200: 304"),
        ("AMD Instinct MI300X", None, "AMD Instinct MI300X: 304"),
    ],
)
def test_show_tells_the_product_behind_a_name(
    capsys: pytest.CaptureFixture[str], name: str, device_id: str | None, text: str
) -> None:
    """A driver's name may say little; of an NVIDIA GPU it is the id, and said once."""
    store.save(Path("gfx942.yaml"), table(entry(device=device(name=name, id=device_id))))
    assert f"{text} compute units" in run_show(capsys, "gfx942.yaml")


def test_show_tells_up_to_where_kernels_are_really_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a row or its device's LDS say, the columns hold what a dispatcher keeps to."""
    ours = [
        row(64, 4, None, limits={"wave": 1 << 20, "oneshot": 1 << 20}),
        row(1024, 4, None, limits={"wave": 5, "oneshot": 7}),
    ]
    aiters = [row(64, 4, None, limits={"oneshot": 1 << 20}), row(1024, 4, None, limits={"oneshot": 7})]
    of_aiter = entry(aiters, kernels=Kernels(provider="aiter", revision="1"))
    store.save(Path("gfx942.yaml"), table(entry(ours, device=device(lds_bytes=1 << 24)), of_aiter))
    shown = run_show(capsys, "gfx942.yaml").splitlines()
    lines = [re.split(r"  +", line.strip()) for line in shown if "oneshot up to 16384" in line]
    assert [line[4:6] for line in lines[:2]] == [["64", str(compute_oneshot_max_tokens(64, 4, 65536))], ["5", "7"]]
    assert [line[4] for line in lines[2:]] == [str(1 << 20), "0"]


def test_show_tells_what_is_special_about_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Learned by a serving process, published by others, of another sweep, always one kernel."""
    learned = row(8, 2, None, evidence=Evidence(points=2, kind="learned"))
    other = row(512, 10, policy=((1, "multiphase"),), sweep=sweep(seed=7, cold=True), software={"hip": "6.4"})
    source = row(evidence=Evidence(source="AITER pull request 3521"), limits={})
    store.save(Path("gfx942.yaml"), table(entry([learned, other]), make_published_entry([source])))
    reported = run_show(capsys, "gfx942.yaml")
    for words in (
        "oneshot up to 16384 (limit 1024)",
        "learned by a serving process",
        "multiphase up to 16384",
        "with moe_buf, cold cache, seed 7",
        "with hip 6.4",
        "aiter kernels, figures published by others: used only where this file is named",
        "source: AITER pull request 3521",
    ):
        assert words in reported


def test_show_and_lookup_tell_that_rows_are_modelled(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's rows must never pass for measured ones."""
    doubtful = row(evidence=Evidence(tokens=(1, 64), source="a model, 0.4 us rms off"), limits={})
    store.save(Path("gfx942.yaml"), table(entry([doubtful], evidence="modelled", sweep=sweep(moe_buf=False))))
    reported = run_show(capsys, "gfx942.yaml")
    for words in (
        "revision 5c1e0f, computed by a model: used only where this file is named",
        "modelled 2026-11-22 as replayed graphs",
        "128/4: computed by a model, not measured",
        "128/4: source: a model, 0.4 us rms off",
    ):
        assert words in reported
    assert "measured 2026" not in reported
    decision = run_show(capsys, "gfx942.yaml", "--lookup", "32,128,4")
    assert "modelled without moe_buf" in decision
    assert "measured" not in decision


def test_lookup_prints_the_decision_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """The same sentence that a serving process would log."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    assert run_show(capsys, "gfx942.yaml", "--lookup", "32,128,4") == (
        "multiphase (policy 2) for 32 tokens, 128 experts, topk 4: exact row (row 128/4);"
        " table gfx942.yaml, entry of 304 compute units, builtin, 5c1e0f, graph\n"
    )
    reported = json.loads(run_show(capsys, "gfx942.yaml", "--lookup", "20,100,8", "--json"))
    assert (reported["policy"], reported["kernel"], reported["reason"]) == (1, "oneshot", "nearest topk")
    key = {"compute_units": 304, "provider": "builtin", "revision": "5c1e0f", "timing": "graph", "product": None}
    assert reported["entry"].items() >= key.items()


def test_lookup_asks_the_entry_that_the_options_name(capsys: pytest.CaptureFixture[str]) -> None:
    """By compute units; a table of other kernels alone is asked about those."""
    store.save(Path("gfx942.yaml"), table(entry(), entry([row(switch=99)], device=device(compute_units=80))))
    assert run_show(capsys, "gfx942.yaml", "--lookup", "50,128,4", "--compute-units", "80").startswith("oneshot")
    assert run_show(capsys, "gfx942.yaml", "--lookup", "50,128,4", "--compute-units", "304").startswith("multiphase")
    store.save(Path("gfx950.yaml"), table(make_published_entry(), arch="gfx950"))
    assert "exact row" in run_show(capsys, "gfx950.yaml", "--lookup", "50,128,4")


def test_lookup_asks_for_the_condition_and_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    """Calls without a moe_buf, with a mask, and on another product each have an entry of their own."""
    entries = [
        entry([row(switch=10)], device=device(id="0x74a1")),
        entry([row(switch=20)], device=device(id="0x74a1"), sweep=sweep(moe_buf=False)),
        entry([row(switch=30)], device=device(id="0x74a1"), sweep=sweep(masked=True)),
        entry([row(switch=40)], device=device(id="0x74a5")),
    ]
    store.save(Path("gfx942.yaml"), table(*entries))
    for options, switch in (
        (["--device-id", "0x74a1"], 10),
        (["--device-id", "0x74a1", "--no-moe-buf"], 20),
        (["--masked"], 30),
        (["--device-id", "0x74a5"], 40),
        (["--device-id", "0x74a5", "--no-moe-buf"], 20),
    ):
        chosen = [
            run_show(capsys, "gfx942.yaml", "--lookup", f"{tokens},128,4", *options) for tokens in (switch - 1, switch)
        ]
        assert [text.split()[0] for text in chosen] == ["oneshot", "multiphase"], options
    assert "128 experts, topk 4, without moe_buf: exact row" in chosen[0]
    reported = json.loads(run_show(capsys, "gfx942.yaml", "--lookup", "20,129,4", "--masked", "--json"))
    assert (reported["moe_buf"], reported["masked"], reported["reason"]) == (True, True, "exact row")


def test_show_tells_the_condition_of_each_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from reading the figures of one condition as those of another."""
    entries = (entry(sweep=sweep(moe_buf=False)), entry(sweep=sweep(timing="eager", ep=4)))
    store.save(Path("gfx942.yaml"), table(*entries))
    shown = run_show(capsys, "gfx942.yaml")
    assert "uniform routing, without moe_buf, seed 0" in shown
    assert "uniform routing, with moe_buf, masked, experts over 4 ranks, seed 0" in shown


def test_lookup_refuses_what_is_no_call(capsys: pytest.CaptureFixture[str]) -> None:
    """Bad values are bad usage."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    for text in ("32", "32,128", "a,b,c", "-1,128,4", "1,0,4", "1,128,0"):
        assert f"got '{text}'" in fail_show(capsys, "gfx942.yaml", f"--lookup={text}", status=2)


def test_json_holds_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: the same fields as in the file."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    reported = json.loads(run_show(capsys, "gfx942.yaml", "--json"))
    assert (reported["path"], len(reported["sha256"])) == ("gfx942.yaml", 64)
    assert reported["tables"][0]["rows"][0]["policy"] == [[1, "oneshot"], [25, "multiphase"]]


def test_file_whose_name_is_no_text_is_shown_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """In words, as a decision and as JSON; nothing of the name acts on the terminal."""
    name = os.fsdecode(b"\xff\x1b[31m.yaml")
    Path(name).write_text(EXAMPLE)
    assert run_show(capsys, name).startswith(r"\udcff\x1b[31m.yaml: gfx942")
    assert r"table \udcff\x1b[31m.yaml" in run_show(capsys, name, "--lookup", "5,128,4")
    assert json.loads(run_show(capsys, name, "--json"))["path"] == "\\udcff\x1b[31m.yaml"
    assert json.loads(run_show(capsys, name, "--lookup", "5,128,4", "--json"))["policy"] == 1


def test_table_that_goes_without_saying(capsys: pytest.CaptureFixture[str]) -> None:
    """The only one in ./tables, else the only one shipped; several are listed, none is an error."""
    assert "there is no table in ./tables" in fail_show(capsys, status=1)
    Path("shipped/gfx950.yaml").write_text(EXAMPLE)
    assert run_show(capsys).startswith("shipped/gfx950.yaml")
    Path("tables").mkdir()
    Path("tables/gfx942.yaml").write_text(EXAMPLE)
    assert run_show(capsys).startswith("tables/gfx942.yaml")
    Path("tables/host.yaml").write_text(EXAMPLE)
    assert "name one of them: tables/gfx942.yaml, tables/host.yaml" in fail_show(capsys, status=2)


def test_missing_table_is_reported_with_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, status 1."""
    assert fail_show(capsys, "none.yaml", status=1) == (
        "Error: none.yaml does not exist; `moesort-tune sweep --out none.yaml` makes it\n"
    )


def make_sample(tokens: int, kernel: str, median_us: float, **changes: Any) -> Sample:
    """Return a sample of the example's row."""
    values: dict[str, Any] = {
        "date": "2026-11-22",
        "arch": "gfx942",
        "compute_units": 304,
        "provider": "builtin",
        "revision": "5c1e0f",
        "timing": "graph",
        "num_experts": 128,
        "topk": 4,
        "tokens": tokens,
        "kernel": kernel,
        "median_us": median_us,
        "low_us": median_us - 0.1,
        "high_us": median_us + 0.1,
        "samples": 8,
        "note": "",
        "settings": Settings().format_signature() + ";margin=0.02",
        "verdict": kernel,
        "noise": 0.006,
    }
    return Sample(**(values | changes))


def test_plot_draws_the_samples_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A picture is written, from the samples of just these kernels and settings, the latest of each point."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    append_samples(
        get_samples_path(Path("gfx942.yaml")),
        [
            make_sample(1, "oneshot", 9.0),
            make_sample(1, "oneshot", 3.0),
            make_sample(32, "oneshot", 9.0),
            make_sample(1, "multiphase", 5.0),
            make_sample(8, "oneshot", 1.0, revision="old"),
            make_sample(8, "oneshot", 1.0, settings=Settings(unit_size=64).format_signature()),
        ],
    )
    panel = build_panels(Path("gfx942.yaml"), store.load(Path("gfx942.yaml")))[0]
    assert panel.times_us == {"oneshot": [(1, 3.0, 2.9, 3.1), (32, 9.0, 8.9, 9.1)], "multiphase": [(1, 5.0, 4.9, 5.1)]}
    pytest.importorskip("matplotlib")
    run_show(capsys, "gfx942.yaml", "--plot", "picture.png")
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")
    assert "cannot draw into none/picture.png" in fail_show(
        capsys, "gfx942.yaml", "--plot", "none/picture.png", status=1
    )


def test_plot_without_samples_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """A deployment need not carry the samples; --plot then fails with the reason."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    assert "gfx942.samples.csv does not exist" in fail_show(capsys, "gfx942.yaml", "--plot", "p.png", status=1)
    append_samples(get_samples_path(Path("gfx942.yaml")), [make_sample(8, "oneshot", 1.0, revision="old")])
    assert "holds no samples of the rows" in fail_show(capsys, "gfx942.yaml", "--plot", "p.png", status=1)


def test_plot_without_matplotlib_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra, so that a GPU machine need not have it."""
    Path("gfx942.yaml").write_text(EXAMPLE)
    append_samples(get_samples_path(Path("gfx942.yaml")), [make_sample(1, "oneshot", 3.0)])
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    reported = fail_show(capsys, "gfx942.yaml", "--plot", "p.png", status=1)
    assert reported == "Error: --plot needs matplotlib; pip install matplotlib\n"
