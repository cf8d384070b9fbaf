"""Another base: what the page counts there is what the loader finds when the payload really stands there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from benchmarks.workload import make
from records import recorded_hypervisor, single_uploads
from selenium.webdriver.common.keys import Keys

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.memory.address_space import UPPER_HALF

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.conftest import Write

SAMPLES = Path(__file__).parents[2] / "payloads"
PAGE = 4096
GIB = 1 << 30


class Case(NamedTuple):
    """A payload and the hypervisor that it is for."""

    hypervisor: Hypervisor
    data: bytes
    of_interest: int | None = None
    """A base to try in any case."""


WRAPPING = 0xFFFF82CFC0200000
"""2 GiB below the page of xen_extra_version, which is byte 0x60 of it in the model."""


def hello_and(source: str) -> bytes:
    hello = (SAMPLES / "hello.s").read_text(encoding="utf-8")
    return forge(f"{hello}\n        .text\n{source}")


def every_byte() -> bytes:
    """Return a payload whose distances to Xen differ by one byte each, over more than a page.

    Whatever page it stands on, near an edge of its window some distance is exactly the last that fits.
    """
    entries = range(PAGE + 100)
    return hello_and(
        "".join(
            f"        .long {symbol} + {5 * entry} - .\n" for symbol in ("system_state", "strlen") for entry in entries
        )
    )


def wrapping_jump() -> bytes:
    """Return a payload with a jump that, at WRAPPING, passes Xen's test of distances and still does not fit.

    The new function is byte 0x62 of the payload: 2 GiB less 2 bytes below the old one, and the jump adds its own 5.
    """
    hello = (SAMPLES / "hello.s").read_text(encoding="utf-8")
    return forge(hello.replace("        .balign 16\n        .globl", "        .zero 0x62\n        .globl"))


def cases() -> dict[str, Case]:
    model, real = Hypervisor.model(), recorded_hypervisor("4.17.7")
    recorded = {record.name: record for record in single_uploads("4.17.7")}

    def sample(name: str) -> Case:
        return Case(model, forge((SAMPLES / f"{name}.s").read_text(encoding="utf-8")))

    return {
        "hello": sample("hello"),
        "two-functions": sample("two-functions"),
        "far-data": sample("far-data"),
        "unknown-symbol": sample("unknown-symbol"),
        "every-byte": Case(model, every_byte()),
        "wrapping-jump": Case(model, wrapping_jump(), WRAPPING),
        "one-nowhere": Case(model, hello_and("        .long .Lmessage + 0x90000000 - .\n")),
        "recorded-overflow": Case(real, recorded["bad-pc32-overflow"].data),
        "many": Case(real, make(400, real).data),
    }


CASES = cases()
THE_SAME_EVERYWHERE = ("far-data",)


class Counts(NamedTuple):
    """What does not fit at a base."""

    relocations: int
    refused_jumps: int
    wrapping_jumps: int


def loaded_at(case: Case, base: int) -> Counts:
    """Count with the loader, which really puts the payload there."""
    result = Host(case.hypervisor, place=base, max_size=0).upload("payload", case.data)
    rules = [finding.rule for finding in result.findings]
    return Counts(*(rules.count(rule) for rule in ("XSP089", "XSP126", "XSP204")))


def shown(browser: Browser) -> Counts:
    count = int(browser.text("[data-testid=overflow-count]").replace(",", ""))
    words = browser.text("[data-testid=trampoline-words]")
    number = int(words.split(": ")[1].split()[0]) if " of " in words else 0
    return Counts(count, number if "too far" in words else 0, number if "astray" in words else 0)


def bases(case: Case) -> list[int]:
    """Return twenty bases: both edges of the window and a page beyond, named places, and some at random."""
    hypervisor = case.hypervisor
    result = Host(hypervisor, max_size=0).upload("payload", case.data)
    assert result.window is not None
    assert result.trace is not None
    end = -result.trace.placement.pages * PAGE % (1 << 64)
    start = result.trace.placement.base
    low = result.window.lowest or start - 2 * GIB
    high = result.window.highest or start + 2 * GIB
    areas = hypervisor.areas
    chosen = [low, low - PAGE, low + PAGE, high, high + PAGE, high - PAGE, start, hypervisor.arena_start]
    chosen += [hypervisor.arena_end - result.trace.placement.pages * PAGE, areas.named("vmap").start]
    chosen += [areas.named("directmap").start, UPPER_HALF, end]
    # Xen's own symbols lie within a few MiB, so near the edges some fit and some do not.
    random_number = random.Random(1)
    chosen += [low - random_number.randrange(1, 1000) * PAGE for _ in range(3)]
    chosen += [high + random_number.randrange(1, 1000) * PAGE for _ in range(3)]
    chosen.append(case.of_interest or random_number.randrange(UPPER_HALF, end, PAGE))
    return [base // PAGE * PAGE for base in chosen]


@pytest.mark.parametrize("name", CASES)
def test_counts_are_the_loaders_at_twenty_bases(browser: Browser, write: Write, name: str) -> None:
    case = CASES[name]
    host = Host(case.hypervisor, max_size=0)
    browser.open(write(host, [host.upload("payload", case.data)]))
    tried = bases(case)
    assert len(tried) == 20
    seen = set()
    for base in tried:
        browser.go_to(base)
        expected = loaded_at(case, base)
        assert (hex(base), shown(browser)) == (hex(base), expected)
        seen.add(expected)
    assert len(seen) > 1 or name in THE_SAME_EVERYWHERE
    assert any(counts.wrapping_jumps for counts in seen) is (name == "wrapping-jump")
    assert all(counts.relocations for counts in seen) is (name == "one-nowhere")


@pytest.mark.parametrize("name", ["hello", "many"])
def test_slider_gives_pages_and_the_loaders_count(browser: Browser, write: Write, name: str) -> None:
    case = CASES[name]
    host = Host(case.hypervisor, max_size=0)
    browser.open(write(host, [host.upload("payload", case.data)]))
    slider = browser.named("slider")
    counts = set()
    for shown_range in ("window", "arena", "all"):
        browser.click(f"label[for=place-range-{shown_range}]")
        for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.PAGE_UP, Keys.END, Keys.ARROW_LEFT):
            slider.send_keys(key)
            base = int(str(browser.named("address").get_property("value")), 16)
            assert base % PAGE == 0
            assert shown(browser) == loaded_at(case, base)
            assert hex(base) in str(slider.get_attribute("aria-valuetext"))
            counts.add(shown(browser).relocations)
    assert 0 in counts
    assert len(counts) > 1


def test_list_follows_the_slider(browser: Browser, write: Write) -> None:
    case = CASES["hello"]
    host = Host(case.hypervisor)
    result = host.upload("hello", case.data)
    browser.open(write(host, [result]))
    assert browser.all("#list .tag.bad") == []
    assert result.window is not None
    assert result.window.lowest is not None
    below = result.window.lowest - PAGE
    browser.go_to(below)
    refused = Host(case.hypervisor, place=below).upload("hello", case.data)
    expected = [str(finding.symbol) for finding in refused.findings if finding.rule == "XSP089"]
    marked = browser.run(
        "return [...document.querySelectorAll('#list .tag.bad')].map(tag => tag.previousSibling.textContent)"
    )
    assert marked == expected
    browser.click("#filter-overflow")
    assert len(browser.all("[role=option]")) == len(expected)
    browser.go_to(result.window.lowest)
    assert browser.all("[role=option]") == []


@pytest.mark.parametrize("name", ["hello", "unknown-symbol"])
def test_buttons_lead_to_the_edges(browser: Browser, write: Write, name: str) -> None:
    case = CASES[name]
    host = Host(case.hypervisor)
    result = host.upload("hello", case.data)
    browser.open(write(host, [result]))
    rows = browser.run(
        "return [...document.querySelectorAll('#compared tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    compared = {place: (base, number, "take" in verdict) for place, base, _, number, verdict in rows}
    verdicts = {}
    for button in browser.all("#places button"):
        button.click()
        base = int(str(button.get_attribute("data-base")), 16)
        fits = "Here it fits" in browser.text("[data-testid=verdict-there]")
        verdicts[button.text] = fits
        assert fits is Host(case.hypervisor, place=base).upload("hello", case.data).accepted
        assert compared[button.text] == (f"{base:#018x}", str(loaded_at(case, base).relocations), fits)
    assert verdicts["lowest that fits"] is (name == "hello")
    assert not verdicts["one page below that"]
    assert not verdicts["ordinary vmap area"]


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("nonsense", "hexadecimal"),
        ("0xffff82d040600001", "ends in 000"),
        ("0x1000", "upper half"),
        ("0xfffffffffffff000", "upper half"),
        ("0x1ffff82d0406000000", "hexadecimal"),
    ],
)
def test_what_is_no_base_is_explained(browser: Browser, write: Write, typed: str, complaint: str) -> None:
    case = CASES["hello"]
    host = Host(case.hypervisor)
    browser.open(write(host, [host.upload("hello", case.data)]))
    before = browser.text("#bar-place code")
    field = browser.named("address")
    field.clear()
    field.send_keys(typed, Keys.ENTER)
    assert complaint in browser.text("#address-problem")
    assert browser.text("#bar-place code") == before


def test_count_is_told_to_a_screen_reader(browser: Browser, write: Write) -> None:
    case = CASES["hello"]
    host = Host(case.hypervisor, vmap="default")
    result = host.upload("hello", case.data)
    browser.open(write(host, [result]))
    browser.go_to(0xFFFF82C000000000)
    script = (
        "const done = arguments[0], live = document.getElementById('count-live');"
        "const told = () => live.textContent.includes('0xffff82c000000000');"
        "const look = () => told() ? done(live.textContent) : setTimeout(look, 20); look();"
    )
    told = browser.driver.execute_async_script(script)
    assert told == f"At 0xffff82c000000000: {loaded_at(case, 0xFFFF82C000000000).relocations} overflows"
