"""The pages name what there is: links lead somewhere, and no variable, field or reason is left out or made up."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from moesort_tune import __version__
from moesort_tune.runtime.lookup import Reason
from moesort_tune.tables import reader, schema
from moesort_tune.tables.validation import to_table
from tests.docs.snippets import REPOSITORY, parse

DOCS = REPOSITORY / "docs"
VARIABLE = re.compile(r"\bMOESORT_(?:TUNE|HOST|CUDA|TEST)_[A-Z0-9_]*[A-Z0-9]\b")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
RECORDS = (schema.Table, schema.Entry, schema.Device, schema.Kernels, schema.Sweep, schema.Row, schema.Evidence)


def list_markdown_files() -> list[Path]:
    """Return the repository's Markdown."""
    folders = ("docs", "hip_kernels", "moesort_tune")
    return sorted([*REPOSITORY.glob("*.md"), *(path for name in folders for path in (REPOSITORY / name).rglob("*.md"))])


def test_pictures_are_of_the_shipped_table() -> None:
    """Protects readers from figures of an earlier table: `python scripts/draw_docs_pictures.py` draws them anew."""
    digest, table = (DOCS / "pictures" / "drawn-from.sha256").read_text().split()
    assert hashlib.sha256((REPOSITORY / table).read_bytes()).hexdigest() == digest


def read_prose(page: Path) -> str:
    """Return a page without its code blocks and inline code."""
    text = page.read_text(encoding="utf-8")
    for snippet in parse(text, page.name):
        text = text.replace(snippet.text, "")
    return re.sub(r"`[^`\n]*`", "code", text)


def list_anchors(page: Path) -> set[str]:
    """Return what a link may name behind `#`, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def list_links() -> Iterator[tuple[Path, str]]:
    """Yield (page, target) of every link into the repository."""
    for page in list_markdown_files():
        for target in LINK.findall(read_prose(page)):
            if "://" not in target:
                yield page, target


def read_sources() -> str:
    """Return all code that reads environment variables: the package, the kernels' runtimes, the tests' switches."""
    files = [
        path
        for room in ("moesort_tune", "hip_kernels", "tests", "scripts")
        for path in REPOSITORY.joinpath(room).rglob("*")
    ]
    suffixes = {".py", ".c", ".cpp", ".h", "", ".sh"}
    return "\n".join(
        path.read_text(encoding="utf-8", errors="ignore")
        for path in files
        if path.is_file() and path.suffix in suffixes
    )


def test_links_lead_somewhere() -> None:
    """A reader who follows a link finds the page and the heading."""
    broken = []
    for page, target in list_links():
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in list_anchors(file)):
            broken.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert not broken


def test_index_names_every_page() -> None:
    """docs/README.md is where a reader looks for a page, so it knows them all."""
    named = {target.partition("#")[0] for target in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= named


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_reason_is_explained(reason: Reason) -> None:
    """Every reason that a decision can have is in the table of reasons."""
    assert f"\n| {reason} |" in (DOCS / "runtime.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_field_of_a_table_is_explained(record: type[msgspec.Struct]) -> None:
    """Every key that a table may have is in the page on its format."""
    words = set(re.findall(r"\w+", (DOCS / "tables.md").read_text(encoding="utf-8")))
    assert {field.encode_name for field in msgspec.structs.fields(record)} <= words


def test_tables_on_the_pages_are_tables() -> None:
    """Whoever copies a table from a page has a valid one."""
    shown = [
        snippet for page in list_markdown_files() for snippet in parse(page.read_text(encoding="utf-8"), page.name)
    ]
    tables = [snippet for snippet in shown if snippet.language == "yaml" and snippet.text.startswith("schema:")]
    assert tables
    for snippet in tables:
        to_table(reader.parse(snippet.text.encode()))


def test_environment_variables_of_the_pages_exist() -> None:
    """Nobody sets a variable that a page made up or that is gone."""
    known = set(VARIABLE.findall(read_sources()))
    named = {name for page in list_markdown_files() for name in VARIABLE.findall(page.read_text(encoding="utf-8"))}
    assert named <= known


def test_environment_variables_of_the_program_are_explained() -> None:
    """Every variable that changes what the program does is in one of the two tables of variables."""
    readers = [*(REPOSITORY / "moesort_tune").rglob("*.py"), REPOSITORY / "hip_kernels/runtimes/host/settings.cpp"]
    read = {name for path in readers for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    explained = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("runtime.md", "host-runtime.md"))
    assert {name for name in read if f"| `{name}` |" not in explained} == set()


def test_nobody_is_told_to_take_the_package_from_an_index() -> None:
    """Protects readers and users from whoever may own the name there: the package is installed from a clone."""
    texts = [read_sources(), *(page.read_text(encoding="utf-8") for page in list_markdown_files())]
    assert not [line for text in texts for line in re.findall(r"pip install\b[^`\n]*\bmoesort.tune\b.*", text)]


def test_changelog_begins_with_this_version() -> None:
    """What is about to be released has an entry."""
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert first
    assert first[1] == __version__
