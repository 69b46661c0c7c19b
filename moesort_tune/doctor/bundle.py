"""Pack what the project would like back from a machine into one file: report, tables, samples.

Nothing that names a person or a machine goes in: the user's home folder becomes `~`, and the host names of samples are
numbered.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from moesort_tune.doctor.diagnosis import TableState
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import NotRegularError
from moesort_tune.sweep.samples import get_samples_path
from moesort_tune.tables.errors import format_path
from moesort_tune.whole_file import replace_file

REPORT: Final = "doctor.json"
_HOST: Final = "host"
"""Column of the samples with the machine's name."""

Files = dict[str, bytes]
"""Contents by name inside the bundle."""


class BundleError(MoesortTuneError):
    """Report a file that cannot be read into a bundle, or a bundle that cannot be written."""


def collect_files(report: Mapping[str, Any], tables: Iterable[TableState], home: Path) -> Files:
    """Return the files of a bundle: the report, and tables that do not ship, with their samples. Raise BundleError."""
    files = {REPORT: hide_home(json.dumps(report, indent=2).encode() + b"\n", home)}
    for table in tables:
        if table.origin != "shipped":
            for name, data in _read_table(Path(table.path)):
                files[_choose_name(name, files)] = hide_home(data, home)
    return files


def _choose_name(name: str, taken: Files) -> str:
    """Return a name that no other file has: tables of two folders may be called alike."""
    names = (name, *(f"{number}-{name}" for number in range(2, len(taken) + 3)))
    return next(one for one in names if one not in taken)


def _read_table(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a table and, if there are any, its samples, each with its name."""
    yield path.name, _read(path)
    samples = get_samples_path(path)
    if samples.exists():
        yield samples.name, hide_hosts(_read(samples))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {format_path(path)}: {error.strerror}") from error


def hide_home(data: bytes, home: Path) -> bytes:
    """Return text in which the user's home folder is `~`. A home of `/` is no folder of one user."""
    return data if home == Path(home.anchor) else data.replace(str(home).encode(errors="surrogateescape"), b"~")


def hide_hosts(samples: bytes) -> bytes:
    """Return samples whose host names are numbered in the order in which they appear: 'host-1', 'host-2'."""
    reader = csv.DictReader(io.StringIO(samples.decode(errors="replace"), newline=""))
    columns = list(reader.fieldnames or ())
    if _HOST not in columns:
        return samples
    hosts: dict[str, str] = {"": ""}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in reader:
        host = row[_HOST] or ""
        writer.writerow(row | {_HOST: hosts.setdefault(host, f"host-{len(hosts)}")})
    return text.getvalue().encode()


def write_bundle(path: Path, files: Files) -> None:
    """Write the files as a zip archive, whole or not at all. Raise BundleError."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    try:
        replace_file(path, packed.getvalue())
    except (OSError, NotRegularError) as error:
        raise BundleError(f"cannot write {format_path(path)}: {getattr(error, 'strerror', None) or error}") from error
