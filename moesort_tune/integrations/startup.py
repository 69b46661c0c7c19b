"""Do what the plugins do where a framework loads none: by a file of site-packages that every Python process reads.

The file does nothing unless MOESORT_TUNE_TABLE or MOESORT_TUNE_ALIGN is set, and then only looks for the import of
AITER, or of vLLM's and SGLang's modules.
"""

import functools
import os
import sysconfig
from pathlib import Path
from typing import Final

from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations import align_switch
from moesort_tune.whole_file import replace_file

NAME: Final = "moesort_tune.pth"
"""Read after the files by which editable installs are found, which begin with an underscore."""

LINE: Final = (
    'import os, importlib.util; (os.environ.get("MOESORT_TUNE_TABLE") or os.environ.get("MOESORT_TUNE_ALIGN"))'
    ' and importlib.util.find_spec("moesort_tune")'
    ' and __import__("moesort_tune.integrations.startup").integrations.startup.wait_for_frameworks()\n'
)
"""Content of the file. Python executes a line that begins with `import` (documentation of the module `site`)."""

FRAMEWORK: Final = "atom"
"""Logger whose handlers are used: ATOM's."""


class StartupError(MoesortTuneError):
    """A file that cannot be written or removed, or that is somebody else's."""


def wait_for_frameworks() -> None:
    """Do what the variables ask for, as soon as somebody imports AITER, or vLLM's or SGLang's module."""
    if os.environ.get("MOESORT_TUNE_TABLE"):
        wait_for_aiter()
    if os.environ.get(align_switch.VARIABLE):
        wait_for_alignments()


@functools.cache
def wait_for_aiter() -> None:
    """Steer AITER by the table that MOESORT_TUNE_TABLE names, as soon as somebody imports it.

    Further calls do nothing: an environment may read the file twice. Files of earlier versions call this.
    """
    from moesort_tune.integrations import plugin
    from moesort_tune.integrations.import_hook import WhenImported

    WhenImported("aiter.fused_moe", lambda _: plugin.register_aiter(FRAMEWORK)).start()


@functools.cache
def wait_for_alignments() -> None:
    """Take the alignments of vLLM and SGLang if MOESORT_TUNE_ALIGN is 1, as soon as somebody imports their module.

    Further calls do nothing.
    """
    from moesort_tune.integrations import plugin
    from moesort_tune.integrations.import_hook import WhenImported

    for package, framework in align_switch.FRAMEWORKS.items():
        take = functools.partial(lambda name, _: plugin.register_align(name), package)
        WhenImported(framework.module, take).start()


def get_path() -> Path:
    """Return where the file of this environment is."""
    return Path(sysconfig.get_paths()["purelib"]) / NAME


def is_current() -> bool:
    """Return whether the file of this environment is the one that this version writes. Raise StartupError."""
    return is_installed() and get_path().read_text() == LINE


def is_installed() -> bool:
    """Return whether this environment has the file. Raise StartupError where another one has its name."""
    path = get_path()
    try:
        content = path.read_text()
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"cannot read {path}: {error}") from error
    if "moesort_tune.integrations.startup" not in content:
        raise StartupError(
            f"{path} is not from this package; remove it, or keep it and call install() in your own code"
        )
    return True


def install() -> Path:
    """Write the file and return its path. Raise StartupError."""
    is_installed()
    path = get_path()
    try:
        replace_file(path, LINE.encode())
    except OSError as error:
        raise StartupError(
            f"cannot write {path}: {error.strerror or error}; run this as who owns the folder"
        ) from error
    return path


def uninstall() -> Path | None:
    """Remove the file and return its path, None where there is none. Raise StartupError."""
    path = get_path()
    if not is_installed():
        return None
    try:
        path.unlink()
    except OSError as error:
        raise StartupError(f"cannot remove {path}: {error.strerror or error}") from error
    return path
