"""`python -m moesort_tune.integrations`: have every process of this environment do what the plugins do, for ATOM."""

import importlib.util
import os
import sys

import click

from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations import align_switch, startup

EPILOG = """\b
Examples:
  python -m moesort_tune.integrations install
  python -m moesort_tune.integrations status
  python -m moesort_tune.integrations uninstall
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def integrations() -> None:
    """Switch the steering on or off for frameworks that load no plugins, like ATOM.

    vLLM and SGLang load this package's plugin by themselves; they need this only where a program uses their layers
    without their server.
    """


@integrations.command()
def install() -> None:
    """Write a file into site-packages by which each Python process of this environment does what the plugins do.

    It steers AITER where MOESORT_TUNE_TABLE is set and AITER is imported, and does the alignments of vLLM and SGLang
    where MOESORT_TUNE_ALIGN is 1 and they are imported.
    """
    print(f"{startup.install()}: processes that set MOESORT_TUNE_TABLE and import AITER go by that table from now on")
    print("those that set MOESORT_TUNE_ALIGN=1 and import vLLM or SGLang align by the kernels of this package")


@integrations.command()
def uninstall() -> None:
    """Remove the file."""
    path = startup.uninstall()
    print(f"removed {path}" if path else f"nothing to remove: there is no {startup.get_path()}")


@integrations.command()
def status() -> None:
    """Say whether the file is there, and what the variables of this environment ask for."""
    print(f"{startup.get_path()}: {_describe_file()}")
    print(f"MOESORT_TUNE_TABLE: {os.environ.get('MOESORT_TUNE_TABLE') or 'not set, so AITER is not steered'}")
    print(f"{align_switch.VARIABLE}: {_describe_align()}")


def _describe_file() -> str:
    if not startup.is_installed():
        return "not installed"
    return "installed" if startup.is_current() else "installed by another version of this package; install it again"


def _describe_align() -> str:
    """Return what the variable asks for, and of which frameworks that are installed."""
    if os.environ.get(align_switch.VARIABLE) != "1":
        return f"{align_switch.describe_value()}; vLLM and SGLang align by themselves"
    found = [one.title for one in align_switch.FRAMEWORKS.values() if importlib.util.find_spec(one.package)]
    return f"on, for {' and '.join(found) or 'vLLM and SGLang, of which neither is installed'}"


if __name__ == "__main__":
    try:
        integrations(prog_name="python -m moesort_tune.integrations")
    except MoesortTuneError as error:
        sys.exit(f"error: {error}")
