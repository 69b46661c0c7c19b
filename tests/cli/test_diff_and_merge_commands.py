"""`diff` and `merge`: what changed between two tables, and both in one."""

import datetime
import json
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence, Kernels, Row, Table
from tests.tables.examples import BOTH, device, entry, make_published_entry, row, sweep, table

LATER = sweep(date=datetime.date(2026, 12, 1), seed=1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change into an empty folder."""
    monkeypatch.chdir(tmp_path)


def run_diff(capsys: pytest.CaptureFixture[str], before: Table, after: Table, *arguments: str) -> str:
    """Return what `moesort-tune diff` prints."""
    store.save(Path("a.yaml"), before)
    store.save(Path("b.yaml"), after)
    assert run(["diff", "a.yaml", "b.yaml", *arguments]) == 0
    return capsys.readouterr().out


def test_diff_tells_token_ranges_and_whether_they_lie_in_ties(capsys: pytest.CaptureFixture[str]) -> None:
    """A switch that moved inside a tie is no change worth a thought; one that moved out of it is."""
    before = [row(8, 2, 900), row(64, 6, 41), row(128, 4, 25, tie=((19, 24, BOTH),)), row(256, 8, 13)]
    after = [row(64, 6, 41), row(128, 4, 20, tie=((18, 19, BOTH),)), row(256, 8, 30), row(512, 10, 9)]
    reported = run_diff(capsys, table(entry(before)), table(entry(after, sweep=LATER)))
    assert reported.splitlines() == [
        "304 compute units, builtin, 5c1e0f, graph:",
        "  8/2: removed, was 1-899 oneshot | 900-16384 multiphase",
        "  128/4: 20-24 tokens multiphase instead of oneshot (a tie: either will do)",
        "  256/8: 13-29 tokens oneshot instead of multiphase",
        "  512/10: added, 1-8 oneshot | 9-16384 multiphase",
        "  1 row chooses as before",
    ]


@pytest.mark.parametrize(
    ("after", "status"),
    [
        ([row(64, 6, 41), row(128, 4, 25, tie=((19, 24, BOTH),))], 0),
        ([row(64, 6, 41), row(128, 4, 20, tie=((18, 19, BOTH),))], 0),
        ([row(64, 6, 41), row(128, 4, 25, evidence=Evidence(points=9, tokens=(1, 64)))], 0),
        ([row(64, 6, 41), row(128, 4, 18)], 1),
        ([row(64, 6, 41)], 1),
        ([row(8, 2, 900), row(64, 6, 41), row(128, 4, 25)], 1),
    ],
)
def test_diff_exit_code_is_1_for_what_a_deployment_would_notice(after: list[Row], status: int) -> None:
    """Two sweeps of one device agree if they differ in their ties and ranges alone; --json changes nothing of it."""
    store.save(Path("a.yaml"), table(entry([row(64, 6, 41), row(128, 4, 25, tie=((19, 24, BOTH),))])))
    store.save(Path("b.yaml"), table(entry(after)))
    assert run(["diff", "a.yaml", "b.yaml", "--exit-code"]) == status
    assert run(["diff", "a.yaml", "b.yaml", "--exit-code", "--json"]) == status
    assert run(["diff", "a.yaml", "b.yaml"]) == 0


def test_diff_of_changed_kernels_compares_their_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change of the kernels the revision differs, and that is when one wants to compare."""
    new = entry([row(switch=40)], kernels=Kernels(provider="builtin", revision="77"))
    assert run_diff(capsys, table(entry()), table(new)).splitlines() == [
        "304 compute units, builtin, 77, graph (was revision 5c1e0f):",
        "  128/4: 25-39 tokens oneshot instead of multiphase",
    ]


def test_diff_of_two_products_names_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of another product, of other kernels or of no known one decides here as well."""
    new = table(entry([row(switch=40)], device=device(id="0x74a5")))
    old = entry(device=device(id="0x74a1"), kernels=Kernels(provider="builtin", revision="77"))
    heading = "304 compute units, builtin, 5c1e0f, graph, MI325X (0x74a5) (was "
    lines = run_diff(capsys, table(old), new).splitlines()
    assert lines[0] == f"{heading}revision 77 of MI300X (0x74a1)):"
    assert run_diff(capsys, table(entry()), new).splitlines() == [f"{heading}an unknown product):", lines[1]]


def test_diff_tells_entries_that_only_one_table_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Two old revisions and a new one: it is not guessed which of them became it."""
    old = [entry(kernels=Kernels(provider="builtin", revision=revision)) for revision in ("1", "2")]
    reported = run_diff(capsys, table(*old), table(old[0], make_published_entry()))
    assert reported.splitlines()[:3] == [
        "304 compute units, builtin, 1, graph:",
        "  1 row chooses as before",
        "304 compute units, builtin, 2, graph: removed",
    ]
    assert "304 compute units, aiter: added" in reported


def test_diff_ends_with_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Past the limit of oneshot both are multiphase, and past the last measured count neither row says anything."""
    before, after = row(switch=None, limits={"oneshot": 100}), row(policy=((1, "multiphase"),))
    assert "1-100 tokens multiphase instead of oneshot" in run_diff(
        capsys, table(entry([before])), table(entry([after]))
    )
    endless = row(switch=None, limits={"oneshot": (1 << 24) - 1})
    assert "25-16384 tokens oneshot instead of multiphase" in run_diff(capsys, table(), table(entry([endless])))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ((1, 64), (1, 16384), ["measured to 16384 tokens instead of 64", "25-39 tokens oneshot instead of multiphase"]),
        ((1, 64), (32, 64), ["measured from 32 tokens on instead of 1", "32-39 tokens oneshot instead of multiphase"]),
        ((1, 16), (8, 64), ["measured on 8-64 tokens instead of 1-16"]),
        ((1, 16), (32, 64), ["measured on 32-64 tokens instead of 1-16"]),
    ],
)
def test_diff_compares_what_both_tables_measured(
    capsys: pytest.CaptureFixture[str], before: tuple[int, int], after: tuple[int, int], lines: list[str]
) -> None:
    """A switch at 25 and one at 40 differ only where both were measured; another range is news by itself."""
    old, new = (
        table(entry([row(switch=switch, evidence=Evidence(tokens=tokens))]))
        for switch, tokens in ((25, before), (40, after))
    )
    assert run_diff(capsys, old, new).splitlines()[1:] == [f"  128/4: {line}" for line in lines]


def test_diff_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: ranges as numbers."""
    reported = json.loads(run_diff(capsys, table(), table(entry([row(switch=30)])), "--json"))
    assert reported[0]["rows"][0]["differences"] == [
        {"first": 25, "last": 29, "before": "multiphase", "after": "oneshot", "in_ties": False}
    ]


def run_merge(capsys: pytest.CaptureFixture[str], first: Table, second: Table, *options: str) -> tuple[Table, str]:
    """Return the merged table, and what was printed to stderr."""
    store.save(Path("a.yaml"), first)
    store.save(Path("b.yaml"), second)
    assert run(["merge", "a.yaml", "b.yaml", "-o", "c.yaml", *options]) == 0
    return store.load(Path("c.yaml")), capsys.readouterr().err


def test_merge_puts_devices_together(capsys: pytest.CaptureFixture[str]) -> None:
    """Two machines of one architecture, one file, nothing to be said."""
    small = entry(device=device(compute_units=80))
    assert run_merge(capsys, table(entry()), table(small)) == (table(entry(), small), "")


@pytest.mark.parametrize("swapped", [False, True])
def test_merge_keeps_the_row_of_the_newer_sweep_and_says_so(capsys: pytest.CaptureFixture[str], swapped: bool) -> None:
    """Whichever file comes first; every row keeps the settings that it was measured under."""
    old = table(entry([row(8, 2), row(switch=25)]))
    new = table(entry([row(switch=40), row(256, 8)], sweep=LATER))
    result, reported = run_merge(capsys, *((new, old) if swapped else (old, new)))
    both = result.tables[0]
    assert [(kept.shape, kept.policy[1][0]) for kept in both.rows] == [((8, 2), 25), ((128, 4), 40), ((256, 8), 25)]
    assert (both.sweep, [kept.sweep for kept in both.rows]) == (LATER, [sweep(), None, None])
    kept, dropped = ("a", "b") if swapped else ("b", "a")
    assert reported == (
        "128/4 of 304 compute units, builtin, 5c1e0f, graph: kept 1-39 oneshot | 40-16384 multiphase"
        f" ({kept}.yaml, 2026-12-01), not 1-24 oneshot | 25-16384 multiphase ({dropped}.yaml, 2026-11-22)\n"
    )


def test_merge_of_rows_that_choose_alike_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """ "Kept X, not X" would leave everybody to look for the difference."""
    _, reported = run_merge(capsys, table(), table(entry(sweep=LATER)))
    assert reported == (
        "128/4 of 304 compute units, builtin, 5c1e0f, graph: both choose 1-24 oneshot | 25-16384 multiphase; "
        "kept the one of (b.yaml, 2026-12-01), not of (a.yaml, 2026-11-22)\n"
    )


def test_merge_goes_by_the_date_of_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A row that was itself merged in is as old as its own sweep."""
    mixed = table(entry([row(8, 2, sweep=sweep()), row(switch=40)], sweep=LATER))
    between = table(entry([row(8, 2, 99), row(switch=50)], sweep=sweep(date=datetime.date(2026, 11, 25))))
    result, _ = run_merge(capsys, mixed, between)
    assert [kept.policy[1][0] for kept in result.tables[0].rows] == [99, 40]


def test_merge_of_the_same_day_keeps_the_second(capsys: pytest.CaptureFixture[str]) -> None:
    """The one rule left when dates do not tell."""
    result, reported = run_merge(capsys, table(), table(entry([row(switch=40)])))
    assert result == table(entry([row(switch=40)]))
    assert "kept 1-39 oneshot | 40-16384 multiphase (b.yaml, 2026-11-22)" in reported


NARROW = row(switch=64, evidence=Evidence(points=1, tokens=(64, 64)))


@pytest.mark.parametrize("swapped", [False, True])
def test_merge_keeps_the_row_that_tells_more(capsys: pytest.CaptureFixture[str], swapped: bool) -> None:
    """A later row of one token count does not replace one of many, in any order of files, except with --replace."""
    tables = (table(), table(entry([NARROW], sweep=LATER)))
    result, reported = run_merge(capsys, *(tables[::-1] if swapped else tables))
    both = result.tables[0]
    assert both.complete(both.rows[0]) == entry().complete(row())
    assert "kept 1-24 oneshot | 25-16384 multiphase" in reported
    if not swapped:
        result, _ = run_merge(capsys, *tables, "--replace")
        assert result.tables[0].rows == (NARROW,)


def test_merge_keeps_what_was_swept_before_what_was_learned(capsys: pytest.CaptureFixture[str]) -> None:
    """A few samples of a serving process give way to a sweep, be they newer; their routing is no setting."""
    learned = row(switch=9, evidence=Evidence(points=2, tokens=(1, 20000), kind="learned"))
    serving = entry([learned], sweep=sweep(date=LATER.date, routing="served"))
    for tables in ((table(), table(serving)), (table(serving), table())):
        both = run_merge(capsys, *tables)[0].tables[0]
        assert both.complete(both.rows[0]) == entry().complete(row())


@pytest.mark.parametrize(
    ("setting", "reported"),
    [({"cold": True}, ("cold=False", "cold=True")), ({"unit_size": 64}, ("unit_size=32", "unit_size=64"))],
)
def test_merge_refuses_rows_of_different_settings(
    capsys: pytest.CaptureFixture[str], setting: dict[str, int], reported: tuple[str, str]
) -> None:
    """Neither is worth more than the other, so nobody but the user can say which one a deployment needs."""
    store.save(Path("a.yaml"), table())
    store.save(Path("b.yaml"), table(entry([row(switch=40)], sweep=sweep(**setting))))
    assert run(["merge", "a.yaml", "b.yaml", "-o", "c.yaml"]) == 1
    error = capsys.readouterr().err
    assert (
        f"was measured with {reported[0]} in the first table and with {reported[1]} in the second; use --replace"
        in error
    )
    assert not Path("c.yaml").exists()
    assert run(["merge", "a.yaml", "b.yaml", "-o", "c.yaml", "--replace"]) == 0
    assert store.load(Path("c.yaml")) == store.load(Path("b.yaml"))


def test_merge_keeps_every_device_and_software_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    """MI300X and MI325X have as many compute units: each row says which it was measured on, and with what."""
    mi325x = device(name="AMD Instinct MI325X")
    second = entry([row(8, 2)], device=mi325x, software={"hip": "7.3"}, sweep=LATER)
    result, reported = run_merge(capsys, table(), table(second))
    (both,) = result.tables
    assert [both.complete(kept).device for kept in both.rows] == [mi325x, device()]
    assert [both.complete(kept).software for kept in both.rows] == [{"hip": "7.3"}, entry().software]
    assert reported.splitlines() == [
        "warning: 304 compute units, builtin, 5c1e0f, graph: rows of a.yaml were measured with device AMD Instinct"
        " MI300X, rows of b.yaml with AMD Instinct MI325X; each keeps its own",
        "warning: 304 compute units, builtin, 5c1e0f, graph: rows of a.yaml were measured with software hip 7.2.53211,"
        " moesort_tune 0.1.0, rows of b.yaml with hip 7.3; each keeps its own",
    ]
    again, _ = run_merge(capsys, result, table(entry([row(16, 2)])))
    assert {both.complete(kept).device.name for both in again.tables for kept in both.rows} == {  # type: ignore[union-attr]
        "AMD Instinct MI300X",
        "AMD Instinct MI325X",
    }


def test_merge_refuses_two_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    """One file is one architecture; nothing is written."""
    store.save(Path("a.yaml"), table())
    store.save(Path("b.yaml"), table(arch="gfx950"))
    assert run(["merge", "a.yaml", "b.yaml", "-o", "c.yaml"]) == 1
    assert "a table of gfx942 and one of gfx950 cannot be put together" in capsys.readouterr().err
    assert not Path("c.yaml").exists()
