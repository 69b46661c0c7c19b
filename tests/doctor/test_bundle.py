"""The bundle for the project: what it holds, and what of a person and a machine it leaves out."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from moesort_tune.doctor.bundle import (
    BundleError,
    Contents,
    HomeHider,
    check_target,
    collect_files,
    find_homes,
    hide_hosts,
    write_bundle,
)
from moesort_tune.doctor.diagnosis import TableState

SAMPLES = "tokens,host,software\n1,alices-node,hip=7.2\n2,alices-node,hip=7.2\n3,other,hip=7.2\n4,,hip=7.2\n"


def make_table(folder: Path, samples: str | None = SAMPLES, origin: str = "./tables") -> TableState:
    """Write a table and its samples; return its state."""
    folder.mkdir(exist_ok=True)
    (folder / "gfx942.yaml").write_text("schema: 2\n")
    if samples is not None:
        (folder / "gfx942.samples.csv").write_text(samples)
    return TableState(str(folder / "gfx942.yaml"), origin)


def collect(
    *tables: TableState,
    report: dict[str, object] | None = None,
    home: str = "/home/alice",
    samples: Iterable[Path] = (),
) -> Contents:
    """Collect a report and tables on a machine with this home."""
    return collect_files(report or {}, tables, samples, [Path(home)])


def test_bundle_holds_report_tables_and_samples_but_nothing_that_ships(tmp_path: Path) -> None:
    """Protects the page of the first AMD owner: one file has all that is asked for, and nothing known already."""
    own, shipped = make_table(tmp_path / "own"), make_table(tmp_path / "shipped", origin="shipped")
    files = collect(own, shipped, report={"launch_gap": 1}).files
    assert list(files) == ["doctor.json", "gfx942.yaml", "gfx942.samples.csv"]
    assert json.loads(files["doctor.json"]) == {"launch_gap": 1}
    assert files["gfx942.yaml"] == b"schema: 2\n"


def test_tables_of_one_name_are_both_kept(tmp_path: Path) -> None:
    """A table named by MOESORT_TUNE_TABLE may be called like one in ./tables."""
    tables = [make_table(tmp_path / "a", None), make_table(tmp_path / "b", None, "MOESORT_TUNE_TABLE")]
    assert list(collect(*tables).files) == ["doctor.json", "gfx942.yaml", "2-gfx942.yaml"]


def test_home_and_hosts_are_left_out(tmp_path: Path) -> None:
    """Protects who sends a bundle: no user's and no machine's name; samples of one machine stay alike."""
    table = make_table(tmp_path / "own")
    files = collect(table, report={"cache": "/home/alice/.cache", "alone": "/home"}).files
    assert json.loads(files["doctor.json"]) == {"cache": "~/.cache", "alone": "/home"}
    assert not any(b"alice" in data for data in files.values())
    rows = list(csv.DictReader(io.StringIO(files["gfx942.samples.csv"].decode())))
    assert [row["host"] for row in rows] == ["host-1", "host-1", "host-2", ""]
    assert [row["tokens"] for row in rows] == ["1", "2", "3", "4"]


def test_home_that_is_the_root_hides_nothing() -> None:
    """A container's user may have / as home; replacing every slash would leave no path to read."""
    assert HomeHider([Path("/")]).hide_in("/opt/rocm/lib") == "/opt/rocm/lib"


@pytest.mark.parametrize("name", ["jörg", 'o\'hara "q"', "back\\slash"])
def test_home_of_any_name_is_left_out_of_report_and_tables(tmp_path: Path, name: str) -> None:
    """Protects users whose names JSON writes with escapes: the home is replaced before the report becomes JSON."""
    table = make_table(tmp_path / "own")
    home = f"/home/{name}"
    quoted = [home, json.dumps(home)]
    (tmp_path / "own" / "gfx942.yaml").write_text("\n".join(quoted))
    files = collect(table, report={"tables": [{"path": f"{home}/t.yaml"}], home: (home, 1)}, home=home).files
    assert json.loads(files["doctor.json"]) == {"tables": [{"path": "~/t.yaml"}], "~": ["~", 1]}
    assert files["gfx942.yaml"].decode() == '~\n"~"'


