"""`moesort-tune`: finds the command, runs it, and turns every failure into a sentence and an exit status.

0: success, 1: any failure, 2: bad usage or a bad value, 130: ctrl-C, 141: the reader of standard output left; as a
shell tells the last two of any program.
"""

import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from moesort_tune import __version__
from moesort_tune.cli import streams
from moesort_tune.errors import MoesortTuneError

READER_LEFT: Final = 128 + signal.SIGPIPE
"""What a shell tells of a program that wrote to a pipe which nobody reads."""


@dataclass(frozen=True)
class LazyCommand:
    """target: module:attribute, imported only when the command is called; help: its line in the list."""

    target: str
    help: str


COMMANDS: Final[dict[str, LazyCommand]] = {
    "sweep": LazyCommand("moesort_tune.cli.sweep:sweep", "Measure both kernels and write the table."),
    "show": LazyCommand("moesort_tune.cli.show:show", "Print a table, plot it, or ask it for one decision."),
    "verify": LazyCommand("moesort_tune.cli.verify:verify", "Measure what a table's choices cost."),
    "diff": LazyCommand("moesort_tune.cli.diff:diff", "Say what changed between two tables."),
    "merge": LazyCommand("moesort_tune.cli.merge:merge", "Put two tables of one architecture together."),
    "export": LazyCommand("moesort_tune.cli.export:export", "Write a table as a C++ header or as JSON."),
    "build": LazyCommand("moesort_tune.cli.build:build", "Compile the kernels ahead of time for AMD GPUs."),
    "ab": LazyCommand("moesort_tune.cli.ab:ab", "Replay a serving run's steps, once by each way to choose."),
    "doctor": LazyCommand("moesort_tune.cli.doctor:doctor", "Say what is attached, what is missing and what to do."),
}

EPILOG = """\b
Examples:
  moesort-tune sweep
  moesort-tune show tables/gfx950.yaml
  moesort-tune show --lookup 32,128,4
"""


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that the list of commands costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Names in the order of the work: measure, look, keep."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported; None for a name that is none."""
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        module, _, attribute = known.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{known.target} is not a command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raise MoesortTuneError for a broken pipe, which click takes for a closed stdout."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise MoesortTuneError(
                "the other end of a pipe is gone (Broken pipe), most likely a process that this command had started; "
                "run it again"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, from COMMANDS alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__, prog_name="moesort-tune")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Find out which mixture-of-experts sorting kernel is faster on this GPU, and decide by it at run time."""
    ctx.obj = debug


def main() -> None:
    """The program."""
    streams.prepare()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit status. Results are on stdout, the rest on stderr."""
    debug = _wants_debug(arguments)
    try:
        status = cli.main(list(arguments), prog_name="moesort-tune", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        return _told(error, debug)


def _wants_debug(arguments: Sequence[str]) -> bool:
    """Whether --debug stands before the command; asked here because a failure may come before click has parsed it."""
    before = next((index for index, argument in enumerate(arguments) if argument in COMMANDS), len(arguments))
    return "--debug" in arguments[:before]


def _told(error: Exception | KeyboardInterrupt, debug: bool) -> int:
    """Says what happened and returns the exit status."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    if isinstance(error, streams.ReaderLeftError):
        return READER_LEFT
    if isinstance(error, click.ClickException):
        error.show(file=sys.stderr)
        return error.exit_code
    print(f"Error: {_sentence(error)}", file=sys.stderr)
    return 1


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MoesortTuneError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (
        f"{type(error).__name__}: {text}; this is a fault of moesort-tune, please report it with `moesort-tune --debug`"
    )


if __name__ == "__main__":
    main()
