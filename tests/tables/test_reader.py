"""Text to plain data: what is accepted, and what is refused before it costs anything."""

import itertools
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from moesort_tune.tables import reader
from moesort_tune.tables.errors import RefusedError
from moesort_tune.tables.reader import MAX_BYTES, MAX_DEPTH, MAX_EVENTS, parse

LOADERS = [pytest.param(yaml.CSafeLoader, id="libyaml"), pytest.param(yaml.SafeLoader, id="Python")]
PARSE = yaml.parse


def test_parse_returns_plain_data() -> None:
    """Scalars of each kind come out as YAML 1.2 says, quoted ones always as text."""
    text = b"a: [1, -2, 1.5, 2e3, true, null, word, '7']\nb: {date: 2026-11-22, empty: }\n"
    assert parse(text) == {
        "a": [1, -2, 1.5, 2000.0, True, None, "word", "7"],
        "b": {"date": "2026-11-22", "empty": None},
    }


@pytest.mark.parametrize("word", ["yes", "NO", "0x1f", "0o17", "1_000", "1:30", "2026-11-22"])
def test_parse_leaves_what_only_yaml_1_1_converts_as_text(word: str) -> None:
    """Half the world's YAML surprises are implicit conversions; a table has none of them."""
    assert parse(f"a: {word}".encode()) == {"a": word}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("# only a comment\n", "expected a YAML document with schema, arch and tables"),
        ("a: {b: 1", "not valid YAML at line "),
        ("a: b: c", "not valid YAML at line 1, column 5: "),
        ("a: 1\n---\na: 2\n", "expected one YAML document, got several"),
        ("a: {b: 1, b: 2}", "a: key 'b' appears twice"),
        ("a: [0, &x 1]", "a[1]: anchors and aliases (& and *) are not accepted in a table"),
        ("a: *x", "a: anchors and aliases (& and *) are not accepted in a table"),
        ("a: !!python/object/apply:os.system [ls]", "a: tags are not accepted in a table"),
        ("a: !!int 5", "a: tags are not accepted in a table, got 'tag:yaml.org,2002:int'"),
        ("a: {[1]: 2}", "a: expected a plain word as key"),
        ("a: {1: 2}", "a: expected a plain word as key"),
        ("a: .nan", "a: expected a finite number, got .nan"),
        ("a: -.inf", "a: expected a finite number, got -.inf"),
        ("a: 1e999", "a: expected a finite number, got 1e999"),
        ("a: " + "9" * 19, "a: expected a number of at most 18 digits, got 9999999999999999999"),
        ("a: " + "9" * 5000, "a: expected a number of at most 18 digits, got 9999"),
        ("a: \x07", "not valid YAML: "),
    ],
)
def test_parse_refuses_what_a_table_never_holds(text: str, message: str) -> None:
    """Each refusal names the place, so that the person who has the file can mend it."""
    with pytest.raises(RefusedError) as refused:
        parse(text.encode())
    assert str(refused.value).startswith(message)


def test_parse_refuses_bytes_that_are_no_text() -> None:
    """A binary named by mistake is reported as such."""
    with pytest.raises(RefusedError, match=r"not a text file in UTF-8 \(byte 3\)"):
        parse(b"a: \xff\xfe")


