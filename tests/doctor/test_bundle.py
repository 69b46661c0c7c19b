"""The bundle for the project: what it holds, and what of a person and a machine it leaves out."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest

from moesort_tune.doctor.bundle import BundleError, collect_files, hide_home, hide_hosts, write_bundle
from moesort_tune.doctor.diagnosis import TableState

SAMPLES = "tokens,host,software\n1,alices-node,hip=7.2\n2,alices-node,hip=7.2\n3,other,hip=7.2\n4,,hip=7.2\n"


def make_table(folder: Path, samples: str | None = SAMPLES, origin: str = "./tables") -> TableState:
    """Write a table and its samples; return its state."""
    folder.mkdir(exist_ok=True)
    (folder / "gfx942.yaml").write_text("schema: 2\n")
    if samples is not None:
        (folder / "gfx942.samples.csv").write_text(samples)
    return TableState(str(folder / "gfx942.yaml"), origin)


def test_bundle_holds_report_tables_and_samples_but_nothing_that_ships(tmp_path: Path) -> None:
    """Protects the page of the first AMD owner: one file has all that is asked for, and nothing known already."""
    own, shipped = make_table(tmp_path / "own"), make_table(tmp_path / "shipped", origin="shipped")
    files = collect_files({"launch_gap": 1}, [own, shipped], Path("/home/alice"))
    assert list(files) == ["doctor.json", "gfx942.yaml", "gfx942.samples.csv"]
    assert json.loads(files["doctor.json"]) == {"launch_gap": 1}
    assert files["gfx942.yaml"] == b"schema: 2\n"


def test_tables_of_one_name_are_both_kept(tmp_path: Path) -> None:
    """A table named by MOESORT_TUNE_TABLE may be called like one in ./tables."""
    tables = [make_table(tmp_path / "a", None), make_table(tmp_path / "b", None, "MOESORT_TUNE_TABLE")]
    assert list(collect_files({}, tables, tmp_path)) == ["doctor.json", "gfx942.yaml", "2-gfx942.yaml"]


def test_home_and_hosts_are_left_out(tmp_path: Path) -> None:
    """Protects who sends a bundle: no user's and no machine's name; samples of one machine stay alike."""
    table = make_table(tmp_path / "own")
    files = collect_files({"cache": "/home/alice/.cache", "alone": "/home"}, [table], Path("/home/alice"))
    assert json.loads(files["doctor.json"]) == {"cache": "~/.cache", "alone": "/home"}
    assert not any(b"alice" in data for data in files.values())
    rows = list(csv.DictReader(io.StringIO(files["gfx942.samples.csv"].decode())))
    assert [row["host"] for row in rows] == ["host-1", "host-1", "host-2", ""]
    assert [row["tokens"] for row in rows] == ["1", "2", "3", "4"]


def test_home_that_is_the_root_hides_nothing() -> None:
    """A container's user may have / as home; replacing every slash would leave no path to read."""
    assert hide_home(b"/opt/rocm/lib", Path("/")) == b"/opt/rocm/lib"


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
    with pytest.raises(BundleError, match=r"cannot read .*gone\.yaml"):
        collect_files({}, [TableState(str(tmp_path / "gone.yaml"), "./tables")], tmp_path)
