"""What is a table and what is not: every refusal names the place and the reason."""

import msgspec
import pytest

from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.reader import parse
from moesort_tune.tables.schema import EntryKey, Evidence, Kernels, Table
from moesort_tune.tables.validation import check, to_table
from tests.tables.examples import BOTH, EXAMPLE, EXAMPLE_1, device, entry, make_published_entry, row, sweep, table


def catch_refusal(text: str) -> str:
    """Return the sentence with which a table's text is refused."""
    with pytest.raises(RefusedError) as refused:
        to_table(parse(text.encode()))
    return str(refused.value)


def test_table_of_the_documentation_is_accepted() -> None:
    """The example that people copy from is a valid table."""
    accepted = to_table(parse(EXAMPLE.encode()))
    assert accepted.arch == "gfx942"
    assert accepted.tables[0].key == EntryKey(304, "builtin", "5c1e0f", "graph", None, True, False, "moe_sorting")
    assert accepted.tables[0].rows[0].policy == ((1, "oneshot"), (25, "multiphase"))


FAULTS_OF_EITHER_SCHEMA = [
    ("topk: 4", "topk: eight", "tables[0].rows[0].topk: expected int >= 1, got 'eight'"),
    ("topk: 4", "topk: 0", "tables[0].rows[0].topk: expected int >= 1, got 0"),
    ("topk: 4", "topk: -4", "tables[0].rows[0].topk: expected int >= 1, got -4"),
    ("topk: 4", "topk: 4.5", "tables[0].rows[0].topk: expected int >= 1, got 4.5"),
    ("topk: 4", "topk: true", "tables[0].rows[0].topk: expected int >= 1, got True"),
    ("topk: 4", "topk: ", "tables[0].rows[0].topk: expected int >= 1, got nothing"),
    ("topk: 4", "topk: 129", "tables[0].rows[0].topk: expected at most 128, got 129"),
    ("topk: 4, ", "", "tables[0].rows[0].topk: missing"),
    ("topk: 4", "top_k: 4", "tables[0].rows[0].top_k: unknown key"),
    ("num_experts: 128", "num_experts: 1025", "tables[0].rows[0].num_experts: expected at most 1024, got 1025"),
    ("[1, oneshot]", "[2, oneshot]", "tables[0].rows[0].policy[0]: expected the first token count to be 1, got 2"),
    (
        "[[1, oneshot], ",
        "[[1, oneshot], [40, multiphase], [30, oneshot], ",
        "tables[0].rows[0].policy[2]: expected ascending token counts, got 30 after 40",
    ),
    (
        "[1, oneshot]",
        "[1, multiphase]",
        "tables[0].rows[0].policy[1]: expected another kernel than in the step before, got multiphase again",
    ),
    ("[[1, oneshot], [25, multiphase]]", "[]", "tables[0].rows[0].policy: expected a list with at least one item"),
    ("[25, multiphase]", "[99999999, multiphase]", "tables[0].rows[0].policy[1]: expected at most 16777216 tokens"),
    ("noise: 0.006", "noise: -1", "tables[0].rows[0].evidence.noise: expected number >= 0, got -1"),
    ("noise: 0.006", "noise: .nan", "tables[0].rows[0].evidence.noise: expected a finite number, got .nan"),
    ("rule_loss: 1.31", "rule_loss: 0.9", "tables[0].rows[0].evidence.rule_loss: expected number >= 1, got 0.9"),
    ("compute_units: 304", "compute_units: 0", "tables[0].device.compute_units: expected int >= 1, got 0"),
    ("lds_bytes: 65536", "lds_bytes: 99999999", "tables[0].device.lds_bytes: expected at most 16777216, got 999"),
    ("wavefront_size: 64", "wavefront_size: 16", "tables[0].device.wavefront_size: expected 32 or 64, got 16"),
    (", revision: 5c1e0f", "", "tables[0].kernels.revision: missing; only an entry with evidence: published"),
    ("revision: 5c1e0f", "revision: 51", "tables[0].kernels.revision: expected text, got 51; put it in quotes"),
    ("hip: 7.2.53211", "hip: 7.2", "tables[0].software: expected a mapping of text to text (numbers in quotes)"),
    ("timing: graph", "timing: slow", "tables[0].sweep.timing: expected eager or graph, got 'slow'"),
    ("2026-11-22", "today", "tables[0].sweep.date: expected a date like 2026-11-22, got 'today'"),
    ("name: AMD", 'name: "\\e[31m', "not valid YAML"),
    ("{name: AMD Instinct MI300X", '{name: "\\e[31mMI"', "tables[0].device.name: expected text that can be"),
    ("arch: gfx942", "arch: ../gfx942", "arch: expected a word like gfx942, got '../gfx942'"),
    ("tables: ", "tables: []\nmore: ", "tables: expected a list with at least one item, got a list of 0"),
    ("19, 24", "24, 19", "tables[0].rows[0].tie[0]: expected [first, last], got [24, 19]"),
    ("19, 24", "19, 99999999", "tables[0].rows[0].tie[0]: expected at most 16777215 tokens, got 99999999"),
]


