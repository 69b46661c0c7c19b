"""The samples file survives crashes and several writers."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import get_tables_folder
from moesort_tune.sweep import samples as samples_module
from moesort_tune.sweep.older_samples import OLDER_COLUMNS
from moesort_tune.sweep.samples import (
    COLUMNS,
    Sample,
    SamplesReader,
    append_samples,
    get_samples_path,
    read_samples,
)

SAMPLE = Sample(
    date="2026-11-22",
    arch="host",
    compute_units=2,
    provider="builtin",
    revision="5c1e",
    timing="graph",
    num_experts=128,
    topk=4,
    tokens=16,
    kernel="oneshot",
    median_us=3.25,
    low_us=3.0,
    high_us=3.5,
    samples=8,
    note="settled, in 8 rounds",
    settings="unit_size=32;seed=0",
    verdict="oneshot",
    noise=0.006,
    ratio=0.8,
    ratio_low=0.79,
    ratio_high=0.81,
)


def test_samples_lie_beside_their_table() -> None:
    """The sidecar of tables/gfx942.yaml is tables/gfx942.samples.csv."""
    assert get_samples_path(Path("tables/gfx942.yaml")) == Path("tables/gfx942.samples.csv")


def test_columns_start_as_the_format_promises() -> None:
    """Other people's scripts read these columns; new ones may only follow them."""
    promised = "date,arch,compute_units,provider,revision,timing,num_experts,topk,tokens,kernel"
    assert ",".join(COLUMNS).startswith(promised + ",median_us,low_us,high_us,samples,note")


def test_samples_read_back_are_those_written(tmp_path: Path) -> None:
    """Numbers, commas in notes and empty ratios survive the file."""
    alone = dataclasses.replace(SAMPLE, ratio=None, ratio_low=None, ratio_high=None)
    append_samples(tmp_path / "s.csv", [SAMPLE])
    append_samples(tmp_path / "s.csv", [alone])
    assert read_samples(tmp_path / "s.csv") == [SAMPLE, alone]


def test_samples_of_a_missing_file_are_none(tmp_path: Path) -> None:
    """A first sweep with --resume starts from nothing."""
    assert read_samples(tmp_path / "s.csv") == []


def test_torn_last_line_is_left_out_and_ended(tmp_path: Path) -> None:
    """A crash in the middle of a line costs that line only, and the next sample starts a line of its own."""
    path = tmp_path / "s.csv"
    append_samples(path, [SAMPLE, SAMPLE])
    path.write_bytes(path.read_bytes()[:-40])
    assert read_samples(path) == [SAMPLE]
    append_samples(path, [SAMPLE])
    assert read_samples(path) == [SAMPLE, SAMPLE]


