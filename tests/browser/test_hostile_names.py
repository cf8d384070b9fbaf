"""Names that would be markup, end the data, run a script or turn the direction of writing are shown, and do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.conftest import Write

MODEL = Hypervisor.model()
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=2>",
    "<!--<script>window.hacked=3",
    "\"'><svg onload=window.hacked=4>&lt;",
    "${window.hacked=5}`+$data$policy",
    "\N{RIGHT-TO-LEFT OVERRIDE}txet\N{ZERO WIDTH SPACE}\N{LINE SEPARATOR}",
)
BODY = """
        .text
        .balign 16
        .type {symbol}, @function
{symbol}:
        call    {unknown}
        lea     {local}(%rip), %rdi
        ret
        .size {symbol}, . - {symbol}
        .section {section}, "a", @progbits
{local}:
        .asciz  "text"
        .livepatch_func "xen_extra_version", {symbol}, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""


def hostile(name: str) -> bytes:
    """Return a payload in which a section, an unknown symbol and two of its own have a name of that kind."""
    raw = name.encode()
    stand_ins = {which: which[0] * (len(raw) + 1) for which in ("symbol", "unknown", "local")}
    data = forge(BODY.format(section=".rodata." + "z" * (len(raw) - 8), **stand_ins))
    for stand_in in stand_ins.values():
        data = data.replace(stand_in.encode() + b"\0", raw + stand_in[:1].encode() + b"\0")
    return data.replace(b".rodata." + b"z" * (len(raw) - 8), raw)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_inert(browser: Browser, write: Write, name: str) -> None:
    host = Host(MODEL)
    result = host.upload(name, hostile(name), file=f"{name}.livepatch")
    assert result.trace is not None, result.findings
    assert any(name in (finding.symbol or "") for finding in result.findings)
    assert any(section.name == name for section in result.sections)
    browser.open(write(host, [result]))
    assert browser.run("return window.hacked") is None
    counts = browser.run(
        "return ['script', 'img', 'svg[onload]', 'base', 'iframe'].map(tag => document.querySelectorAll(tag).length)"
    )
    assert counts == [2, 0, 0, 0, 0]
    expected = name.replace("\u202e", "\\u{202e}").replace("\u200b", "\\u{200b}").replace("\u2028", "\\u{2028}")
    assert browser.text("[data-testid=verdict]") == f"{expected} refused"
    assert expected in browser.text("#list")
    assert expected in browser.text("#loaded-figure")
    assert expected in browser.text("#finding-list")
    text = browser.run("return document.body.innerText + document.title")
    assert not set(text) & set("\u202e\u200b\u2028")
    for _ in browser.all("[role=option]"):
        browser.named("list").send_keys("j")
    assert browser.run("return window.hacked") is None


def test_policy_forbids_what_is_not_the_pages_own(browser: Browser, write: Write) -> None:
    host = Host(MODEL)
    page = write(host, [host.upload("x", hostile(HOSTILE[0]))])
    browser.open(page)
    browser.run(
        "const script = document.createElement('script'), image = document.createElement('img');"
        "script.append('window.hacked = 1'); image.src = 'https://localhost:9/'; document.body.append(script, image);"
    )
    assert browser.run("return window.hacked") is None
    refused = browser.driver.execute_async_script(
        "const done = arguments[0], image = document.createElement('img');"
        "document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));"
        "image.src = 'https://localhost:9/other'; document.body.append(image);"
    )
    assert refused == "img-src"
    assert any("Content Security Policy" in message for message in browser.errors())
    # The log tells of what was asked for and forbidden, too.
    browser.requests()
    browser.open(page)