def test_key_names_a_condition_where_it_is_not_the_usual_one() -> None:
    """Sentences name entries by their keys: those of one device must not read alike."""
    keys = [entry(sweep=sweep(**settings)).key for settings in ({}, {"moe_buf": False}, {"ep": 4})]
    usual = "304 compute units, builtin, 5c1e0f, graph"
    assert [str(key) for key in keys] == [usual, f"{usual}, without moe_buf", f"{usual}, masked"]


@pytest.mark.parametrize("example", [EXAMPLE, EXAMPLE_1], ids=["schema 2", "schema 1"])
@pytest.mark.parametrize(("old", "new", "message"), FAULTS_OF_EITHER_SCHEMA)
def test_table_with_a_fault_is_refused_by_place_and_reason(example: str, old: str, new: str, message: str) -> None:
    """One change to the valid example makes it invalid, and the sentence says where."""
    assert example.count(old) >= 1
    assert catch_refusal(example.replace(old, new, 1)).startswith(message)


FAULTS = [
    ("schema: 2", "schema: 3", "schema: 3 is newer than moesort-tune"),
    ("schema: 2", "schema: 0", "schema: expected int >= 1, got 0"),
    ("schema: 2", "schema: one", "schema: expected int >= 1, got 'one'"),
    ("schema: 2", "version: 2", "not a table: expected a mapping with schema, arch and tables"),
    (
        "[25, multiphase]",
        "[1026, multiphase]",
        "tables[0].rows[0].policy[0]: oneshot is chosen for 1025 tokens, past limits.oneshot 1024",
    ),
    (
        "[[1, oneshot], [25, multiphase]]",
        "[[1, multiphase], [1025, oneshot]]",
        "tables[0].rows[0].policy[1]: oneshot is chosen for 1025 tokens, past limits.oneshot 1024",
    ),
    (
        "{oneshot: 1024}",
        "{oneshot: 1024, multiphase: 30}, policy: [[1, multiphase], [32, oneshot]], tie: []} #",
        "tables[0].rows[0].policy[0]: multiphase is chosen for 31 tokens, past limits.multiphase 30",
    ),
    (
        "[25, multiphase]",
        "[25, twophase]",
        "tables[0].rows[0].policy[1][1]: expected wave or oneshot or multiphase, got 'twophase'",
    ),
    ("[25, multiphase]", "[25, Two]", "tables[0].rows[0].policy[1][1]: expected a word like oneshot, got 'Two'"),
    (
        "{oneshot: 1024}",
        "{third: 1024}",
        "tables[0].rows[0].limits.third: expected wave or oneshot or multiphase, got 'third'",
    ),
    (
        "{oneshot: 1024}",
        "{oneshot: many}",
        "tables[0].rows[0].limits: expected a mapping of a word like oneshot to int >= 0",
    ),
    (
        "{oneshot: 1024}",
        "{oneshot: 16777216}",
        "tables[0].rows[0].limits.oneshot: expected at most 16777215, got 16777216",
    ),
    ("{oneshot: 1024}", "1024", "tables[0].rows[0].limits: expected a mapping of a word like oneshot to int >= 0"),
    ("limits: {oneshot: 1024}", "oneshot_max_tokens: 1024", "tables[0].rows[0].oneshot_max_tokens: unknown key"),
    (
        "[19, 24, [oneshot, multiphase]]",
        "[19, 24, [oneshot, multiphase]], [24, 30, [oneshot, multiphase]]",
        "tables[0].rows[0].tie[1]: expected ranges that ascend and do not overlap",
    ),
    (
        "[19, 24, [oneshot, multiphase]]",
        "[19, 24]",
        "tables[0].rows[0].tie[0]: expected a list of 3: [int >= 1, int >= 1, a list with at least two items]",
    ),
    (
        "[oneshot, multiphase]]]",
        "[oneshot]]]",
        "tables[0].rows[0].tie[0][2]: expected a list with at least two items, got a list of 1",
    ),
    (
        "[oneshot, multiphase]]]",
        "[multiphase, oneshot]]]",
        "tables[0].rows[0].tie[0][2]: expected the order wave, oneshot, multiphase, got multiphase, oneshot",
    ),
    (
        "[oneshot, multiphase]]]",
        "[oneshot, wave]]]",
        "tables[0].rows[0].tie[0][2]: expected the order wave, oneshot, multiphase, got oneshot, wave",
    ),
    (
        "[oneshot, multiphase]]]",
        "[oneshot, oneshot]]]",
        "tables[0].rows[0].tie[0][2]: expected different kernels, got oneshot twice",
    ),
    (
        "[oneshot, multiphase]]]",
        "[oneshot, third]]]",
        "tables[0].rows[0].tie[0][2][1]: expected wave or oneshot or multiphase, got 'third'",
    ),
    ("provider: builtin", "provider: My own", "tables[0].kernels.provider: expected a word like builtin, got 'My own'"),
    (
        "operation: moe_sorting",
        "operation: topk",
        "tables[0].operation: expected moe_align_block_size or moe_sorting, got 'topk'",
    ),
    (
        "operation: moe_sorting",
        "operation: moe_align_block_size",
        "tables[0].operation: expected moe_sorting, which the kernels of builtin compute, got moe_align_block_size",
    ),
    (
        "provider: builtin",
        "provider: align",
        "tables[0].operation: expected moe_align_block_size, which the kernels of align compute, got moe_sorting",
    ),
    (
        "evidence: measured",
        "evidence: guessed",
        "tables[0].evidence: expected learned or measured or modelled or published, got 'guessed'",
    ),
    ("seed: 0}", "seed: 0, ep: 4}", "tables[0].sweep.masked: expected true where ep is 4"),
    ("seed: 0}", "seed: 0, moe_buf: 1}", "tables[0].sweep.moe_buf: expected true or false, got 1"),
    (
        "lds_bytes: 65536}",
        "lds_bytes: 65536, id: 29857}",
        "tables[0].device.id: expected text, got 29857; put it in quotes",
    ),
    (
        "points: 14",
        "kind: guessed",
        "tables[0].rows[0].evidence.kind: expected learned or measured or modelled or published, got 'guessed'",
    ),
    ("points: 14", "learned: true", "tables[0].rows[0].evidence.learned: unknown key"),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_fault_of_schema_2_is_refused_by_place_and_reason(old: str, new: str, message: str) -> None:
    """Kernels by name, wherever a row names one, and what else only this version says."""
    assert EXAMPLE.count(old) >= 1
    assert catch_refusal(EXAMPLE.replace(old, new, 1)).startswith(message)


TEXTS = [
    "arch: gfx942",
    "name: AMD Instinct MI300X",
    "hip: 7.2.53211",
    "driver: ",
    "provider: builtin",
    "revision: 5c1e0f",
    "timing: graph",
    "dtype: bfloat16",
    "routing: uniform",
    "[1, oneshot]",
]


@pytest.mark.parametrize("ending", [r"\n", r"\e[31m", r"\u202E", r"\u200B", r"\u2028", "x" * 500])
@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_printable_and_of_bounded_length(text: str, ending: str) -> None:
    """What ends in a line break is another text, and a terminal does what a file's text tells it to."""
    key, _, value = text.strip("[]").replace(", ", ": ").partition(": ")
    quoted = text.replace(value, f'"{value}{ending}"') if value else text.replace(key, f'"{key}{ending}"')
    assert EXAMPLE.count(text) == 1
    sentence = catch_refusal(EXAMPLE.replace(text, quoted))
    assert sentence.startswith(("tables[0].", "arch: "))
    assert sentence.isprintable()
    assert len(sentence) < 300


@pytest.mark.parametrize("value", ["name", "revision"])
def test_pattern_of_a_text_holds_to_its_very_end(value: str) -> None:
    """Tables made in a program are checked by the types alone before they are written."""
    plain = msgspec.to_builtins(table())
    holder = plain["tables"][0]["device" if value == "name" else "kernels"]
    holder[value] += "\n"
    with pytest.raises(RefusedError, match=f"{value}: expected text of at most 400 characters"):
        to_table(plain)
    with pytest.raises(RefusedError, match="arch: expected a word like gfx942"):
        to_table(msgspec.to_builtins(table(arch="gfx942\n")))


@pytest.mark.parametrize("text", ["5", "- 1", "text", "a: 1"])
def test_data_of_another_kind_is_told_to_be_no_table(text: str) -> None:
    """A YAML file that is something else entirely gets the general sentence."""
    assert catch_refusal(text) == "not a table: expected a mapping with schema, arch and tables"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (table(entry([row(), row()])), "tables[0].rows[1]: a second row for 128 experts, topk 4"),
        (table(entry(), entry()), "tables[1]: a second entry for 304 compute units, builtin, 5c1e0f, graph"),
        (table(make_published_entry(sweep=sweep())), "tables[0].sweep: published figures have no sweep"),
        (
            table(make_published_entry(kernels=Kernels(provider="aiter", revision="1"))),
            "tables[0].kernels.revision: published figures have no revision",
        ),
        (
            table(make_published_entry([row()])),
            "tables[0].rows[0].evidence.source: published figures must name their source",
        ),
        (
            table(make_published_entry([row(evidence=Evidence(source="a paper", kind="learned"))])),
            "tables[0].rows[0].evidence.kind: expected published as in the entry, got learned",
        ),
        (
            table(entry([row(evidence=Evidence(kind="published", source="a paper"))])),
            "tables[0].rows[0].evidence.kind: published figures stand in an entry of their own, not in 304 compute",
        ),
        (table(entry(evidence="modelled", sweep=None)), "tables[0].sweep: missing"),
        (table(entry([row(sweep=sweep(ep=4, masked=False))])), "tables[0].rows[0].sweep.masked: expected true where"),
        (table(entry(sweep=None)), "tables[0].sweep: missing"),
        (table(entry([row(sweep=sweep(timing="eager"))])), "tables[0].rows[0].sweep.timing: expected 'graph'"),
        (table(entry([row(sweep=sweep(moe_buf=False))])), "tables[0].rows[0].sweep.moe_buf: expected true as in"),
        (table(entry([row(sweep=sweep(ep=4))])), "tables[0].rows[0].sweep.masked: expected false as in the entry"),
        (
            table(entry([row(device=device(id="0x74a5"))], device=device(id="0x74a1"))),
            "tables[0].rows[0].device.id: expected '0x74a1' as in the entry, got '0x74a5'; rows of another product",
        ),
        (
            table(entry([row(device=device(id="0x74a5"))])),
            "tables[0].rows[0].device.id: expected none; rows of another product stand in an entry of their own",
        ),
        (
            table(*[entry(device=device(id="0x74a1"))] * 2),
            "tables[1]: a second entry for 304 compute units, builtin, 5c1e0f, graph, MI300X (0x74a1); keep one",
        ),
        (
            table(entry([row(device=device(compute_units=80))])),
            "tables[0].rows[0].device.compute_units: expected 304 as in the entry",
        ),
        (table(entry([row(evidence=Evidence(tokens=(9, 1)))])), "tables[0].rows[0].evidence.tokens: expected [first"),
        (table(entry([row(limits={"oneshot": 1 << 24})])), "tables[0].rows[0].limits.oneshot: expected at most"),
    ],
)
def test_table_that_contradicts_itself_is_refused(broken: Table, message: str) -> None:
    """What types cannot say is checked for tables made in the program as well as for those read."""
    with pytest.raises(RefusedError) as refused:
        check(broken)
    assert str(refused.value).startswith(message)


