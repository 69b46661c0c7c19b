"""Pack what the project would like back from a machine into one file: report, tables, samples.

Nothing that names a person or a machine goes in: the user's home folder becomes `~`, and the host names of samples are
numbered.
"""

import csv
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moesort_tune.device.child import make_printable
from moesort_tune.doctor.diagnosis import TableState
from moesort_tune.errors import MoesortTuneError, escape_unprintable
from moesort_tune.regular_files import NotRegularError, open_regular
from moesort_tune.sweep.samples import get_samples_path
from moesort_tune.tables import files as table_files
from moesort_tune.tables.errors import TableError, format_path
from moesort_tune.tables.reader import MAX_BYTES
from moesort_tune.whole_file import replace_file

REPORT: Final = "doctor.json"
_HOST: Final = "host"
"""Column of the samples with the machine's name."""

_SUFFIXES_OF_RESULTS: Final = (".yaml", ".yml", ".csv")
_DEEPER: Final = re.compile(r"""/[^\s/:;,="'()\[\]<>|]+\Z""")
"""The end of a text in which a path goes on: what follows is no path of its own."""

Files = dict[str, bytes]
"""Contents by name inside the bundle."""


class BundleError(MoesortTuneError):
    """Report a bundle that cannot be written."""


class _UnfitError(MoesortTuneError):
    """Report a file that cannot be packed."""


@dataclass(frozen=True)
class Contents:
    """The files of a bundle. left_out: a sentence for each file that could not be packed."""

    files: Files = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def collect_files(
    report: Mapping[str, Any], tables: Iterable[TableState], samples: Iterable[Path], homes: Iterable[Path]
) -> Contents:
    """Return the report, the tables that do not ship with their samples, and further samples.

    What cannot be read is left out, and the report says so: a bundle is wanted most where something is wrong.
    """
    hide = HomeHider(homes)
    packed, left_out = Files(), list[str]()
    for path, read in _list_readers(tables, samples):
        try:
            data = read(path)
        except (TableError, _UnfitError) as error:
            left_out.append(hide.hide_in(str(error)))
        else:
            if data is not None:
                packed[_choose_name(path.name, packed)] = hide.hide_in_bytes(data)
    noted = {**report, "left_out": left_out} if left_out else report
    text = json.dumps(hide.hide_in(noted), indent=2) + "\n"
    return Contents({REPORT: text.encode(), **packed}, left_out)


def _list_readers(
    tables: Iterable[TableState], samples: Iterable[Path]
) -> Iterator[tuple[Path, Callable[[Path], bytes | None]]]:
    """Yield each file once, with the function that reads it: a table before its samples."""
    seen: set[str] = set()
    own = [Path(table.path) for table in tables if table.origin != "shipped"]
    pairs = [pair for path in own for pair in ((path, _read_table), (get_samples_path(path), _read_samples))]
    for path, read in [*pairs, *((path, _read_samples) for path in samples)]:
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path, read


def _choose_name(name: str, taken: Files) -> str:
    """Return a name that no other file has: tables of two folders may be called alike."""
    names = (name, *(f"{number}-{name}" for number in range(2, len(taken) + 3)))
    return next(one for one in names if one not in taken and one != REPORT)


def _read_table(path: Path) -> bytes:
    """Return the bytes of a table, valid or not. Raise TableError, _UnfitError."""
    data = table_files.read(path)
    if len(data) > MAX_BYTES:
        raise _UnfitError(f"{format_path(path)} has more than the {MAX_BYTES} bytes of the longest table")
    return data


