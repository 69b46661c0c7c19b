"""Files of schema 1 load into today's records, and are refused in their own words."""

import subprocess
import sys

import msgspec
import pytest

from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import Evidence, Table
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.writer import to_yaml
from tests.tables.examples import BOTH, EXAMPLE, EXAMPLE_1


def read(text: str) -> Table:
    """Return the table of a text."""
    return to_table(parse(text.encode()))


def test_table_of_schema_1_is_that_of_schema_2() -> None:
    """Protects tables from before: kernels get their names, and nothing else changes."""
    assert read(EXAMPLE_1) == read(EXAMPLE)
    assert read(EXAMPLE_1).schema == 2
    assert to_yaml(read(EXAMPLE_1)) == EXAMPLE.replace("                      # one per device variant", "")


def test_limit_that_limits_nothing_is_left_out() -> None:
    """AITER's forced oneshot takes any number of tokens, which schema 1 wrote as the largest one."""
    assert read(EXAMPLE_1.replace("1024", str(MAX_TOKENS))).tables[0].rows[0].limits == {}
    never = EXAMPLE_1.replace("1024", "0").replace("[1, oneshot], [25", "[1")
    assert read(never).tables[0].rows[0].limits == {"oneshot": 0}


def test_rows_were_masked_where_experts_were_spread_and_had_a_moe_buf() -> None:
    """Schema 1 could say neither, and its sweeps did just that."""
    spread = EXAMPLE_1.replace("seed: 0}", "seed: 0, ep: 4}")
    sweeps = [read(text).tables[0].sweep for text in (EXAMPLE_1, spread)]
    assert [(sweep.ep, sweep.moe_buf, sweep.masked) for sweep in sweeps if sweep] == [(1, True, False), (4, True, True)]


SPREAD_SWEEP = """sweep: {date: 2026-11-21, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, \
routing: uniform, seed: 0, ep: 2}"""
SPREAD_ROW = f"""\
  - {{num_experts: 64, topk: 6, oneshot_max_tokens: 1024, policy: [[1, oneshot]], tie: [[19, 24]], {SPREAD_SWEEP}}}
"""


def test_masked_rows_among_others_become_an_entry() -> None:
    """Schema 1 had them in one, where today's key tells them apart."""
    plain, masked = read(EXAMPLE_1 + SPREAD_ROW).tables
    assert plain == read(EXAMPLE).tables[0]
    assert (masked.key, masked.device) == (plain.key._replace(masked=True), plain.device)
    assert (masked.sweep and masked.sweep.ep, len(masked.rows)) == (2, 1)
    assert (masked.rows[0].sweep, masked.rows[0].tie) == (None, ((19, 24, BOTH),))


def test_entry_of_which_every_row_says_otherwise_is_one_of_their_condition() -> None:
    """No empty entry is left where the rows were."""
    (masked,) = read(EXAMPLE_1.replace("evidence: {", f"{SPREAD_SWEEP}, evidence: {{")).tables
    assert (masked.key.masked, masked.rows[0].sweep) == (True, None)


def test_second_row_of_one_condition_is_refused() -> None:
    """Two entries of schema 1 may have masked rows of one shape, of which one would be lost."""
    eager = EXAMPLE_1.split("tables:", 1)[1].split("\n", 1)[1].replace("seed: 0}", "seed: 0, ep: 4}")
    with pytest.raises(RefusedError, match=r"a second entry for .*, masked; keep one of them"):
        read(EXAMPLE_1 + SPREAD_ROW + eager)


def test_learned_rows_and_published_entries_keep_their_kind() -> None:
    """What schema 1 marked by two different keys is one kind of evidence."""
    learned = read(EXAMPLE_1.replace("points: 14", "points: 14, learned: true")).tables[0]
    assert (learned.evidence, learned.get_kind(learned.rows[0])) == ("measured", "learned")
    published = EXAMPLE_1.replace("  sweep:", "  evidence: published #").replace(", revision: 5c1e0f", "")
    for evidence in ("source: a paper", "source: a paper, learned: true"):
        entry = read(published.replace("points: 14", evidence)).tables[0]
        assert (entry.evidence, entry.rows[0].evidence.kind, entry.operation) == ("published", None, "moe_sorting")