def test_tables_of_several_kinds_of_entries_are_accepted() -> None:
    """Entries may differ in any one part of their key."""
    check(table(entry(), entry(sweep=sweep(timing="eager")), entry(kernels=Kernels(provider="builtin", revision="2"))))
    check(table(entry(), make_published_entry(), entry([row(evidence=Evidence(kind="learned"))], device=_halve())))
    check(table(entry(evidence="modelled"), entry(evidence="learned", device=_halve())))
    check(table(entry(), *(entry(device=device(id=name)) for name in ("0x74a1", "0x74b5", "0x74a5"))))


def _halve() -> object:
    return msgspec.structs.replace(entry().device, compute_units=152)


def test_step_may_stand_behind_oneshots_limit_and_not_on_another() -> None:
    """oneshot to its last legal count is a policy; two choices at one count are none."""
    check(table(entry([row(switch=1025, limits={"oneshot": 1024})])))
    with pytest.raises(RefusedError, match=r"policy\[0\]: oneshot is chosen for 1025 tokens, past limits.oneshot 1024"):
        check(table(entry([row(switch=1026, limits={"oneshot": 1024})])))
    with pytest.raises(RefusedError, match=r"policy\[1\]: expected ascending token counts, got 1 after 1"):
        check(table(entry([row(switch=1)])))


