"""The code blocks of the Markdown pages: finding them, running a page's blocks in order, comparing what they print.

A page is one story: its blocks run in one temporary folder, from the top, and what one exports the later ones see.
`console` blocks are commands after `$ ` with what they print below; `sh` (or `bash`) blocks are commands alone;
`python` blocks are programs. HTML comments before a block say what cannot be seen in it:

    <!-- not run: needs an AMD GPU -->   the block is not run, for this reason
    <!-- exits 2 -->                     its last command fails with this status
    <!-- file: example.yaml -->          its text is written into this file
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

SHELL: Final = frozenset({"console", "sh", "bash"})
RUN: Final = SHELL | {"python"}
SHOWN: Final = frozenset({"cpp", "csv", "json", "text", "toml", "yaml"})
"""Languages that are only to be read."""

LIMIT_SECONDS: Final = 120

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
_DIRECTIVE = re.compile(r"^ *<!-- (?P<name>not run|exits|file)(?P<value>\b.*?) -->\s*$")
_MARK: Final = "\x1eend of command\x1e"


class SnippetError(AssertionError):
    """A block that cannot be run, fails, or prints something else."""


@dataclass(frozen=True)
class Snippet:
    """One code block. line: of its opening fence; directives: {name: value} of the comments before it."""

    page: str
    line: int
    language: str
    text: str
    directives: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """Why the block is not run; None where it is. Raises SnippetError for a mark without a reason."""
        reason = self.directives.get("not run")
        if reason is not None and len(reason.split()) < 2:
            raise SnippetError(f"{self} is marked as not run without a reason; say what it needs")
        return reason

    @property
    def status(self) -> int:
        """Exit status that the block ends with."""
        return int(self.directives.get("exits", "0"))


@dataclass(frozen=True)
class Command:
    """A command of a console block and what it is said to print."""

    text: str
    output: str


def list_pages() -> list[Path]:
    """Return the Markdown pages whose blocks are run."""
    return [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "moesort_tune/data/tables/README.md")),
        *sorted((REPOSITORY / "docs").glob("*.md")),
    ]


def read_snippets(page: Path) -> list[Snippet]:
    """Return the blocks of a page."""
    return list(parse(page.read_text(encoding="utf-8"), str(page.relative_to(REPOSITORY))))


def parse(text: str, page: str) -> Iterator[Snippet]:
    """Yield the blocks of Markdown, in their order."""
    directives: dict[str, str] = {}
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        if directive := _DIRECTIVE.match(line):
            directives[directive["name"]] = directive["value"].lstrip(":").strip()
        elif fence := _FENCE.match(line):
            body = _read_body(lines, f"{page}:{number}")
            yield Snippet(page, number, fence["language"], body, directives)
            directives = {}
        elif line.strip():
            directives = {}


def _read_body(lines: Iterator[tuple[int, str]], where: str) -> str:
    body: list[str] = []
    for _, line in lines:
        if line.strip() == "```":
            return dedent("\n".join(body) + "\n")
        body.append(line)
    raise SnippetError(f"{where} is not closed")


def read_commands(snippet: Snippet) -> list[Command]:
    """Return the commands of a console block (a backslash continues a line), or of a sh block."""
    if snippet.language != "console":
        return [Command(snippet.text, "...")]
    commands: list[Command] = []
    open_command = False
    for line in snippet.text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:], ""))
        elif not commands:
            raise SnippetError(f"{snippet} begins with output; commands begin with '$ '")
        else:
            text, output = commands[-1].text, commands[-1].output
            commands[-1] = Command(f"{text}\n{line}", output) if open_command else Command(text, f"{output}{line}\n")
        open_command = commands[-1].output == "" and commands[-1].text.endswith("\\")
    return commands


class Story:
    """Run the blocks of one page in `folder`. environment: what they begin with, beside this process's."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder / "here"
        self._folder.mkdir()
        self._state = folder / "environment"
        self._environment = {**os.environ, **environment}
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def tell(self, snippets: Iterable[Snippet]) -> None:
        """Run blocks, up to the first that does not do what it shows. Raise SnippetError."""
        for snippet in snippets:
            self._tell(snippet)

    def _tell(self, snippet: Snippet) -> None:
        """Run a block and compare what it prints, or writes its file."""
        if snippet.not_run is not None:
            return
        if file := snippet.directives.get("file"):
            path = self._folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.text, encoding="utf-8")
        elif snippet.language == "python":
            (self._folder.parent / "snippet.py").write_text(snippet.text, encoding="utf-8")
            self._run(snippet, [f"{sys.executable} ../snippet.py"])
        elif snippet.language in SHELL:
            commands = read_commands(snippet)
            outputs = self._run(snippet, [command.text for command in commands])
            for command, output in zip(commands, outputs, strict=True):
                compare(snippet, command, output)

    def _run(self, snippet: Snippet, commands: list[str]) -> list[str]:
        """Return what each command prints."""
        before = f'[ ! -e "{self._state}" ] || . "{self._state}"'
        between = f"\nprintf '{_MARK}'\n"
        after = f'export -p > "{self._state}"'
        script = "\n".join([before, "set -e -o pipefail", *(text + between for text in commands), after])
        answer = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        if answer.returncode != snippet.status:
            raise SnippetError(
                f"{snippet} ended with status {answer.returncode} instead of {snippet.status}:\n{answer.stdout}"
            )
        outputs = answer.stdout.split(_MARK)[: len(commands)]
        if len(outputs) < len(commands):
            raise SnippetError(f"{snippet} ended at its command `{commands[len(outputs) - 1]}`:\n{answer.stdout}")
        return outputs


def compare(snippet: Snippet, command: Command, output: str) -> None:
    """Raise SnippetError where a command printed something else. `...` stands for anything; no output for any."""
    if not command.output.strip():
        return
    pattern = re.escape(strip_varying(command.output)).replace(re.escape("..."), ".*?")
    if not re.fullmatch(pattern, strip_varying(output), re.DOTALL):
        raise SnippetError(f"{snippet}: `{command.text}` printed\n{output}\ninstead of\n{command.output}")


def strip_varying(output: str) -> str:
    """Return output without what varies: dates, revisions of the kernels, spacing and rules of tables."""
    output = re.sub(r"\b\d{4}-\d{2}-\d{2}\b", "DATE", output)
    output = re.sub(r"\b[0-9a-f]{16}\b", "REVISION", output)
    output = re.sub(r"[\u2500-\u257f]+", " ", output)
    return " ".join(output.split())
