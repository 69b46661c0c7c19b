"""The page of `report` in a real browser, without a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.tables import store
from tests.cli.pictured import TIMES_US, write_pictured_table
from tests.opt_in import name_version, skip_or_fail

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

pytestmark = pytest.mark.browser


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> str:
    """Return the path of an installed browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        skip_or_fail("browser", "no browser is installed (apt-get install chromium)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    name_version(request.node, " ".join(version.split()[:2]))
    return found


def load(browser: str, page: Path, *options: str) -> tuple[str, list[str]]:
    """Return the document after its scripts have run, and what they and the browser complained of."""
    isolated = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    folder = f"--user-data-dir={page.parent / 'profile'}"
    command = [browser, *isolated, folder, "--enable-logging=stderr", "--virtual-time-budget=20000", *options]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    return done.stdout, re.findall(r'CONSOLE.*?\] "(.*)", source', done.stderr)


def test_browser_draws_every_curve_without_a_network(browser: str, tmp_path: Path) -> None:
    """In each row the times and the ratios of every kernel, with their points, and no error."""
    pytest.importorskip("plotly")
    table = tmp_path / "gfx942.yaml"
    write_pictured_table(table, 8, 128)
    page = tmp_path / "report.html"
    assert run(["report", str(table), "-o", str(page)]) == 0
    document, complaints = load(browser, page, "--dump-dom")
    assert complaints == []
    assert document.count('id="figure-') == len(store.load(table).tables[0].rows) == 2
    points = sum(len(times) for times in TIMES_US.values())
    assert document.count('<path class="point"') == 2 * 2 * points


def test_page_that_asks_for_more_or_fails_is_noticed(browser: str, tmp_path: Path) -> None:
    """Protects the test above: a library from elsewhere and an error in a script are both complained of."""
    page = tmp_path / "page.html"
    page.write_text(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'\">"
        '<script src="https://cdn.plot.ly/plotly.min.js"></script><script>Plotly.newPlot("x")</script>'
    )
    _, complaints = load(browser, page, "--dump-dom")
    assert any("Content Security Policy" in text for text in complaints)
    assert any("Plotly is not defined" in text for text in complaints)
