"""`python -m moesort_tune.integrations`: have every process of this environment steer AITER, for ATOM."""

import sys

import click

from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations import startup

EPILOG = """\b
Examples:
  python -m moesort_tune.integrations install
  python -m moesort_tune.integrations status
  python -m moesort_tune.integrations uninstall
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def integrations() -> None:
    """Switch AITER's steering on or off for frameworks that load no plugins, like ATOM.

    vLLM and SGLang load this package's plugin by themselves and do not need this.
    """


@integrations.command()
def install() -> None:
    """Write a file into site-packages by which each Python process of this environment steers AITER.

    It does so only where MOESORT_TUNE_TABLE is set and AITER is imported.
    """
    print(f"{startup.install()}: processes that set MOESORT_TUNE_TABLE and import AITER go by that table from now on")


@integrations.command()
def uninstall() -> None:
    """Remove the file."""
    path = startup.uninstall()
    print(f"removed {path}" if path else f"nothing to remove: there is no {startup.get_path()}")


@integrations.command()
def status() -> None:
    """Say whether the file is there."""
    there = "installed" if startup.is_installed() else "not installed"
    print(f"{startup.get_path()}: {there}")


if __name__ == "__main__":
    try:
        integrations(prog_name="python -m moesort_tune.integrations")
    except MoesortTuneError as error:
        sys.exit(f"error: {error}")