def test_product_of_the_device_is_unknown() -> None:
    """Of the row's own device as of the entry's."""
    entry = read(
        EXAMPLE_1.replace(
            "evidence: {",
            "device: {name: MI325X, compute_units: 304, wavefront_size: 64, lds_bytes: 65536}, evidence: {",
        )
    ).tables[0]
    device = entry.rows[0].device
    assert device is not None
    assert (device.name, device.id, entry.device.id) == ("MI325X", None, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[25, multiphase]",
            "[1026, multiphase]",
            "tables[0].rows[0].policy[0]: oneshot is chosen for 1025 tokens, past oneshot_max_tokens 1024",
        ),
        (
            "[[1, oneshot], [25, multiphase]]",
            "[[1, multiphase], [1025, oneshot]]",
            "tables[0].rows[0].policy[1]: oneshot is chosen for 1025 tokens, past oneshot_max_tokens 1024",
        ),
        ("max_tokens: 1024", "max_tokens: 16777216", "tables[0].rows[0].oneshot_max_tokens: expected at most 16777215"),
        ("oneshot_max_tokens: 1024, ", "", "tables[0].rows[0].oneshot_max_tokens: missing"),
        (
            "[25, multiphase]",
            "[25, twophase]",
            "tables[0].rows[0].policy[1][1]: expected multiphase or oneshot, got 'twophase'",
        ),
        ("[19, 24]", "[19, 24], [24, 30]", "tables[0].rows[0].tie[1]: expected ranges that ascend and do not overlap"),
        ("[19, 24]", "[19]", "tables[0].rows[0].tie[0]: expected a list of 2: [int >= 1, int >= 1], got a list of 1"),
        (
            "[19, 24]",
            "[19, 24, [oneshot, multiphase]]",
            "tables[0].rows[0].tie[0]: expected a list of 2: [int >= 1, int >= 1], got a list of 3",
        ),
        ("provider: builtin", "provider: mine", "tables[0].kernels.provider: expected aiter or builtin, got 'mine'"),
        ("oneshot_max_tokens: 1024", "limits: {oneshot: 1024}", "tables[0].rows[0].limits: unknown key"),
        ("lds_bytes: 65536}", "lds_bytes: 65536, id: a}", "tables[0].device.id: unknown key"),
        ("seed: 0}", "seed: 0, masked: true}", "tables[0].sweep.masked: unknown key"),
        ("- device", "- operation: moe_sorting\n  device", "tables[0].operation: unknown key"),
    ],
)
def test_fault_is_refused_in_the_words_of_schema_1(old: str, new: str, message: str) -> None:
    """Protects whoever mends an old file by hand: the sentence names what stands in it."""
    assert EXAMPLE_1.count(old) >= 1
    with pytest.raises(RefusedError) as refused:
        read(EXAMPLE_1.replace(old, new, 1))
    assert str(refused.value).startswith(message)


def test_reader_of_schema_1_is_imported_for_its_files_only() -> None:
    """Protects the start of a serving process, whose table is of today."""
    program = (
        "import sys; from moesort_tune.tables.validation import to_table; from moesort_tune.tables.reader import parse;"
        "to_table(parse(sys.stdin.buffer.read())); print('moesort_tune.tables.schema_1' in sys.modules)"
    )
    asked = [sys.executable, "-c", program]
    imported = [
        subprocess.run(asked, input=text.encode(), capture_output=True, check=True).stdout.split()
        for text in (EXAMPLE, EXAMPLE_1)
    ]
    assert imported == [[b"False"], [b"True"]]


def test_no_field_of_evidence_is_lost() -> None:
    """Every field but `learned`, which the kind says, has the same name in both versions."""
    from moesort_tune.tables import schema_1

    new = {field.name for field in msgspec.structs.fields(Evidence)}
    assert {field.name for field in msgspec.structs.fields(schema_1.Evidence)} - new == {"learned"}