def test_parse_refuses_deep_nesting_at_its_limit() -> None:
    """One level less is accepted, so the limit is where it is said to be."""
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(RefusedError, match=f"more than {MAX_DEPTH} lists and mappings inside one another"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_parse_reads_without_libyaml_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML built without its C part refuses and accepts the same."""
    monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)
    assert parse(b"a: [1, x, '2']") == {"a": [1, "x", "2"]}
    for text in (b"a: &x 1", b"a: !!int 5", b"a: {b: 1, b: 2}", b"a: {"):
        with pytest.raises(RefusedError):
            parse(text)


BEYOND_YAML = {
    "a character past the last": r'a: "\U00110000"',
    "a character past 32 bits of sign": r'a: "\UFFFFFFFF"',
    "half a character": r'a: "\uD800"',
    "a huge minor version": f"%YAML 1.{'9' * 5000}\n--- a",
    "a huge major version": f"%YAML {'9' * 5000}.1\n--- a",
    "a tag of no characters": "a: !<%ff> b",
    "an endless tag": f"a: !{'x' * 5000}!y b",
    "a huge indentation": f"a: |{'9' * 5000}\n b",
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", BEYOND_YAML)
def test_whatever_the_parser_fails_with_is_a_refusal(
    name: str, loader: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML's own parser lets ValueError and OverflowError out; their sentence is short as every other."""
    monkeypatch.setattr(reader, "_LOADER", loader)
    with pytest.raises(RefusedError) as refused:
        parse(BEYOND_YAML[name].encode())
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "fault", [ValueError("v"), OverflowError(), RecursionError("r"), UnicodeError("u"), KeyError(1)]
)
def test_fault_inside_of_the_parser_names_the_place(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever exception a version of PyYAML comes up with next."""

    def events(*_: object, **__: object) -> Iterator[yaml.Event]:
        yield from itertools.islice(PARSE("a: [1, {b: 2}]"), 8)
        raise fault

    monkeypatch.setattr(yaml, "parse", events)
    with pytest.raises(RefusedError, match=r"^a\[1\]\.b: not valid YAML: \S"):
        parse(b"a: [1, {b: 2}]")


UNPRINTABLE = ["\x1b[31m", "\x07", "\t", "\n", "\x7f", "\x9b", "\xa0", "\xad", "\u200b", "\u202e", "\u2066", "\u2028"]
UNPRINTABLE += ["\ufeff", "\ud800", "\U000e0041", "\ufffe"]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("character", UNPRINTABLE)
def test_text_that_cannot_be_printed_is_refused_as_value_and_as_key(
    character: str, loader: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would act on the terminal of whoever looks at the table; the refusal itself shows it escaped."""
    monkeypatch.setattr(reader, "_LOADER", loader)
    escaped = f'"x\\U{ord(character[0]):08X}{character[1:]}y"'
    for text in (f"a: [1, {escaped}]", f"a: {{b: 1, {escaped}: 2}}"):
        with pytest.raises(RefusedError) as refused:
            parse(text.encode())
        assert str(refused.value).isprintable()


def test_text_of_other_scripts_is_accepted() -> None:
    """Printable is not the same as English."""
    assert parse("a: Grafikkarte für 測試 №1 ®".encode()) == {"a": "Grafikkarte für 測試 №1 ®"}


HOSTILE = {
    "a million rows": "rows:\n" + "- {num_experts: 8}\n" * 1_000_000,
    "many small values": "[" + "1," * (MAX_BYTES // 2 - 1),
    "many empty rows": "- \n" * (MAX_BYTES // 3),
    "deep lists": "[" * MAX_BYTES,
    "deep mappings": "{a: " * (MAX_BYTES // 4),
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1400)),
    "one long word": "a: " + "x" * (MAX_BYTES - 3),
    "a billion laughs": "a: &a [x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}]\n" for i in range(20)),
    "a list that holds itself": "&a [*a]",
    "an object": "!!python/object/apply:os.system [ls]",
    "a huge number": "a: " + "9" * 1_000_000,
    "many keys": "".join(f"k{index}:\n" for index in range(100_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_within_fixed_memory(name: str) -> None:
    """Read in a process that may take little memory beyond what the interpreter itself takes."""
    program = """
import resource, sys
from moesort_tune.tables.validation import to_table
from moesort_tune.tables.reader import parse
from moesort_tune.tables.errors import RefusedError
data = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
try:
    to_table(parse(data))
except RefusedError as error:
    print(error)
"""
    limit = (200 << 20) + len(HOSTILE[name])
    done = subprocess.run(
        [sys.executable, "-c", program, str(limit)], input=HOSTILE[name].encode(), capture_output=True, check=False
    )
    assert done.stderr == b""
    assert 10 < len(done.stdout) < 300


def test_number_of_values_is_limited_not_only_the_size() -> None:
    """Time goes by values, so a file that packs them densely is refused before its end is read."""
    with pytest.raises(RefusedError, match=f"more than the {MAX_EVENTS} values"):
        parse(("[" + "1," * MAX_EVENTS + "]").encode())
