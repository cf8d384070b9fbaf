"""WCAG 2.2 AA as far as a program can tell: axe-core on the page, light and dark, small and large."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.host.script import upload_and_apply
from xsplice_loader.host.tool import LivepatchTool

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.conftest import Write

SAMPLES = Path(__file__).parents[2] / "payloads"
MODEL = Hypervisor.model()
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = """
const done = arguments[1];
axe.run(document, {runOnly: arguments[0]}).then(found => done(found.violations.map(
    rule => `${rule.id}: ${rule.nodes.map(node => node.html.slice(0, 160) + ' ' + node.failureSummary).join(' | ')}`)),
    error => done([String(error)]));
"""


def sample(name: str) -> bytes:
    return forge((SAMPLES / f"{name}.s").read_text(encoding="utf-8"))


def violations(browser: Browser, axe: str) -> list[str]:
    browser.run(axe)
    browser.driver.set_script_timeout(120)
    found: list[str] = browser.driver.execute_async_script(CHECK, STANDARDS)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (1280, 900)], ids=["phone", "desktop"])
@pytest.mark.parametrize("vmap", ["xen", "default"])
def test_axe_finds_nothing(
    browser: Browser, write: Write, axe: str, vmap: str, size: tuple[int, int], dark: bool
) -> None:
    host = Host(MODEL, vmap=vmap)
    browser.open(write(host, [host.upload("hello", sample("hello"))]), size, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert violations(browser, axe) == []


def test_axe_finds_nothing_on_a_page_of_several(browser: Browser, write: Write, axe: str) -> None:
    host = Host(MODEL)
    tool = LivepatchTool(host, sample)
    steps = list(upload_and_apply(tool, [("base", "stack-base"), ("far", "far-data")], nodeps=False))
    browser.open(write(host, tool.uploads, steps))
    assert violations(browser, axe) == []


def test_axe_sees_what_is_wrong(browser: Browser, write: Write, axe: str) -> None:
    host = Host(MODEL)
    browser.open(write(host, [host.upload("hello", sample("hello"))]))
    browser.run(
        "document.documentElement.removeAttribute('lang');"
        "document.getElementById('slider').removeAttribute('aria-label');"
    )
    assert {found.split(":")[0] for found in violations(browser, axe)} >= {"html-has-lang", "label"}