def _read_samples(path: Path) -> bytes | None:
    """Return samples without the names of hosts, None where there are none. Raise _UnfitError."""
    try:
        with open_regular(path) as file:
            return hide_hosts(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _UnfitError(f"cannot read {format_path(path)}: {error.strerror}") from error
    except csv.Error as error:
        raise _UnfitError(f"{format_path(path)} is no samples file: {error}") from error


def find_homes() -> tuple[Path, ...]:
    """Return the user's home folder as it is named and as it is without links; none where there is none."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in passwd, and no HOME
        return ()
    return (home, Path(os.path.realpath(home)))


class HomeHider:
    """Replace the home folder by `~` wherever a path is it or leads into it.

    A home of `/` is no folder of one user. Texts are matched as they are, escaped as in errors and as in JSON.
    """

    def __init__(self, homes: Iterable[Path]) -> None:
        names = {str(home) for home in homes if home.is_absolute() and home != Path(home.anchor)}
        forms = {
            form
            for name in names
            for form in (name, escape_unprintable(name), make_printable(name), json.dumps(name)[1:-1])
        }
        longest_first = sorted(forms, key=len, reverse=True)
        self._homes = re.compile(rf"(?:{'|'.join(map(re.escape, longest_first))})(?!\w|[.+@-]\w)") if forms else None

    def hide_in(self, value: Any) -> Any:
        """Return a value of JSON in whose texts, keys included, the home folder is `~`."""
        if isinstance(value, str):
            return self._homes.sub(_replace_home, value) if self._homes else value
        if isinstance(value, Mapping):
            return {self.hide_in(key): self.hide_in(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_in(item) for item in value]
        return value

    def hide_in_bytes(self, data: bytes) -> bytes:
        """Return a file's bytes in which the home folder is `~`; all others stay as they are."""
        hidden: str = self.hide_in(data.decode(errors="surrogateescape"))
        return hidden.encode(errors="surrogateescape")


def _replace_home(found: re.Match[str]) -> str:
    """Return `~`, or the text as it is where it goes on with another path: /mnt/home/alice."""
    return found[0] if _DEEPER.search(found.string[max(found.start() - 300, 0) : found.start()]) else "~"


def hide_hosts(samples: bytes) -> bytes:
    """Return samples whose host names are numbered in the order in which they appear: 'host-1', 'host-2'.

    Raise csv.Error.
    """
    text = samples.decode(errors="replace")
    usual = csv.field_size_limit(len(text) + 1)  # a torn file may have a field of any length
    try:
        return _hide_hosts(text) or samples
    finally:
        csv.field_size_limit(usual)


def _hide_hosts(samples: str) -> bytes:
    """Return the samples with numbered hosts, b'' where they have no such column."""
    reader = csv.DictReader(io.StringIO(samples, newline=""))
    columns = list(reader.fieldnames or ())
    if _HOST not in columns:
        return b""
    hosts: dict[str, str] = {"": ""}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in reader:
        host = row[_HOST] or ""
        writer.writerow(row | {_HOST: hosts.setdefault(host, f"host-{len(hosts)}")})
    return text.getvalue().encode()


def check_target(path: Path, packed: Iterable[Path]) -> bool:
    """Return whether a bundle at `path` replaces an earlier zip file.

    Raise BundleError where it would replace anything else, among it one of the files `packed`, or cannot be written.
    """
    name = format_path(path)
    if path.suffix.lower() in _SUFFIXES_OF_RESULTS:
        raise BundleError(f"{name} is the name of a table or of samples; name a file like bundle.zip")
    if os.path.realpath(path) in map(os.path.realpath, packed):
        raise BundleError(f"{name} is one of the files to be packed; name another file")
    try:
        replaced = _is_zip(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".new"):
            pass
    except (OSError, ValueError) as error:
        raise _make_write_error(path, error) from error
    if replaced is False:
        raise BundleError(f"{name} exists and is no zip file; name another file, or remove it")
    return replaced is not None


def _is_zip(path: Path) -> bool | None:
    """Return whether the file is a zip archive, None where there is no file. Raise OSError."""
    try:
        with open_regular(path) as file:
            return zipfile.is_zipfile(file)
    except FileNotFoundError:
        return None


def write_bundle(path: Path, files: Files) -> None:
    """Write the files as a zip archive, whole or not at all. Raise BundleError."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    try:
        replace_file(path, packed.getvalue())
    except (OSError, NotRegularError) as error:
        raise _make_write_error(path, error) from error


def _make_write_error(path: Path, error: Exception) -> BundleError:
    return BundleError(f"cannot write {format_path(path)}: {getattr(error, 'strerror', None) or error}")
