"""The program `moesort-tune`: finds the command, runs it, and turns every failure into a sentence and an exit status.

0: success, 1: any failure, 2: bad usage or a bad value, 130: ctrl-C, 141: the reader of standard output left, 143:
SIGTERM; the last three are those a shell reports for any program.
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
from moesort_tune.cli.interruption import InterruptedWorkError
from moesort_tune.domain.suggestions import suggest
from moesort_tune.errors import MoesortTuneError
from moesort_tune.numerals import quote

READER_LEFT: Final = 128 + signal.SIGPIPE
"""Exit status that a shell reports for a program that wrote to a pipe without a reader."""


@dataclass(frozen=True)
class LazyCommand:
    """A command by reference. target: module:attribute, imported when called; help: its line in the list."""

    target: str
    help: str


COMMANDS: Final[dict[str, LazyCommand]] = {
    "sweep": LazyCommand("moesort_tune.cli.sweep:sweep", "Measure the kernels and write the table."),
    "show": LazyCommand("moesort_tune.cli.show:show", "Print a table, plot it, or ask it for one decision."),
    "report": LazyCommand("moesort_tune.cli.report:report", "Write a table and its curves as one page for a browser."),
    "verify": LazyCommand("moesort_tune.cli.verify:verify", "Measure what a table's choices cost."),
    "diff": LazyCommand("moesort_tune.cli.diff:diff", "Say what changed between two tables."),
    "compare": LazyCommand("moesort_tune.cli.compare:compare", "Say at which points two sweeps took another time."),
    "merge": LazyCommand("moesort_tune.cli.merge:merge", "Put two tables of one architecture together."),
    "export": LazyCommand("moesort_tune.cli.export:export", "Write a table as a C++ header or as JSON."),
    "build": LazyCommand("moesort_tune.cli.build:build", "Compile the kernels ahead of time for AMD GPUs."),
    "ab": LazyCommand("moesort_tune.cli.ab:ab", "Replay a serving run's steps, once by each way to choose."),
    "models": LazyCommand("moesort_tune.cli.models:models", "List the models that --model takes, and their shapes."),
    "audit": LazyCommand("moesort_tune.cli.audit:audit", "Prove that serving processes go by a table."),
    "doctor": LazyCommand("moesort_tune.cli.doctor:doctor", "Report what is attached, what is missing and the remedy."),
}

EPILOG = """\b
Examples:
  moesort-tune sweep
  moesort-tune show tables/gfx950.yaml
  moesort-tune show --lookup 32,128,4

\b
Completion of commands, options, --arch and --model, in bash (zsh and fish: zsh_source, fish_source):
  eval "$(_MOESORT_TUNE_COMPLETE=bash_source moesort-tune)"
"""


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that the list of commands costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names in the order of the work: measure, look, keep."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command; None for an unknown name."""
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        module, _, attribute = known.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{known.target} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with; of an unknown one say which names are close."""
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"No such command {quote(args[0])}; {suggest(args[0].lower(), COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raise MoesortTuneError for a broken pipe, which click mistakes for a closed stdout.

        Raise click.UsageError for an option of the program behind the command.
        """
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if any(error.option_name in option.opts for option in self.params):
                raise click.UsageError(_place_option(error), error.ctx) from error
            raise
        except BrokenPipeError as error:
            raise MoesortTuneError(
                "the other end of a pipe is gone (Broken pipe), most likely a process that this command started; "
                "run it again"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, from COMMANDS alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


def _place_option(error: click.NoSuchOption) -> str:
    """Say where an option of the program goes that stands behind a command."""
    command = error.ctx.info_name if error.ctx else "COMMAND"
    return f"{error.option_name} goes before the command: moesort-tune {error.option_name} {command}"


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors alone: no progress, remarks or warnings.")
@click.version_option(__version__, "-V", "--version", prog_name="moesort-tune")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Find out which mixture-of-experts sorting kernel is fastest on this GPU, and decide by it at run time."""
    ctx.obj = debug
    if quiet:
        ctx.with_resource(streams.discard_remarks())


def main() -> None:
    """Run the program and exit."""
    streams.prepare()
    signal.signal(signal.SIGTERM, _exit_when_terminated)
    sys.exit(run(sys.argv[1:]))


def _exit_when_terminated(number: int, _frame: object) -> None:
    """End as ctrl-C does, so that processes and files are cleaned up: a batch system stops a job by this signal."""
    sys.exit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. Results are on stdout, the rest on stderr."""
    debug = _wants_debug(arguments)
    try:
        status = cli.main(list(arguments), prog_name="moesort-tune", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        return _report_failure(error, debug)


def _wants_debug(arguments: Sequence[str]) -> bool:
    """Return whether --debug precedes the command; click may fail before it has parsed the option."""
    before = next((index for index, argument in enumerate(arguments) if argument in COMMANDS), len(arguments))
    return "--debug" in arguments[:before]


def _report_failure(error: Exception | KeyboardInterrupt, debug: bool) -> int:
    """Print the failure and return the exit status."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        print(_format_interruption(error), file=sys.stderr)
        return 130
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    if isinstance(error, streams.ReaderLeftError):
        return READER_LEFT
    if isinstance(error, click.ClickException):
        error.show(file=sys.stderr)
        return error.exit_code
    print(f"Error: {_format_failure(error)}", file=sys.stderr)
    return 1


def _format_interruption(error: click.Abort | KeyboardInterrupt) -> str:
    """Return that the program was interrupted, and what the command says of it, which click puts into the cause."""
    said = error.__cause__ if isinstance(error, click.Abort) else error
    return f"interrupted; {said}" if isinstance(said, InterruptedWorkError) else "interrupted"


def _format_failure(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MoesortTuneError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (
        f"{type(error).__name__}: {text}; this is a bug in moesort-tune, please report it with the output of "
        "`moesort-tune --debug`"
    )


if __name__ == "__main__":
    main()
