"""Draw docs/pictures: `show` on terminals of three widths, `show --plot` and `report`, all of the shipped table.

Needs the extras plot and report, and Debian's chromium. drawn-from.sha256 holds the table's digest, in the form of
sha256sum, so that a test notices when the table is another one.
"""

import fcntl
import hashlib
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
TABLE = "moesort_tune/data/tables/sm_90.yaml"
WIDTHS = (80, 100, 160)
PROGRAM = [sys.executable, "-m", "moesort_tune"]
MODEL = ("--model", "gpt-oss-120b")

PAGE = (
    "<html><head><meta charset='utf-8'><style>body {{margin: 12px; background: {background}; color: {foreground}}}"
    " pre {{font: 14px/1.3 'DejaVu Sans Mono', monospace; margin: 0}} {stylesheet}</style></head>"
    "<body><pre>{code}</pre></body></html>"
)


def run_in_terminal(columns: int, *arguments: str) -> str:
    """Return what the program prints on a pseudo-terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"TERM": "xterm-256color"}
    process = subprocess.Popen([*PROGRAM, *arguments], stdin=theirs, stdout=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65536):
            printed += part
    except OSError:  # the way in which Linux says that the other end is closed
        pass
    if process.wait():
        sys.exit(f"{arguments} ended with {process.returncode}")
    return printed.decode().replace("\r", "")


def take_screenshot(page: Path, picture: Path, width: int, height: int) -> None:
    """Draw a page as a browser shows it."""
    browser = shutil.which("chromium") or sys.exit("chromium is not installed; apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=60000"]
    size = f"--window-size={width},{height}"
    command = [browser, *options, size, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)


def draw_terminal(columns: int, folder: Path) -> None:
    """Draw what `show` prints on a terminal of so many columns."""
    shown = run_in_terminal(columns, "show", TABLE, *MODEL, "--model", "deepseek-v3")
    first_entry = "\n\nNVIDIA".join(shown.split("\n\nNVIDIA")[:2])
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text.from_ansi(first_entry), soft_wrap=True)
    page = folder / f"{columns}.html"
    page.write_text(console.export_html(code_format=PAGE), encoding="utf-8")
    lines = first_entry.count("\n") + 1
    take_screenshot(page, PICTURES / f"show-{columns}.png", round(columns * 8.43) + 24, lines * 18 + 30)


def main() -> None:
    """Draw all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for columns in WIDTHS:
            draw_terminal(columns, folder)
        plot, page = PICTURES / "plot.png", folder / "report.html"
        for arguments in (
            ["show", TABLE, *MODEL, "--plot", str(plot)],
            ["report", TABLE, *MODEL, "-o", str(page)],
        ):
            subprocess.run([*PROGRAM, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        take_screenshot(page, PICTURES / "report.png", 1250, 1060)
    digest = hashlib.sha256((ROOT / TABLE).read_bytes()).hexdigest()
    (PICTURES / "drawn-from.sha256").write_text(f"{digest}  {TABLE}\n")


if __name__ == "__main__":
    main()