def test_reader_reads_what_was_added_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects long sweeps, which look at their own growing file again and again; nothing is missed or read twice."""
    path, parsed = tmp_path / "s.csv", []
    reader, plain = SamplesReader(path), samples_module._parse

    def parse(columns: tuple[str, ...], line: list[str]) -> Sample | None:
        parsed.append(line)
        return plain(columns, line)

    monkeypatch.setattr(samples_module, "_parse", parse)
    assert reader.read() == []
    for count in (1, 2, 3):
        append_samples(path, [SAMPLE])
        assert reader.read() == [SAMPLE] * count
    assert len(parsed) == 3
    path.write_bytes(path.read_bytes()[:-1])
    assert reader.read() == [SAMPLE] * 3
    append_samples(path, [SAMPLE])
    assert reader.read() == [SAMPLE] * 4
    path.unlink()
    append_samples(path, [SAMPLE])
    assert reader.read() == [SAMPLE]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("3.25", "nan"),
        ("3.25", "-1"),
        ("3.25", "3.75"),
        ("0.79", "inf"),
        ("0.79", ""),
        (",oneshot,3", ",twoshot,3"),
        (",16,", ",x,"),
        (",16,", ",-16,"),
        (",builtin,", ",some body,"),
        (",graph,", ",cold,"),
        ("2026-11-22", "yesterday"),
        (",true,", ",maybe,"),
        (",true,", "\x1b[31m"),
        ("builtin", "\u202ebuiltin"),
    ],
)
def test_line_that_says_nothing_sensible_is_left_out(tmp_path: Path, good: str, bad: str) -> None:
    """A damaged line never becomes a measurement."""
    path = tmp_path / "s.csv"
    append_samples(path, [SAMPLE])
    path.write_text(path.read_text().replace(good, bad))
    assert read_samples(path) == []


def test_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    """A file that is something else is neither read nor misread."""
    (tmp_path / "s.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MoesortTuneError, match="does not have the columns of a samples file"):
        read_samples(tmp_path / "s.csv")


OLD_NOTES = {
    "settled in 8 rounds": (True, 0, False),
    "timed alone in 8 rounds; 2 dropped: clock moved": (True, 2, False),
    "stopped at the limit of 100 rounds": (False, 0, False),
    "both times tie; stopped at the limit of 2 s after 41 rounds; 12 dropped: clock moved": (False, 12, True),
}


def write_old_file(path: Path) -> None:
    """A samples file of the time when much of it stood in the note."""
    columns = OLDER_COLUMNS[0]
    lines = [{**dataclasses.asdict(SAMPLE), "note": note} for note in OLD_NOTES]
    path.write_text("\n".join([",".join(columns), *(",".join(str(line[c]) for c in columns) for line in lines), ""]))


TWO_KERNEL_LINES = """\
date,arch,compute_units,provider,revision,timing,num_experts,topk,tokens,kernel,median_us,low_us,high_us,samples,note,\
settings,verdict,noise,ratio,ratio_low,ratio_high,settled,dropped,confirmed,device,software
2026-11-26,sm_90,132,builtin,8467,graph,8,2,1,oneshot,2.03,2.01,2.06,8,n,ep=1;seed=0,oneshot,0.003,0.6,0.59,0.61,\
true,0,false,H100,hip=13
2026-11-26,sm_90,132,builtin,8467,graph,8,2,1,multiphase,3.3,3.3,3.4,8,n,ep=1;seed=0,oneshot,0.003,0.6,0.59,0.61,\
true,0,false,H100,hip=13
2026-11-26,sm_90,132,builtin,8467,graph,8,2,2,oneshot,2.03,2.01,2.06,8,n,ep=4;seed=0,tie,0.003,1.01,0.99,1.02,\
false,3,true,H100,hip=13
2026-11-26,sm_90,132,builtin,8467,graph,8,2,2,multiphase,2.01,2.0,2.04,8,n,ep=4;seed=0,tie,0.003,1.01,0.99,1.02,\
false,3,true,H100,hip=13
2026-11-26,sm_90,132,builtin,8467,graph,8,2,9,multiphase,2.01,2.0,2.04,8,n,ep=4;seed=0,multiphase,0.003,,,,\
true,0,false,H100,hip=13
"""


def test_file_of_two_kernels_is_read_as_one_of_any_number(tmp_path: Path) -> None:
    """The ratio that stood on both lines belongs to the slower kernel, and a tie names its kernels."""
    (tmp_path / "s.csv").write_text(TWO_KERNEL_LINES)
    samples = read_samples(tmp_path / "s.csv")
    assert [(s.kernel, s.verdict, s.against, s.ratio) for s in samples] == [
        ("oneshot", "oneshot", "", None),
        ("multiphase", "oneshot", "oneshot", 0.6),
        ("oneshot", "oneshot=multiphase", "multiphase", 1.01),
        ("multiphase", "oneshot=multiphase", "", None),
        ("multiphase", "multiphase", "", None),
    ]
    assert [(s.moe_buf, s.masked, s.settled, s.dropped) for s in samples[1:3]] == [
        (True, False, True, 0),
        (True, True, False, 3),
    ]
    assert {(s.device, s.device_id, s.pci_address, s.host) for s in samples} == {("H100", "", "", "")}
    append_samples(tmp_path / "s.csv", [SAMPLE])
    assert (tmp_path / "s.csv").read_text().startswith(",".join(COLUMNS) + "\n")
    assert read_samples(tmp_path / "s.csv") == [*samples, SAMPLE]


def test_file_of_old_columns_is_read_by_its_notes(tmp_path: Path) -> None:
    """What was measured before there were columns for it is still known; device and software are not."""
    write_old_file(tmp_path / "s.csv")
    samples = read_samples(tmp_path / "s.csv")
    assert [sample.note for sample in samples] == list(OLD_NOTES)
    assert [(s.settled, s.dropped, s.confirmed) for s in samples] == list(OLD_NOTES.values())
    assert {(s.device, s.software) for s in samples} == {("", "")}


def test_file_of_old_columns_gets_todays_when_it_is_added_to(tmp_path: Path) -> None:
    """A file has one header: old lines are written anew with what is known of them, and none is lost."""
    path = tmp_path / "s.csv"
    write_old_file(path)
    before = read_samples(path)
    append_samples(path, [SAMPLE])
    assert path.read_text().startswith(",".join(COLUMNS) + "\n")
    assert read_samples(path) == [*before, SAMPLE]


def test_several_writers_renew_a_file_of_old_columns_once(tmp_path: Path) -> None:
    """Who waits for the file while another replaces it writes into the new one."""
    path = tmp_path / "s.csv"
    write_old_file(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tokens: append_samples(path, [dataclasses.replace(SAMPLE, tokens=tokens)]), range(1, 33)))
    samples = read_samples(path)
    assert [sample.note for sample in samples[: len(OLD_NOTES)]] == list(OLD_NOTES)
    assert sorted(sample.tokens for sample in samples[len(OLD_NOTES) :]) == list(range(1, 33))
    assert path.read_text().count("date,") == 1


def test_shipped_samples_have_todays_columns() -> None:
    """Every line of the samples in this repository is read, with the device and software that it was taken with."""
    shipped = sorted(get_tables_folder().glob("*.samples.csv"))
    assert shipped
    for path in shipped:
        samples = read_samples(path)
        assert len(samples) == len(path.read_text().splitlines()) - 1
        assert all(sample.device and sample.software for sample in samples)


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    with pytest.raises(MoesortTuneError, match=r"cannot write samples to .*s\.csv: No such file or directory"):
        append_samples(tmp_path / "missing" / "s.csv", [SAMPLE])


def test_samples_of_several_writers_are_all_kept(tmp_path: Path) -> None:
    """Two sweeps into one file lose nothing and write one header."""
    path = tmp_path / "s.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tokens: append_samples(path, [dataclasses.replace(SAMPLE, tokens=tokens)]), range(1, 65)))
    assert sorted(sample.tokens for sample in read_samples(path)) == list(range(1, 65))
    assert path.read_text().count("date,") == 1
