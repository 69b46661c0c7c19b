"""Fetch the Python files of vLLM and SGLang, in the versions that the tests know, without building or installing them.

    python scripts/fetch_frameworks.py [FOLDER]        default build/frameworks
    MOESORT_TEST_FRAMEWORKS=build/frameworks make test

The files come from the package index that pip is configured with, by name and hash. What is there already is kept.
"""

import functools
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Final

import click

TIMEOUT_S: Final = 180

STAMP: Final = ".sha256"
"""File in an unpacked folder: the hash of the archive that it is from, written last."""

JSON_PAGE: Final = "application/vnd.pypi.simple.v1+json"
ACCEPT: Final = f"{JSON_PAGE}, text/html;q=0.5"


class FetchError(click.ClickException):
    """A file that cannot be had, or is another one."""


@dataclass(frozen=True)
class Archive:
    """A published file. root: folder inside it that holds the package."""

    project: str
    version: str
    file: str
    sha256: str
    root: str = "."


ARCHIVES: Final = (
    Archive(
        project="vllm",
        version="0.33.0",
        file="vllm-0.33.0.tar.gz",
        sha256="f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112",
        root="vllm-0.33.0",
    ),
    Archive(  # SGLang publishes no source package; of its wheels only the compiled files differ
        project="sglang",
        version="0.5.23",
        file="sglang-0.5.23-cp311-cp311-manylinux_2_34_x86_64.whl",
        sha256="00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937",
    ),
)


def find_index() -> str:
    """Return the address of the index that pip would use, from the default that its help names."""
    command = [sys.executable, "-m", "pip", "download", "--help"]
    wide = {**os.environ, "COLUMNS": "10000"}  # so that the help breaks no line
    help_text = subprocess.run(command, env=wide, capture_output=True, text=True, check=False).stdout
    found = re.search(r"--index-url\s.*?\(default:?\s+(\S+?)\)", help_text, re.DOTALL)
    if found is None:
        raise FetchError("pip does not say which index it uses; set PIP_INDEX_URL")
    return found[1].rstrip("/")


def read(address: str) -> tuple[str, bytes]:
    """Return the type and the bytes of a file at an address."""
    try:
        request = urllib.request.Request(address, headers={"Accept": ACCEPT})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return str(answer.headers.get_content_type()), answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FetchError(f"{address} cannot be read ({reason}); pip's configuration names the index") from error


class _Links(HTMLParser):
    """The links of an index's page by the file's name."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if tag == "a" and address:
            path = urllib.parse.urlsplit(address).path
            self.addresses[urllib.parse.unquote(PurePosixPath(path).name)] = address.partition("#")[0]


def list_addresses(kind: str, page: bytes) -> dict[str, str]:
    """Return the addresses on an index's page by the file's name."""
    if kind == JSON_PAGE:
        return {file["filename"]: file["url"] for file in json.loads(page)["files"]}
    links = _Links()
    links.feed(page.decode())
    return links.addresses


def download(archive: Archive, index: str) -> bytes:
    """Return the archive's bytes. Raise FetchError if the index does not have it, or has another of its name."""
    page_address = f"{index}/{archive.project}/"
    addresses = list_addresses(*read(page_address))
    if archive.file not in addresses:
        raise FetchError(f"{page_address} has no {archive.file}; it has {len(addresses)} other files")
    _, content = read(urllib.parse.urljoin(page_address, addresses[archive.file]))
    digest = hashlib.sha256(content).hexdigest()
    if digest != archive.sha256:
        raise FetchError(f"{archive.file} has the SHA-256 {digest} instead of {archive.sha256}; it is not used")
    return content


def list_members(file: str, content: bytes) -> Iterable[tuple[str, bytes]]:
    """Yield path and content of each Python file in a wheel or source package."""
    if file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if name.endswith(".py"))
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as package:
            for member in package:
                if member.isfile() and member.name.endswith(".py"):
                    yield member.name, package.extractfile(member).read()  # type: ignore[union-attr] # a regular file


def unpack(archive: Archive, content: bytes, folder: Path) -> int:
    """Write the package's Python files below `folder`, and return their number."""
    count = 0
    for name, text in list_members(archive.file, content):
        path = PurePosixPath(name)
        if not path.is_relative_to(PurePosixPath(archive.root) / archive.project) or ".." in path.parts:
            continue
        target = folder / path.relative_to(archive.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
        count += 1
    if not count:
        raise FetchError(f"{archive.file} has no Python file in {archive.root}/{archive.project}")
    return count


def fetch(archive: Archive, folder: Path, find: Callable[[], str]) -> str:
    """Have the archive's Python files in `folder`/project, and return the line to print. find: asks for the index."""
    target = folder / archive.project
    stamp = target / STAMP
    title = f"{archive.project} {archive.version}"
    if stamp.is_file() and stamp.read_text() == archive.sha256:
        return f"{title}: already in {target}"
    content = download(archive, find())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        new = Path(work) / archive.project
        count = unpack(archive, content, new)
        (new / STAMP).write_text(archive.sha256)
        if target.exists():
            shutil.rmtree(target)
        new.rename(target)
    return f"{title}: {count} Python files in {target}, from {len(content) / 1e6:.0f} MB"


@click.command()
@click.argument("folder", default="build/frameworks", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Fetch vLLM and SGLang into FOLDER."""
    find = functools.cache(find_index)
    for archive in ARCHIVES:
        click.echo(f"{archive.project} {archive.version} ...", err=True)
        click.echo(fetch(archive, folder, find))


if __name__ == "__main__":
    main()
