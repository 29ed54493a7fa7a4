"""Reports as a browser shows them."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.finding import Finding

# What only a browser knows, written into the page: errors of scripts, what was fetched, which images it could show.
_PROBE_HEAD = "<script>var failed = []; window.addEventListener('error', each => failed.push(String(each.message)));</script>"
_PROBE_BODY = """<script>window.addEventListener('load', () => {
  const finding = document.querySelector('section.finding'), box = finding.getBoundingClientRect();
  const probe = document.createElement('pre');
  const above = node => node.compareDocumentPosition(finding) & Node.DOCUMENT_POSITION_FOLLOWING;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), before = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (above(text) && text.parentElement.checkVisibility() && text.data.trim()) before.push(text.data);
  }
  probe.id = 'probe';
  probe.textContent = JSON.stringify({
    failed, before, top: box.top, height: box.height, shown: finding.checkVisibility(), text: finding.innerText,
    images: [...document.images].map(each => [each.complete, each.naturalWidth, each.checkVisibility()]),
    fetched: performance.getEntriesByType('resource').map(each => each.name).filter(name => !name.startsWith('data:')),
  });
  document.body.append(probe);
});</script>"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Chromium without a network: opens a page, gives the finished DOM and a screenshot."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed: the report was not opened in a browser")
    folder = tmp_path_factory.mktemp("chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1000"]

    def show(page: Path, *more: str) -> subprocess.CompletedProcess:
        arguments = [command, *options, f"--user-data-dir={folder}", "--enable-logging=stderr", *more, page.as_uri()]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)

    return show


@pytest.fixture
def opened(browser) -> Callable[..., None]:
    """Opens a report and checks what the browser says: the finding is the first thing seen, all images show, nothing fails."""

    def check(path: Path, finding: Finding, *, images: int) -> None:
        page = path.with_name("probed.html")
        body = path.read_text().replace("<head>", f"<head>{_PROBE_HEAD}", 1).replace("</body>", f"{_PROBE_BODY}</body>", 1)
        page.write_text(body)
        shown = browser(page, "--dump-dom")
        probe = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', shown.stdout, re.DOTALL)[1]))
        assert probe["failed"] == [] and "CONSOLE" not in shown.stderr
        assert probe["before"] == [] and probe["shown"] and 0 <= probe["top"] < 100 and probe["height"] > 100
        assert probe["text"].startswith(finding.question) and finding.answer in probe["text"]
        assert len(probe["images"]) == images
        assert all(complete and width > 200 and visible for complete, width, visible in probe["images"])
        assert probe["fetched"] == []

    return check
