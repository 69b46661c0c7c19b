"""The wording of docstrings and the names of functions: imperative, and in the field's terms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = sorted(path for name in ("moesort_tune", "scripts", "tests") for path in (REPOSITORY / name).rglob("*.py"))

PHRASES = re.compile(
    r"\btold\b|\bof the day\b|\bwithout a word\b|\bcan be had\b|\bgives? \S+( \S+){0,5} to (the|a) stream\b"
)
OPENINGS = re.compile(r"(What|How|The one)\b")
PARTICIPLES = re.compile(
    r"_*([a-z]+ed|told|shown|kept|known|given|swept|written|taken|drawn|made|found|built|met)(_|$)"
)
NOUNS = re.compile(r"_*\w+_of$|_*\w+_as_(text|data|json)$|_*as_")

PROTOCOL = {"limits_of", "revision_of"}
"""Names of providers/work/base.py, which other packages define or call."""

PUBLIC = {"learned"}
"""Public names of the operator."""

FOREIGN = {"fused_moe", "fused_moe_with_aux"}
"""Names of AITER's functions, which its stand-in defines."""


def find_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, those of constants and fields included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def find_faults(source: str, *, is_test: bool) -> list[str]:
    """Return a line for each docstring or function name that breaks a rule; a test may state what it protects."""
    tree = ast.parse(source)
    faults = []
    for line, text in find_docstrings(tree):
        if (found := PHRASES.search(text)) or (not is_test and (found := OPENINGS.match(text))):
            faults.append(f"{line}: {found[0]!r}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not is_named_well(node, is_test=is_test):
            faults.append(f"{node.lineno}: {node.name}")
    return faults


def is_named_well(function: ast.FunctionDef, *, is_test: bool) -> bool:
    """Return whether a function is named by a verb; properties and fixtures are named by their values."""
    decorators = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    if "property" in decorators or "fixture" in decorators or function.name in PROTOCOL | PUBLIC | FOREIGN:
        return True
    if is_test:
        return function.name.startswith("test_") or not PARTICIPLES.match(function.name)
    return not (PARTICIPLES.match(function.name) or NOUNS.match(function.name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_docstrings_and_names_follow_the_house_style(path: Path) -> None:
    """Protects the wording: imperative docstrings, verbs as names, and none of the phrases that were replaced."""
    if path == Path(__file__):
        return
    is_test = path.is_relative_to(REPOSITORY / "tests")
    assert find_faults(path.read_text(encoding="utf-8"), is_test=is_test) == []


FAULTS = {
    '"""What a call came to."""': "1: 'What'",
    '"""The one of a device."""': "1: 'The one'",
    'LIMIT = 1\n"""How many are kept."""': "2: 'How'",
    'def show() -> None:\n    """Show that points are told as ties."""': "2: 'told'",
    'def launch() -> None:\n    """Note: it gives a sort to a stream."""': "2: 'gives a sort to a stream'",
    "def _measured() -> None: ...": "1: _measured",
    "def shown() -> None: ...": "1: shown",
    "class Row:\n    def row_of(self) -> None: ...": "2: row_of",
    "def as_text() -> None: ...": "1: as_text",
}


@pytest.mark.parametrize("source", FAULTS)
def test_broken_rules_are_found(source: str) -> None:
    """Protects the test itself: each kind of fault is found."""
    assert find_faults(source, is_test=False) == [FAULTS[source]]


def test_good_sources_have_no_faults() -> None:
    """Properties may be named by their values, and sentences may say what happens inside."""
    source = (
        '"""Measure what a sweep did not."""\n'
        "class Row:\n"
        "    @property\n"
        "    def tied(self) -> bool: ...\n"
        "def revision_of(arch: str) -> None: ...\n"
        "def build_row() -> None: ...\n"
    )
    assert find_faults(source, is_test=False) == []
