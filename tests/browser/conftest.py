"""A browser for all tests, and pages for it. No page may say anything on the console, or ask for anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from known_hypervisors import missing

from browser.chromium import Browser, NoBrowserError, installed, start
from xsplice_loader.report.page.page import page_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xsplice_loader import Host, LoadResult
    from xsplice_loader.results import Step

    Write = Callable[..., Path]


@pytest.fixture(scope="session")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        chromium, driver = installed()
    except NoBrowserError as error:
        missing(str(error))
    browser = start(chromium, driver, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(running_browser: Browser) -> Iterator[Browser]:
    """Return the browser; afterwards the page must have kept to itself."""
    running_browser.driver.get("about:blank")
    running_browser.errors()
    running_browser.requests()
    yield running_browser
    assert running_browser.errors() == []
    requests = running_browser.requests()
    # The page itself is among them, so that an empty log would be seen.
    assert any(url.startswith("file:") and url.endswith(".html") for url in requests)
    elsewhere = [
        url for url in requests if not url.startswith("data:") and not re.fullmatch(r"file:///.*/page-\d+\.html", url)
    ]
    assert elsewhere == []


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a page and gives its path."""
    written = 0

    def page(host: Host, results: Sequence[LoadResult], steps: Sequence[Step] = ()) -> Path:
        nonlocal written
        written += 1
        path = tmp_path / f"page-{written}.html"
        path.write_bytes(page_html(host, results, steps))
        return path

    return page


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the accessibility checker, as scripts/fetch-axe fetches it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    script = cache / "xsplice-loader" / "axe-core" / "axe.min.js"
    if not script.is_file():
        missing(f"{script} is not there; scripts/fetch-axe fetches it")
    return script.read_text(encoding="utf-8")
