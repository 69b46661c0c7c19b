"""Tables on disk: whole or not at all, and nothing lost when several write."""

import datetime
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.reader import MAX_BYTES, parse
from moesort_tune.tables.schema import Entry, Evidence, Kernels
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.writer import to_yaml
from tests.tables.examples import BOTH, EXAMPLE, device, entry, make_published_entry, row, sweep, table


def test_saved_table_reads_back_the_same(tmp_path: Path) -> None:
    """Every field survives: several entries, published ones, learned rows, rows of another sweep."""
    rows = (
        row(8, 2, None),
        row(sweep=sweep(date=datetime.date(2026, 1, 2), unit_size=64), software={"hip": "6.4"}, tie=((19, 24, BOTH),)),
        row(
            256,
            8,
            evidence=Evidence(kind="learned", points=2, since=datetime.date(2026, 1, 3)),
            device=device(name="b"),
        ),
    )
    saved = table(entry(rows), make_published_entry(), entry(sweep=sweep(timing="eager", cold=True)))
    store.save(tmp_path / "gfx942.yaml", saved)
    assert store.load(tmp_path / "gfx942.yaml") == saved


def test_saved_table_reads_like_the_one_in_the_documentation(tmp_path: Path) -> None:
    """People read and edit tables: a line for each part of an entry and for each row."""
    path = tmp_path / "gfx942.yaml"
    store.save(path, to_table(parse(EXAMPLE.encode())))
    assert path.read_text() == EXAMPLE.replace("                      # one per device variant", "")


@settings(deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=60),
    noise=st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    version=st.one_of(st.from_regex(r"[0-9a-f.]{1,12}", fullmatch=True), st.sampled_from(["no", "null", "~", ".inf"])),
)
def test_any_text_and_number_reads_back_the_same(name: str, noise: float, version: str) -> None:
    """Names come from drivers and versions look like numbers: both readers of YAML give back what was written."""
    evidence = Evidence(points=1, noise=noise)
    written = table(entry([row(evidence=evidence)], device=device(name=name), software={"hip": version}))
    text = to_yaml(written)
    assert to_table(parse(text.encode())) == written
    other = yaml.safe_load(text)["tables"][0]
    assert (other["device"]["name"], other["software"]["hip"]) == (name, version)
    assert other["rows"][0]["evidence"].get("noise") == noise


def test_load_names_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    """Missing, a folder, or broken: the sentence begins with the file and ends with what to do."""
    with pytest.raises(
        TableError, match=r"none\.yaml does not exist; `moesort-tune sweep --out .*none\.yaml` makes it"
    ):
        store.load(tmp_path / "none.yaml")
    with pytest.raises(TableError, match="is not a file; name a table"):
        store.load(tmp_path)
    (tmp_path / "broken.yaml").write_text(EXAMPLE.replace("topk: 4", "topk: eight"))
    with pytest.raises(TableError) as refused:
        store.load(tmp_path / "broken.yaml")
    assert str(refused.value) == f"{tmp_path}/broken.yaml: tables[0].rows[0].topk: expected int >= 1, got 'eight'"


def test_load_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """Something that is not a file is refused without waiting for its other end."""
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(TableError, match="is not a file"):
        store.load(tmp_path / "pipe.yaml")


def test_load_reads_no_more_than_a_table_may_have(tmp_path: Path) -> None:
    """A file of any size costs the memory of the largest table."""
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TableError, match=f"larger than the {MAX_BYTES} bytes"):
        store.load(tmp_path / "huge.yaml")


def test_table_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    """What could not be read again never replaces what can."""
    path = tmp_path / "gfx942.yaml"
    store.save(path, table())
    with pytest.raises(TableError, match="a second row for 128 experts"):
        store.save(path, table(entry([row(), row()])))
    with pytest.raises(TableError, match=r"not written to .*: (more than the .* values|larger than)"):
        store.save(path, table(entry([row(n, k) for n in range(64, 164) for k in range(1, 60)])))
    assert store.load(path) == table()


def test_failed_write_leaves_the_old_table_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a write costs nothing that was there."""
    path = tmp_path / "gfx942.yaml"
    store.save(path, table())

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TableError, match=r"cannot write .*gfx942.yaml: No space left on device"):
        store.save(path, table(make_published_entry()))
    assert store.load(path) == table()
    assert [found.name for found in tmp_path.iterdir()] == ["gfx942.yaml"]


def test_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """The reason of the operating system and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match=r"cannot write .*: .*; name a file in a folder that can be written"):
        store.add_entry(tmp_path / "file" / "gfx942.yaml", "gfx942", entry())


def test_saving_makes_the_folders_above(tmp_path: Path) -> None:
    """`--out results/today/gfx942.yaml` needs no mkdir."""
    path = tmp_path / "results" / "today" / "gfx942.yaml"
    store.save(path, table())
    assert store.load(path) == table()


def test_saving_keeps_links_and_access_rights(tmp_path: Path) -> None:
    """A table that others reach through a link or may read stays so."""
    real = tmp_path / "real.yaml"
    store.save(real, table())
    real.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(real)
    store.save(link, table(make_published_entry()))
    assert link.is_symlink()
    assert store.load(real) == table(make_published_entry())
    assert real.stat().st_mode & 0o777 == 0o640