def test_home_behind_a_link_is_left_out_in_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects users of clusters, whose homes are links: the cache folder and HOME name it differently."""
    real, link = tmp_path / "volume" / "alice", tmp_path / "home"
    real.mkdir(parents=True)
    link.symlink_to(real)
    monkeypatch.setenv("HOME", str(link))
    hide = HomeHider(find_homes())
    assert hide.hide_in([f"{link}/.cache", f"{real.resolve()}/.cache"]) == ["~/.cache", "~/.cache"]


def test_user_without_a_home_has_nothing_to_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects containers that run as a number without an entry in passwd."""

    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    assert HomeHider(find_homes()).hide_in("/opt/rocm") == "/opt/rocm"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("/home/al", "~"),
        ("-I/home/al/include -L/home/al", "-I~/include -L~"),
        ("cannot write /home/al: denied", "cannot write ~: denied"),
        ("it is in /home/al.", "it is in ~."),
        ("/opt/rocm:/home/al/rocm", "/opt/rocm:~/rocm"),
        ("file:///home/al/x", "file://~/x"),
        ("/home/alice/x", "/home/alice/x"),
        ("/home/al.old/x", "/home/al.old/x"),
        ("/home/al-2", "/home/al-2"),
        ("/mnt/home/al/x", "/mnt/home/al/x"),
    ],
)
def test_home_is_replaced_as_whole_components_of_a_path(text: str, hidden: str) -> None:
    """Protects the paths of other users and folders, whose names begin or end like the home's, from being garbled."""
    assert HomeHider([Path("/home/al")]).hide_in(text) == hidden


def test_samples_without_hosts_stay_as_they_are() -> None:
    """Files of older versions have no such column."""
    assert hide_hosts(b"tokens,median_us\n1,2.0\n") == b"tokens,median_us\n1,2.0\n"


def test_bundle_is_written_whole_and_failures_name_the_file(tmp_path: Path) -> None:
    """A bundle that cannot be read or written is an error with its place."""
    path = tmp_path / "bundle.zip"
    write_bundle(path, {"doctor.json": b"{}", "a.yaml": b"x"})
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"doctor.json": b"{}", "a.yaml": b"x"}
    with pytest.raises(BundleError, match=r"cannot write .*nowhere"):
        write_bundle(tmp_path / "nowhere" / "bundle.zip", {})


def test_table_that_cannot_be_read_is_left_out_and_noted(tmp_path: Path) -> None:
    """Protects the bundle of a machine where something is wrong: the rest is packed, and it says what is missing."""
    good, home = make_table(tmp_path / "good"), str(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    names = ("folder.yaml", "loop.yaml", "fifo.yaml", "gone.yaml")
    bad = [TableState(str(tmp_path / name), "MOESORT_TUNE_TABLE", refused="why") for name in names]
    contents = collect(*bad, good, home=home)
    assert list(contents.files) == ["doctor.json", "gfx942.yaml", "gfx942.samples.csv"]
    noted = json.loads(contents.files["doctor.json"])["left_out"]
    assert noted == contents.left_out
    assert [reason.count(f"~/{name}") >= 1 for name, reason in zip(names, noted, strict=True)] == [True] * 4
    assert home not in contents.files["doctor.json"].decode()


def test_samples_that_cannot_be_read_are_left_out_and_noted(tmp_path: Path) -> None:
    """Protects from a FIFO that nobody writes, which would be waited for without end."""
    table = make_table(tmp_path / "own", samples=None)
    os.mkfifo(tmp_path / "own" / "gfx942.samples.csv")
    contents = collect(table)
    assert list(contents.files) == ["doctor.json", "gfx942.yaml"]
    assert "it is not a regular file" in contents.left_out[0]


def test_samples_without_a_table_are_packed_once(tmp_path: Path) -> None:
    """Protects what an interrupted sweep leaves: only samples, which nothing but a table would point to."""
    table = make_table(tmp_path)
    (tmp_path / "host.samples.csv").write_text(SAMPLES)
    contents = collect(table, samples=sorted(tmp_path.glob("*.samples.csv")))
    assert list(contents.files) == ["doctor.json", "gfx942.yaml", "gfx942.samples.csv", "host.samples.csv"]
    assert b"alices-node" not in contents.files["host.samples.csv"]


def test_hosts_are_left_out_beside_a_field_of_any_length() -> None:
    """Protects torn samples: csv refuses fields of more than 131072 characters unless it is asked for them."""
    limit = csv.field_size_limit()
    hidden = hide_hosts(f"host,software\nalices-node,{'x' * 200_000}\n".encode())
    assert hidden == f"host,software\nhost-1,{'x' * 200_000}\n".encode()
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["host.yaml", "host.YML", "host.samples.csv", "notes.txt", "table", "folder", "fifo"])
def test_file_that_is_no_bundle_is_not_replaced(tmp_path: Path, name: str) -> None:
    """Protects a table from a bundle that is written over it by a slip."""
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    write_bundle(tmp_path / "table", {})
    with pytest.raises(BundleError, match=name):
        check_target(tmp_path / name, [tmp_path / "table"])


def test_target_is_known_to_be_writable_before_anything_is_measured(tmp_path: Path) -> None:
    """Protects the minutes of a probe from a folder that is not there, and leaves no trace where all is well."""
    with pytest.raises(BundleError, match=r"cannot write .*nowhere"):
        check_target(tmp_path / "nowhere" / "bundle.zip", [])
    path = tmp_path / "bundle.zip"
    assert check_target(path, []) is False
    assert list(tmp_path.iterdir()) == []
    write_bundle(path, {})
    assert check_target(path, []) is True
