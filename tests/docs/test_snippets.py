"""Every shell and Python snippet of the README and the docs runs, and prints what the page says."""

import re
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY, RUN, SHOWN, Snippet, SnippetError, Story, list_pages, parse, read_snippets

CLOCK = (
    "moe_sorting_wave*=1.5+tokens*experts/1000; moe_sorting_oneshot*=2+tokens*experts/2000; moe_sorting_count*=2; "
    "moe_sorting_scatter*=2; sentinel=10"
)
"""Times in microseconds for every page that names none itself: wave and oneshot cross where tokens * experts is 1000,
oneshot and multiphase where it is 4000."""

ENVIRONMENT = {
    "MOESORT_TUNE_RUNTIME": "host",
    "MOESORT_TUNE_TABLE": "",
    "MOESORT_TUNE_ARCH": "",
    "MOESORT_TUNE_MISSES": "",
    "MOESORT_HOST_CHECK": "0",
    "MOESORT_HOST_COMPUTE_UNITS": "2",
    "MOESORT_HOST_CLOCK": CLOCK,
    "COLUMNS": "200",
    "NO_COLOR": "1",
}

SNIPPETS = [snippet for page in list_pages() for snippet in read_snippets(page)]
MARKED = [snippet for snippet in SNIPPETS if "not run" in snippet.directives]


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    """Whoever types in a page from top to bottom sees what the page promises."""
    Story(tmp_path, ENVIRONMENT).tell(read_snippets(page))


@pytest.mark.parametrize("snippet", MARKED, ids=str)
def test_snippet_that_is_not_run_says_why(snippet: Snippet) -> None:
    """What no test has run is counted, with its reason, in the summary of every test run."""
    reason = snippet.not_run
    assert reason
    pytest.skip(f"documentation: {reason}")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_snippet_names_its_language(snippet: Snippet) -> None:
    """No command escapes these tests because its block says nothing, or something else, of its language."""
    assert snippet.language in RUN | SHOWN
    assert snippet.language in RUN or not snippet.text.startswith("$ ")


def test_blocks_are_found_with_their_comments() -> None:
    """A comment belongs to the block below it and to no other; indented blocks lose their indentation."""
    text = "<!-- exits 2 -->\n\n  ```sh\n  false\n  ```\n<!-- file: a.yaml -->\nwords\n```text\n$\n```\n"
    first, second = parse(text, "a.md")
    assert (first.line, first.language, first.text, first.status) == (3, "sh", "false\n", 2)
    assert (second.language, second.directives) == ("text", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- not run -->\n```sh\nfalse\n```\n", "marked as not run without a reason"),
        ("<!-- not run: -->\n```sh\nfalse\n```\n", "marked as not run without a reason"),
        ("```sh\nfalse\ntrue\n```\n", "ended with status 1 instead of 0"),
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
        ("```console\n$ echo 12\n13\n```\n", "`echo 12` printed\n12"),
        ("```console\n$ echo 12\n12\n$ echo 1\n1 ... 2\n```\n", "`echo 1` printed\n1"),
        ("```console\nout\n```\n", "begins with output"),
        ("<!-- exits 3 -->\n```console\n$ true\n```\n", "ended with status 0 instead of 3"),
        ("<!-- exits 1 -->\n```console\n$ false\n$ true\n```\n", "ended at its command `false`"),
        ("```sh\ntrue\n", "is not closed"),
    ],
)
def test_wrong_page_is_noticed(text: str, words: str, tmp_path: Path) -> None:
    """A test of documentation that passes whatever the page says would be worth nothing."""
    story = Story(tmp_path, {})
    with pytest.raises(SnippetError, match=re.escape(words)):
        story.tell(parse(text, "a.md"))


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ export A=1\n```\n```python\nimport os\nassert os.environ['A'] == '1'\n```\n",
        "<!-- file: b/a.txt -->\n```text\none\n```\n```console\n$ cat b/a.txt\none\n```\n",
        "```console\n$ echo 2026-11-22 0123456789abcdef 'a   b'\n2027-01-01 fedcba9876543210 a b\n```\n",
        "```console\n$ echo one \\\n  two; echo three\none ...\nthree\n```\n",
        "<!-- exits 1 -->\n```console\n$ true\n$ echo reported >&2; false\nreported\n```\n",
    ],
)
def test_right_page_passes(text: str, tmp_path: Path) -> None:
    """One block goes on where the one before it ended; what changes daily is not compared; failures can be shown."""
    Story(tmp_path, {}).tell(parse(text, "a.md"))
