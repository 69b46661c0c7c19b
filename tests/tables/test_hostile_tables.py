"""Whatever a file holds, it is a table or it is refused by a sentence: nothing else ever comes out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moesort_tune.providers.facts.registry import get_facts
from moesort_tune.runtime import Dispatcher
from moesort_tune.tables import store
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.reader import parse
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.writer import to_yaml
from tests.tables.examples import BOTH, EXAMPLE, EXAMPLE_1, entry, make_published_entry, row, table

VALID = [
    EXAMPLE,
    to_yaml(
        table(entry([row(8, 2, None), row(64, 6, 40, tie=((20, 39, BOTH),)), row(256, 8, 13)]), make_published_entry())
    ),
    EXAMPLE_1,
]
PIECES = [
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "-",
        "\n",
        "  ",
        "&a",
        "*a",
        "!!int",
        "!",
        "?",
        "|",
        ">",
        "'",
        '"',
        "#",
        "%",
        "---",
    ),
    *("0", "-1", "1e9", ".nan", "99999999999999999999", "0x10", "true", "~", "oneshot", "multiphase", "published"),
    *(
        "\x00",
        "\x1b",
        "\u2028",
        "\ufeff",
        "\ud7ff",
        "é",
        "topk",
        "rows",
        "tables",
        "schema",
        "policy",
        "evidence",
        "limits",
        "kind",
    ),
]


def describe_outcome(data: Callable[[], object]) -> str:
    """Return 'table' where the data is one that can be written and read again, else the sentence of the refusal."""
    try:
        read = to_table(data())
    except RefusedError as error:
        return str(error)
    assert all(text.isprintable() for text in list_texts(msgspec.to_builtins(read)))
    assert to_table(parse(to_yaml(read).encode())) == read
    return "table"


def list_texts(data: object) -> Iterator[str]:
    """Yield every text in plain data, keys included."""
    if isinstance(data, dict):
        yield from data
    if isinstance(data, dict | list | tuple):
        for item in data.values() if isinstance(data, dict) else data:
            yield from list_texts(item)
    elif isinstance(data, str):
        yield data


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_a_sentence(data: bytes) -> None:
    """One line, not longer than what fits on a screen."""
    sentence = describe_outcome(lambda: parse(data))
    assert sentence.strip()
    assert len(sentence) < 400
    assert sentence.isprintable()


@st.composite
def mutate(draw: st.DrawFn) -> str:
    """Draw a valid table with some pieces of its text replaced, moved or doubled."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.just(text[start:end] * 2), st.text(max_size=5)))
        text = text[:start] + piece + text[end:]
    return text


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(mutate())
def test_damaged_table_is_refused_by_a_sentence_or_still_one(text: str) -> None:
    """Close to a valid table, where a checker has its gaps."""
    sentence = describe_outcome(lambda: parse(text.encode(errors="surrogatepass")))
    assert sentence == "table" or (len(sentence) < 1000 and sentence.isprintable())


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2000),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["oneshot", "multiphase", "graph", "builtin", "2026-11-22"]),
    st.lists(st.integers(-2, 50), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@settings(deadline=None, max_examples=300)
@given(value=VALUES, data=st.data())
def test_wrong_value_anywhere_is_refused_by_its_place(value: object, data: st.DataObject) -> None:
    """One field of a valid table gets another value: it is refused there, or it is a table that can be written."""
    plain = msgspec.to_builtins(table(entry([row(), row(256, 8)]), make_published_entry()))
    node, path = plain, ""
    while isinstance(node, dict | list) and node:
        holder = node
        step = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        node = node[step]
    holder[step] = value
    sentence = describe_outcome(lambda: parse(msgspec.json.encode(plain)))  # JSON is YAML
    top = path.strip(".").split("[", maxsplit=1)[0].split(".", maxsplit=1)[0]
    assert sentence.isprintable()
    assert sentence.startswith((top, "not a table", "table", "not valid YAML"))


@settings(deadline=None, max_examples=40)
@given(tokens=st.integers(0, 1 << 31), num_experts=st.integers(1, 1 << 20), topk=st.integers(1, 1 << 20))
def test_any_table_answers_any_call(tokens: int, num_experts: int, topk: int) -> None:
    """A dispatcher never fails in a serving process, whatever it is asked."""
    assert DISPATCHER.policy(tokens, num_experts, topk) in (1, 2)
    assert DISPATCHER.explain(tokens, num_experts, topk).policy == DISPATCHER.policy(tokens, num_experts, topk)


def _make_dispatcher() -> Dispatcher:
    from moesort_tune.runtime.search import Found
    from moesort_tune.runtime.selection import Source

    one = to_table(parse(VALID[1].encode())).tables[0]
    source = Source(Path("gfx942.yaml"), "", one)
    return Dispatcher(Found("gfx942", 304, None, (source,), (), ()), get_facts("builtin"))


DISPATCHER = _make_dispatcher()


def test_file_of_the_largest_size_is_read_or_refused(tmp_path: Path) -> None:
    """A table near the limits is an ordinary table; one row more than fits is refused when it is written."""
    rows = [row(num_experts, topk) for num_experts in range(64, 164) for topk in range(1, 25)]
    store.save(tmp_path / "gfx942.yaml", table(entry(rows)))
    assert len(store.load(tmp_path / "gfx942.yaml").tables[0].rows) == 2400
