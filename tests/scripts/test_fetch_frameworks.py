"""What scripts/fetch_frameworks.py does with an index of this machine."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fetch_frameworks
import pytest
from click.testing import CliRunner
from fetch_frameworks import JSON_PAGE, Archive, FetchError

MEMBERS = {
    "frame-1.0/frame/__init__.py": "version = 1",
    "frame-1.0/frame/deep/loader.py": "def load(): ...",
    "frame-1.0/frame/kernel.so": "compiled",
    "frame-1.0/setup.py": "raise SystemExit('built')",
    "frame-1.0/frame/../../outside.py": "raise SystemExit('outside')",
}


def pack(members: dict[str, str], file: str) -> bytes:
    """Return a wheel or a source package of these files."""
    buffer = io.BytesIO()
    if file.endswith(".whl"):
        with zipfile.ZipFile(buffer, "w") as wheel:
            for name, text in members.items():
                wheel.writestr(name.removeprefix("frame-1.0/"), text)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as package:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                package.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Index:
    """A package index in this process. asked: the paths that were read."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                kind, content = index.pages.get(self.path, ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def get_address(self) -> str:
        """Return what pip calls the index's address."""
        return f"http://127.0.0.1:{self.server.server_port}/simple"

    def publish(self, file: str, *, html: bool = False) -> Archive:
        """Offer the file, and return the archive that names it."""
        content = pack(MEMBERS, file)
        self.pages[f"/files/{file}"] = ("application/octet-stream", content)
        page = f'<a href="../../files/{file}#sha256=1">{file}</a>' if html else list_in_json(file)
        self.pages["/simple/frame/"] = ("text/html" if html else JSON_PAGE, page.encode())
        digest = hashlib.sha256(content).hexdigest()
        return Archive("frame", "1.0", file, digest, root="." if file.endswith(".whl") else "frame-1.0")


def list_in_json(file: str) -> str:
    return json.dumps({"files": [{"filename": file, "url": f"../../files/{file}"}]})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Yield an index that pip is configured with."""
    index = Index()
    monkeypatch.setenv("PIP_INDEX_URL", index.get_address())
    yield index
    index.server.shutdown()
    index.server.server_close()


def test_index_is_that_of_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects machines that reach one mirror alone: the address is pip's, by variable, by file or its own default."""
    assert fetch_frameworks.find_index() == index.get_address()
    monkeypatch.delenv("PIP_INDEX_URL")
    assert "://" in fetch_frameworks.find_index()


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("file", ["frame-1.0.tar.gz", "frame-1.0-cp311-cp311-manylinux_2_34_x86_64.whl"])
def test_python_files_of_the_package_are_unpacked(index: Index, tmp_path: Path, file: str, html: bool) -> None:
    """Protects machines of tests: nothing is built, and no file lands outside its folder."""
    line = fetch_frameworks.fetch(index.publish(file, html=html), tmp_path, index.get_address)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"frame/frame/__init__.py", "frame/frame/deep/loader.py", "frame/.sha256"}
    assert (tmp_path / "frame/frame/__init__.py").read_text() == "version = 1"
    assert line == f"frame 1.0: 2 Python files in {tmp_path}/frame, from 0 MB"


def test_second_run_reads_nothing(index: Index, tmp_path: Path) -> None:
    """Protects CI's time: 86 MB are fetched once, and again only for another version."""
    archive = index.publish("frame-1.0.tar.gz")
    fetch_frameworks.fetch(archive, tmp_path, index.get_address)
    asked = len(index.asked)
    assert "already in" in fetch_frameworks.fetch(archive, tmp_path, index.get_address)
    assert len(index.asked) == asked
    (tmp_path / "frame/frame/stale.py").touch()
    fetch_frameworks.fetch(index.publish("frame-1.0-py3-none-any.whl"), tmp_path, index.get_address)
    assert not (tmp_path / "frame/frame/stale.py").exists()


def test_other_bytes_are_refused(index: Index, tmp_path: Path) -> None:
    """Protects against a file of the same name with other content: nothing of it is written."""
    archive = replace(index.publish("frame-1.0.tar.gz"), sha256="0" * 64)
    with pytest.raises(FetchError, match=f"frame-1.0.tar.gz has the SHA-256 [0-9a-f]{{64}} instead of {'0' * 64}"):
        fetch_frameworks.fetch(archive, tmp_path, index.get_address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (list_in_json("frame-2.0.tar.gz"), "frame/ has no frame-1.0.tar.gz; it has 1 other files"),
        (None, "frame/ cannot be read (Not Found); pip's configuration names the index"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    *, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str | None, words: str
) -> None:
    """Protects whoever runs it without network, or with an index that lacks a version: a sentence and status 1."""
    archive = index.publish("frame-1.0.tar.gz")
    index.pages["/simple/frame/"] = (JSON_PAGE, page.encode()) if page else ("", b"")
    monkeypatch.setattr(fetch_frameworks, "ARCHIVES", (archive,))
    result = CliRunner().invoke(fetch_frameworks.main, [str(tmp_path / "new")])
    assert result.exit_code == 1
    assert words in result.output
    assert not (tmp_path / "new").exists()