def test_rows_measured_again_replace_their_predecessors(tmp_path: Path) -> None:
    """A sweep adds to a table: other rows and other entries stay as they are."""
    path = tmp_path / "t" / "gfx942.yaml"
    store.add_entry(path, "gfx942", entry([row(), row(256, 8)]))
    store.add_entry(path, "gfx942", make_published_entry())
    merged = store.add_entry(path, "gfx942", entry([row(switch=33), row(8, 2)]))
    assert merged == store.load(path)
    assert [found.shape for found in merged.tables[0].rows] == [(8, 2), (128, 4), (256, 8)]
    assert merged.tables[0].rows[1].policy[1] == (33, "multiphase")
    assert merged.tables[1] == make_published_entry()


def test_rows_keep_what_they_were_measured_under(tmp_path: Path) -> None:
    """After a sweep with other settings, older rows still say their own; a third sweep like the first takes it back."""
    path = tmp_path / "gfx942.yaml"
    first, later = sweep(), sweep(date=datetime.date(2026, 12, 1), seed=7)
    store.add_entry(path, "gfx942", entry([row(), row(256, 8)], sweep=first))
    merged = store.add_entry(path, "gfx942", entry([row(8, 2)], sweep=later, software={"hip": "7.3"})).tables[0]
    assert (merged.sweep, [found.sweep for found in merged.rows]) == (later, [None, first, first])
    assert merged.rows[1].software == entry().software
    again = store.add_entry(path, "gfx942", entry([row(16, 2)], sweep=first)).tables[0]
    assert [found.sweep for found in again.rows] == [later, None, None, None]


def test_rows_keep_the_device_that_they_were_measured_on(tmp_path: Path) -> None:
    """Two devices of as many compute units share an entry; neither name is lost, however often the other is swept."""
    path = tmp_path / "gfx942.yaml"
    other = device(name="AMD Instinct MI325X")
    store.add_entry(path, "gfx942", entry([row(), row(256, 8)]))
    store.add_entry(path, "gfx942", entry([row(8, 2)], device=other))
    merged = store.add_entry(path, "gfx942", entry([row(256, 8)])).tables[0]
    assert merged.device == device()
    assert [found.device for found in merged.rows] == [other, None, None]


@pytest.mark.parametrize(
    ("new", "reported"),
    [
        (entry([row(switch=40)], sweep=sweep(unit_size=64)), "measured with unit_size=32, and the new one with"),
        (entry([row(evidence=Evidence(points=14, tokens=(1, 64)))]), "from 1 to 16384, and the new one would reach"),
    ],
)
def test_row_gives_way_to_no_other_settings_and_no_less(tmp_path: Path, new: Entry, reported: str) -> None:
    """What is there stays unless its writer insists; rows of other shapes do not mind."""
    path = tmp_path / "gfx942.yaml"
    store.add_entry(path, "gfx942", entry([row(8, 2), row()]))
    with pytest.raises(RowKeptError, match=f"gfx942.yaml: the row of 128/4 .*{reported}"):
        store.add_entry(path, "gfx942", new)
    assert store.load(path) == table(entry([row(8, 2), row()]))
    merged = store.add_entry(path, "gfx942", new, replace=True)
    assert merged.tables[0].complete(merged.tables[0].rows[1]) == new.complete(new.rows[0])


def test_swept_row_replaces_a_learned_one_of_its_settings(tmp_path: Path) -> None:
    """A learned row's routing is whatever came, which no sweep can ask for; its unit_size is what the model needs."""
    path = tmp_path / "gfx942.yaml"
    learned = row(evidence=Evidence(points=2, tokens=(8, 20), kind="learned"))
    store.add_entry(path, "gfx942", entry([learned], sweep=sweep(routing="served", unit_size=64)))
    with pytest.raises(RowKeptError, match="measured with unit_size=64, and the new one with unit_size=32"):
        store.add_entry(path, "gfx942", entry())
    assert store.add_entry(path, "gfx942", entry(sweep=sweep(unit_size=64))) == table(entry(sweep=sweep(unit_size=64)))


def test_other_kernels_make_another_entry(tmp_path: Path) -> None:
    """Rows of other kernels never mix: each part of the key keeps entries apart."""
    path = tmp_path / "gfx942.yaml"
    for one in (
        entry(),
        entry(kernels=Kernels(provider="builtin", revision="2")),
        entry(kernels=Kernels(provider="aiter", revision="5c1e0f")),
        entry(sweep=sweep(timing="eager")),
        entry(device=device(compute_units=80)),
    ):
        store.add_entry(path, "gfx942", one)
    assert len(store.load(path).tables) == 5


def test_table_of_another_architecture_is_not_touched(tmp_path: Path) -> None:
    """`--out` of the wrong file is an error, not a mixture."""
    store.save(tmp_path / "t.yaml", table())
    with pytest.raises(TableError, match="holds the table of gfx942, not of gfx950; name another file"):
        store.add_entry(tmp_path / "t.yaml", "gfx950", entry())


def _add(path: Path, worker: int) -> None:
    for step in range(10):
        store.add_entry(path, "gfx942", entry([row(worker * 10 + step + 4)]))


def test_several_sweeps_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four processes write forty rows into one table; all forty are there."""
    path = tmp_path / "gfx942.yaml"
    with ProcessPoolExecutor(4) as pool:
        for done in [pool.submit(_add, path, worker) for worker in range(4)]:
            done.result()
    assert [found.num_experts for found in store.load(path).tables[0].rows] == list(range(4, 44))


def test_table_that_stays_locked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects serving processes, which save at their end: they neither wait for ever nor write past a lock."""
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    path = tmp_path / "gfx942.yaml"
    with FileLock(tmp_path / ".gfx942.yaml.lock"), pytest.raises(TableError, match=r"could not be locked in 0\.1 s"):
        store.add_entry(path, "gfx942", entry())
    assert not path.exists()
