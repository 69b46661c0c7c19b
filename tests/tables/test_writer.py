"""Each value in the text of a table, as every reader of YAML takes it."""

import msgspec
import pytest
import yaml

from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import Evidence
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.writer import to_yaml
from tests.tables.examples import BOTH, device, entry, make_published_entry, row, sweep, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.006, "0.006"), (1e-05, "1.0e-05"), (1e22, "1.0e+22"), (1.5e-07, "1.5e-07"), (3.0, "3.0")],
)
def test_number_has_a_point_before_its_exponent(value: float, text: str) -> None:
    """Readers of YAML 1.1 take '1e-05' for text."""
    written = to_yaml(table(entry([row(evidence=Evidence(points=1, noise=value))])))
    assert f"evidence: {{points: 1, noise: {text}}}" in written
    assert yaml.safe_load(written)["tables"][0]["rows"][0]["evidence"]["noise"] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AMD Instinct MI300X", "AMD Instinct MI300X"),
        ("X: 1", '"X: 1"'),
        ('X "1"', '"X \\U000000221\\U00000022"'),
        ("X \\ 1", '"X \\U0000005C 1"'),
        ("Gerät #1", '"Gerät #1"'),
        ("", '""'),
        ("null", '"null"'),
        ("7.2", '"7.2"'),
        ("Yes", '"Yes"'),
        ("0b1", '"0b1"'),
        ("0X1F", '"0X1F"'),
        ("0o17", '"0o17"'),
        ("1_000", '"1_000"'),
        ("1_0.5e+3", '"1_0.5e+3"'),
        ("0b1c", "0b1c"),
        ("5c1e0f", "5c1e0f"),
        ("7.2.53211", "7.2.53211"),
        ("ends in a space ", '"ends in a space "'),
    ],
)
def test_text_is_plain_or_in_quotes(name: str, text: str) -> None:
    """What could be taken for anything but this text is quoted; in quotes only what needs it is escaped."""
    named = table(entry(device=device(name=name)))
    written = to_yaml(named)
    assert f"  device: {{name: {text}, compute_units: 304" in written
    assert to_table(parse(written.encode())) == named
    assert yaml.safe_load(written)["tables"][0]["device"]["name"] == name


def test_only_what_differs_from_a_default_is_written() -> None:
    """A table stays as short as what it says."""
    plain, cold = (to_yaml(table(entry(sweep=sweep(cold=value)))) for value in (False, True))
    assert "cold" not in plain
    assert cold == plain.replace("seed: 0}", "seed: 0, cold: true}")


def test_operation_and_evidence_are_always_written() -> None:
    """A reader of the file sees what was computed and where the figures are from, defaults or not."""
    entries = table(
        entry(), make_published_entry(), entry(evidence="modelled", device=device(compute_units=80, id="0x74a2"))
    )
    written = yaml.safe_load(to_yaml(entries))["tables"]
    assert [one["operation"] for one in written] == ["moe_sorting"] * 3
    assert [one["evidence"] for one in written] == ["measured", "published", "modelled"]
    assert [one["device"].get("id") for one in written] == [None, None, "0x74a2"]


def test_row_without_limits_and_ties_says_neither() -> None:
    """What is empty is left out, in the order in which a person reads a row."""
    bare = row(limits={}, evidence=Evidence())
    assert "  - {num_experts: 128, topk: 4, policy: [[1, oneshot], [25, multiphase]]}\n" in to_yaml(
        table(entry([bare]))
    )
    full = row(
        limits={"oneshot": 90}, tie=((3, 4, BOTH),), evidence=Evidence(), sweep=sweep(moe_buf=False, masked=True)
    )
    assert (
        "limits: {oneshot: 90}, policy: [[1, oneshot], [25, multiphase]], tie: [[3, 4, [oneshot, multiphase]]],"
        " sweep: {date: 2026-11-22, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, routing: uniform,"
        " seed: 0, moe_buf: false, masked: true}}\n"
    ) in to_yaml(table(entry([full])))


def test_table_of_an_older_schema_is_written_in_this_one() -> None:
    """The writer knows one version."""
    assert to_yaml(msgspec.structs.replace(table(), schema=1)).startswith("schema: 2\n")
