"""Write docs/command-line.md from the commands themselves; with --check report whether it is current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from moesort_tune.cli.main import COMMANDS, cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "command-line.md"
PROGRAM = "moesort-tune"
WIDTH = 110

HEAD = """\
# What do the commands and their options do?

Written by `python scripts/write_cli_reference.py` from `--help`; do not edit.

Results are on stdout, everything else on stderr. Exit status: 0 success, 1 any failure (in one sentence; `--debug`
before the command shows the traceback), 2 bad usage or a bad value, 130 ctrl-C, 141 where the reader of stdout left
(`moesort-tune show | head -1`), 143 SIGTERM. A result that stdout does not take (closed, or a full disk) is a failure;
a sweep has saved its table by then, and goes on measuring where nobody reads stderr any more. Characters that an
encoding lacks are replaced; JSON is ASCII. `NO_COLOR` is respected. `-q` before a command leaves out what is no result
and no error.

**Completion** of commands, options and the values of `--arch` and `--model` is switched on by a line in the start-up
file of the shell: `eval "$(_MOESORT_TUNE_COMPLETE=bash_source moesort-tune)"` in `~/.bashrc` (bash 4.4 or newer), the
same with `zsh_source` in `~/.zshrc`, or `_MOESORT_TUNE_COMPLETE=fish_source moesort-tune | source` in fish's
`config.fish`.

Environment variables are on the pages on the [runtime](runtime.md#environment-variables) and on the
[`host` runtime](host-runtime.md#settings).
"""


def build_page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *build_sections()])


def build_sections() -> Iterator[str]:
    """Yield the program itself, then its commands in the order of the work."""
    group = click.Context(cli, info_name=PROGRAM, max_content_width=WIDTH, terminal_width=WIDTH, **cli.context_settings)
    yield build_section(PROGRAM, cli, group)
    for name in COMMANDS:
        command = cli.get_command(group, name)
        assert command is not None, name
        yield build_section(f"{PROGRAM} {name}", command, click.Context(command, info_name=name, parent=group))


def build_section(title: str, command: click.Command, context: click.Context) -> str:
    """Return a heading and the command's help."""
    return f"## {title}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


def main() -> None:
    """Write the page, or exit with 1 where --check finds that it is not current."""
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != build_page():
            sys.exit(f"{PAGE} is not what the commands say; run python scripts/write_cli_reference.py")
    elif sys.argv[1:]:
        sys.exit("usage: python scripts/write_cli_reference.py [--check]")
    else:
        PAGE.write_text(build_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
