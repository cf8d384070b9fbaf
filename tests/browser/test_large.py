"""A hundred thousand relocations: all of them can be reached, few of them exist as elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.workload import make
from records import recorded_hypervisor
from selenium.webdriver.common.keys import Keys

from xsplice_loader import Host
from xsplice_loader.relocation.listing import list_relocations

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.conftest import Write

RELOCATIONS = 100_000
MOST_ELEMENTS = 60


@pytest.mark.parametrize("vmap", ["xen", "default"])
def test_a_hundred_thousand_relocations(browser: Browser, write: Write, vmap: str) -> None:
    hypervisor = recorded_hypervisor("4.17.7")
    host = Host(hypervisor, max_size=0, vmap=vmap)
    result = host.upload("many", make(RELOCATIONS, hypervisor).data)
    page = write(host, [result])
    browser.open(page)
    overflows = sum(finding.rule == "XSP089" for finding in result.findings)
    assert browser.text("[data-testid=overflow-count]") == f"{overflows:,}"
    assert browser.text("[data-testid=list-count]") == f"{RELOCATIONS:,} relocations"
    assert 0 < len(browser.all("[role=option]")) < MOST_ELEMENTS

    listing = browser.named("list")
    listing.send_keys(Keys.END)
    assert browser.attribute("[aria-selected=true]", "data-row") == str(RELOCATIONS - 1)
    assert result.trace is not None
    *_, last = list_relocations(result.trace, hypervisor.release)
    assert int(browser.text(".sum code"), 16) == last.s

    browser.run("arguments[0].scrollTop = arguments[0].scrollHeight / 2", listing)
    rows = browser.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() =>"
        "done([...document.querySelectorAll('[role=option]')].map(row => +row.dataset.row))))"
    )
    assert any(abs(row - RELOCATIONS / 2) < MOST_ELEMENTS for row in rows)
    assert len(rows) < MOST_ELEMENTS

    browser.click("#filter-overflow")
    told = browser.text("[data-testid=list-count]")
    assert told == f"{overflows:,} of {RELOCATIONS:,} relocations"