def test_row_that_ends_in_oneshot_stops_choosing_it_at_its_limit() -> None:
    """A last oneshot step has no end of its own; the row's limit is its end."""
    always = row(switch=None, limits={"oneshot": 100})
    check(table(entry([always])))
    assert [always.choose_kernel(tokens, BOTH) for tokens in (0, 1, 100, 101)] == ["oneshot"] * 3 + ["multiphase"]


def test_row_tells_its_choice_and_ties_at_each_token_count() -> None:
    """A step begins at its count; a tie holds both its ends."""
    switching = row(policy=((1, "multiphase"), (5, "oneshot"), (9, "multiphase")), tie=((3, 4, BOTH),))
    assert "".join(switching.choose_kernel(tokens, BOTH)[0] for tokens in range(1, 11)) == "mmmmoooomm"
    assert [tokens for tokens in range(1, 8) if switching.list_tied(tokens)] == [3, 4]
    assert (switching.list_tied(3), switching.list_tied(5)) == (BOTH, ())


THREE = Kernels(provider="elsewhere", revision="1")
"""Kernels of a provider that is not registered here."""


def test_kernels_of_a_provider_that_is_not_registered_may_have_any_name() -> None:
    """Protects tables that travel: whoever reads one need not have its provider installed."""
    policy = ((1, "third"), (9, "oneshot"), (80, "multiphase"))
    mixed = row(policy=policy, limits={"third": 8, "oneshot": 79}, tie=((5, 8, ("multiphase", "third")),))
    check(table(entry([mixed], kernels=THREE)))
    with pytest.raises(RefusedError, match=r"policy\[0\]: third is chosen for 8 tokens, past limits.third 7"):
        check(table(entry([row(policy=policy, limits={"third": 7})], kernels=THREE)))
    with pytest.raises(RefusedError, match=r"limits.third: expected wave or oneshot or multiphase, got 'third'"):
        check(table(entry([mixed])))


def test_table_of_aiter_knows_its_two_kernels_only() -> None:
    """Protects AITER from a policy that it does not have."""
    third = row(policy=((1, "oneshot"), (25, "third")))
    with pytest.raises(RefusedError, match=r"policy\[1\]\[1\]: expected oneshot or multiphase, got 'third'"):
        check(table(entry([third], kernels=Kernels(provider="aiter", revision="1"))))


def test_row_past_a_limit_chooses_the_next_kernel_that_may() -> None:
    """A kernel that is not legal gives way to the next in order, and the last one to an earlier one."""
    mixed = row(policy=((1, "a"), (50, "c"), (80, "b")), limits={"a": 10, "b": 90, "c": 60})
    chosen = [mixed.choose_kernel(tokens, ("a", "b", "c")) for tokens in (10, 11, 60, 61, 90, 91)]
    assert chosen == ["a", "b", "c", "b", "b", "c"]
