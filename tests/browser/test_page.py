"""The page as a reader uses it: what it says, filters, keys, colours, sizes of screens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from records import recorded_hypervisor, single_uploads
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.host.script import upload_and_apply
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.numbers import signed
from xsplice_loader.relocation.listing import list_relocations

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.conftest import Write
    from xsplice_loader import LoadResult
    from xsplice_loader.results import Relocation

SAMPLES = Path(__file__).parents[2] / "payloads"
MODEL = Hypervisor.model()
RECORDS = {record.name: record for record in single_uploads("4.17.7")}
CHOSEN = "[aria-selected=true]"
PHONE = (360, 740)
SCREENS = (PHONE, (768, 1024), (1280, 900), (2560, 1440))


def sample(name: str) -> bytes:
    return forge((SAMPLES / f"{name}.s").read_text(encoding="utf-8"))


def hello(write: Write, vmap: str = "xen") -> tuple[Path, LoadResult]:
    host = Host(MODEL, vmap=vmap)
    result = host.upload("hello", sample("hello"), file="hello.livepatch")
    return write(host, [result]), result


def items(result: LoadResult) -> list[Relocation]:
    assert result.trace is not None
    return list(list_relocations(result.trace, MODEL.release))


def test_refused_payload_says_why_and_where(browser: Browser, write: Write) -> None:
    browser.open(hello(write, "default")[0])
    assert browser.text("[data-testid=verdict]") == "hello refused"
    # The sample's own head says what real Xen logs here.
    assert browser.text("#xen-log code") == "Overflow in relocation 1 in .rela.text for .text"
    fired = browser.all("#step-list .fired")
    assert [step.get_attribute("data-stage") for step in fired] == ["relocation"]
    assert "XSP089" in fired[0].text
    states = [step.get_attribute("class") for step in browser.all("#step-list li")]
    assert states[: states.index("fired")] == ["passed"] * 6
    assert browser.text(CHOSEN).startswith("strlen")


@pytest.mark.parametrize("name", ["ok-plain", "ok-nop"])
def test_addresses_are_those_of_the_real_hypervisor(browser: Browser, write: Write, name: str) -> None:
    record = RECORDS[name]
    host = Host(recorded_hypervisor("4.17.7"))
    browser.open(write(host, [host.upload(name, record.data)]))
    assert record.placed is not None
    assert int(browser.text("#bar-place code"), 16) == int(record.placed["text_addr"], 16)
    assert browser.text("[data-testid=verdict]") == f"{name} accepted"


@pytest.mark.parametrize(("release", "before"), [("4.17.7", "prepare"), ("4.20.3", "symbols")])
def test_build_ids_are_compared_where_the_release_does(
    browser: Browser, write: Write, release: str, before: str
) -> None:
    host = Host(MODEL, release=release)
    result = host.upload("wrong", sample("wrong-xen"))
    assert result.stage == "build-id"
    browser.open(write(host, [result]))
    steps = [(step.get_attribute("data-stage"), step.get_attribute("class")) for step in browser.all("#step-list li")]
    fired = steps.index(("build-id", "fired"))
    assert steps[fired - 1] == (before, "passed")
    assert {state for _, state in steps[:fired]} == {"passed"}
    assert {state for _, state in steps[fired + 1 :]} <= {"beyond", "also"}


def test_no_step_is_marked_in_an_accepted_payload(browser: Browser, write: Write) -> None:
    browser.open(hello(write)[0])
    assert {step.get_attribute("class") for step in browser.all("#step-list li")} == {"passed"}
    assert browser.text("[data-testid=overflow-count]") == "0"


@pytest.mark.parametrize("vmap", ["xen", "default"])
def test_every_relocation_in_numbers(browser: Browser, write: Write, vmap: str) -> None:
    page, result = hello(write, vmap)
    browser.open(page)
    browser.named("list").send_keys(Keys.HOME)
    for number, item in enumerate(items(result)):
        if number:
            browser.named("list").send_keys("j")
        assert browser.attribute(CHOSEN, "data-row") == str(number)
        cells = [cell.text for cell in browser.all(".sum code")]
        assert item.value is not None
        s, p = (int(cells[0], 16), int(cells[2], 16) if len(cells) == 4 else 0)
        assert s == item.s
        assert p == (item.p if len(cells) == 4 else 0)
        total = int(cells[-1].replace("\N{MINUS SIGN}", "-"), 16)
        assert total == item.s + item.a - item.p if len(cells) == 4 else total == item.s + item.a
        fits = len(cells) != 4 or -(2**31) <= total < 2**31
        assert ("does not fit" in browser.text("#detail h3")) is not fits
        assert item.applied is fits


@pytest.mark.parametrize("base", [0xFFFF82C000201000, 0xFFFF830000000000, 0xFFFF82D040400000])
def test_bits_and_what_is_lost(browser: Browser, write: Write, base: int) -> None:
    browser.open(hello(write, "default")[0])
    browser.go_to(base)
    value = items(Host(MODEL, place=base).upload("hello", sample("hello")))[1].value
    assert value is not None
    bits = browser.run("return [...document.querySelectorAll('.bit')].map(bit => bit.textContent).join('')")
    assert int(bits, 2) == value % 2**64
    lost = browser.run(
        "return [...document.querySelectorAll('.bit')].map(bit => bit.classList.contains('lost') ? '1' : '0').join('')"
    )
    assert int(lost, 2) == (value ^ signed(value, 32)) % 2**64


def test_bytes_after_are_those_in_memory(browser: Browser, write: Write) -> None:
    page, result = hello(write)
    browser.open(page)
    assert result.image is not None
    base = result.sections[0].address
    browser.named("list").send_keys(Keys.HOME)
    for number, item in enumerate(items(result)):
        if number:
            browser.named("list").send_keys(Keys.ARROW_DOWN)
        width = 8 if item.type == "R_X86_64_64" else 4
        shown = [cell.text for cell in browser.all("#detail .byte-line:nth-child(2) .gap")]
        at = item.p - base
        assert bytes.fromhex("".join(shown)) == result.image[at : at + width]


def test_filters(browser: Browser, write: Write) -> None:
    page, result = hello(write, "default")
    browser.open(page)
    listed = items(result)

    def rows() -> list[int]:
        found: list[int] = browser.run(
            "return [...document.querySelectorAll('[role=option]')].map(row => +row.dataset.row)"
        )
        return sorted(found)

    assert rows() == list(range(len(listed)))
    browser.named("filter").send_keys("STRLEN")
    assert rows() == [number for number, item in enumerate(listed) if "strlen" in item.symbol]
    browser.named("filter").clear()
    browser.named("filter").send_keys(".livepatch.funcs")
    assert rows() == [number for number, item in enumerate(listed) if item.section == ".livepatch.funcs"]
    browser.named("filter").send_keys(" nothing is called this")
    assert rows() == []
    assert "Nothing" in browser.text("#detail")
    browser.named("filter").clear()
    browser.named("filter").send_keys(Keys.SPACE, Keys.BACKSPACE)
    Select(browser.named("filter-type")).select_by_visible_text("R_X86_64_PC32")
    assert rows() == [number for number, item in enumerate(listed) if item.type == "R_X86_64_PC32"]
    browser.click("#filter-overflow")
    refused = {finding.index for finding in result.findings if finding.rule == "XSP089"}
    assert rows() == [
        number for number, item in enumerate(listed) if item.type == "R_X86_64_PC32" and number in refused
    ]


def test_keys_step_through_the_list(browser: Browser, write: Write) -> None:
    page, result = hello(write)
    browser.open(page)
    last = len(items(result)) - 1
    keys = [
        (Keys.HOME, 0),
        ("k", 0),
        ("j", 1),
        (Keys.ARROW_DOWN, 2),
        ("k", 1),
        (Keys.ARROW_UP, 0),
        (Keys.END, last),
        ("j", last),
    ]
    for key, expected in keys:
        browser.named("list").send_keys(key)
        assert browser.attribute(CHOSEN, "data-row") == str(expected)
        assert browser.named("list").get_attribute("aria-activedescendant") == f"option-{expected}"


def test_letters_step_only_in_the_list(browser: Browser, write: Write) -> None:
    browser.open(hello(write)[0])
    before = browser.attribute(CHOSEN, "data-row")
    ActionChains(browser.driver).send_keys("jjj").perform()
    assert browser.attribute(CHOSEN, "data-row") == before


def test_skip_link_is_the_first_stop(browser: Browser, write: Write) -> None:
    browser.open(hello(write)[0])
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    link = browser.driver.switch_to.active_element
    assert (link.text, link.get_attribute("href")) == ("Skip to the content", f"{browser.driver.current_url}#main")
    assert link.rect["x"] >= 0


def luminance(browser: Browser) -> float:
    colour: list[int] = browser.run(
        "const canvas = document.createElement('canvas').getContext('2d');"
        "canvas.fillStyle = getComputedStyle(document.body).backgroundColor; canvas.fillRect(0, 0, 1, 1);"
        "return [...canvas.getImageData(0, 0, 1, 1).data]"
    )
    return sum(colour[:3]) / (3 * 255)


def test_light_and_dark(browser: Browser, write: Write) -> None:
    page = hello(write)[0]
    browser.open(page)
    assert luminance(browser) > 0.9
    seen = []
    for _ in range(3):
        browser.find("#theme").click()
        seen.append((browser.text("#theme-name"), luminance(browser) > 0.5))
    assert seen == [("light", True), ("dark", False), ("auto", True)]
    browser.open(page, dark=True)
    assert luminance(browser) < 0.2


@pytest.mark.parametrize("size", SCREENS, ids=lambda size: str(size[0]))
@pytest.mark.parametrize("vmap", ["xen", "default"])
def test_nothing_hangs_over_the_edge(browser: Browser, write: Write, size: tuple[int, int], vmap: str) -> None:
    browser.open(hello(write, vmap)[0], size)
    wide, visible = browser.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert visible == size[0]
    assert wide <= visible


def test_pictures_are_drawn_again_for_a_narrower_window(browser: Browser, write: Write) -> None:
    browser.open(hello(write)[0])
    browser.resize(PHONE)
    browser.run("window.scrollTo(0, 0)")
    widths = browser.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() =>"
        "done([...document.querySelectorAll('svg')].map(picture => picture.getBoundingClientRect().right))))"
    )
    assert len(widths) >= 3
    assert max(widths) <= PHONE[0]


@pytest.mark.parametrize("scale", ["log", "near", "whole"])
def test_areas_of_the_map_are_where_the_address_map_has_them(browser: Browser, write: Write, scale: str) -> None:
    browser.open(hello(write)[0])
    browser.click(f"label[for=map-scale-{scale}]")
    drawn = browser.run(
        "return [...document.querySelectorAll('#map .area')].map(area =>"
        "[area.textContent, +area.getAttribute('x'), +area.getAttribute('width')])"
    )
    areas = {f"{area.name} {area.start:#018x} to {area.end:#018x}": area for area in MODEL.areas.areas}
    assert {name for name, _, _ in drawn} <= set(areas)
    assert [areas[name].start for name, _, _ in drawn] == sorted(areas[name].start for name, _, _ in drawn)
    assert [x for _, x, _ in drawn] == sorted(x for _, x, _ in drawn)
    if scale == "whole":
        assert len(drawn) == len(areas)
        directmap, frames = (
            next(width for name, _, width in drawn if name.startswith(which)) for which in ("directmap", "frame")
        )
        sizes = [MODEL.areas.named(name) for name in ("directmap", "frame table")]
        ratio = (sizes[0].end - sizes[0].start) / (sizes[1].end - sizes[1].start)
        assert directmap / frames == pytest.approx(ratio, rel=0.02)


def test_payloads_one_after_the_other(browser: Browser, write: Write) -> None:
    files = {"base": sample("stack-base"), "top": sample("stack-top")}
    host = Host(MODEL)
    tool = LivepatchTool(host, lambda name: files[name])
    steps = list(upload_and_apply(tool, [("base", "base"), ("top", "top")], nodeps=False))
    browser.open(write(host, tool.uploads, steps))
    told = [item.text for item in browser.all("#timeline-list > li")]
    assert len(told) == len(steps) == 4
    assert all(step.messages for step in steps[1::2])
    for step, text in zip(steps, told, strict=True):
        assert step.command in text
        assert all(message in text.splitlines() for message in step.messages)
    # Where a function is patched its first bytes are a jump, here and in the page.
    assert [row.text for row in browser.all("#timeline-list li:nth-child(2) .bytes code")][:1] == ["e9"]
    Select(browser.find("#payload-choice")).select_by_index(1)
    assert browser.text("[data-testid=verdict]") == "top accepted"
    assert int(browser.text("#bar-place code"), 16) == tool.uploads[1].sections[0].address


def test_payload_that_was_never_placed(browser: Browser, write: Write) -> None:
    host = Host(MODEL)
    browser.open(write(host, [host.upload("short", b"\x7fELF")]))
    assert browser.text("[data-testid=verdict]") == "short refused"
    assert [step.get_attribute("data-stage") for step in browser.all(".fired")] == ["header"]
    assert not browser.find("#relocations").is_displayed()


def test_jump_on_the_page_is_the_jump_in_memory(browser: Browser, write: Write) -> None:
    page, result = hello(write)
    browser.open(page)
    shown = [cell.text for cell in browser.all(".jump .byte-line:nth-child(2) code")]
    # The sample's head gives the bytes that the function has once the patch is applied.
    assert "".join(shown).startswith("e99bcf0000")
    assert result.funcs[0].patched is not None
    assert bytes.fromhex("".join(shown)) == result.funcs[0].patched[:16]
