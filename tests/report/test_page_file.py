"""The page as a file: whole, alone, and true to its own policy. What it does is tested in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge_readback import elf
from records import recorded_hypervisor, single_uploads

from xsplice_loader import Host, Hypervisor, LoadResult
from xsplice_loader.forge import forge
from xsplice_loader.report.page.columns import column
from xsplice_loader.report.page.page import page_html

SAMPLES = Path(__file__).parents[2] / "payloads"
MODEL = Hypervisor.model()


class Parts(HTMLParser):
    """The elements of a page, and the text of those that a policy speaks of."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._inside: str | None = None
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside = (attributes.get("type") or tag) if tag in ("script", "style", "title") else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.texts["application/json"])
        return found


def hello() -> tuple[Host, LoadResult]:
    host = Host(MODEL)
    return host, host.upload("hello", forge((SAMPLES / "hello.s").read_text(encoding="utf-8")))


def page() -> Parts:
    host, result = hello()
    return Parts(page_html(host, [result], []))


def test_policy_names_the_hashes_of_what_is_in_the_file() -> None:
    parts = page()
    policies = [attributes["content"] for tag, attributes in parts.elements if attributes.get("http-equiv")]
    assert len(policies) == 1
    assert policies[0] is not None
    directives = dict(directive.split(" ", 1) for directive in policies[0].split("; "))
    assert directives["default-src"] == "'none'"
    for directive, kind in (("script-src", "script"), ("style-src", "style")):
        digest = hashlib.sha256(parts.texts[kind].encode()).digest()
        assert directives[directive] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert "unsafe" not in policies[0]


def test_nothing_in_the_file_leads_out_of_it() -> None:
    for tag, attributes in page().elements:
        assert tag not in ("iframe", "object", "embed", "base", "img", "video", "audio")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,"))


def test_every_id_is_there_once_and_every_reference_leads_to_one() -> None:
    parts = page()
    ids = [attributes["id"] for _, attributes in parts.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for _, attributes in parts.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in ids
    asked_for = re.findall(r'byId\("([^"]+)"\)', parts.texts["script"])
    assert set(asked_for) <= set(ids)


def test_columns_are_the_files_own_relocations() -> None:
    (record,) = (record for record in single_uploads("4.17.7") if record.name == "ok-plain")
    host = Host(recorded_hypervisor("4.17.7"))
    parts = Parts(page_html(host, [host.upload("ok-plain", record.data)], []))
    relocations = parts.data()["traces"][0]["relocations"]

    def decoded(name: str) -> list[int]:
        found = relocations[name]
        numbers: list[int] = np.frombuffer(base64.b64decode(found["bytes"]), f"<{found['kind']}").tolist()
        return numbers

    file = elf(record.data)
    expected = []
    for section in file.iter_sections("SHT_RELA"):
        target = file.get_section(section["sh_info"])
        if target["sh_flags"] & 2:
            expected += [
                (entry["r_offset"], entry["r_info_type"], entry["r_addend"], target.name)
                for entry in section.iter_relocations()
            ]
    names = [group["section"] for group in relocations["groups"] for _ in range(group["count"])]
    assert list(zip(decoded("offset"), decoded("type"), decoded("addend"), names, strict=True)) == expected
    assert relocations["count"] == len(expected)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "u1"),
        ([0, 255], "u1"),
        ([256], "u2"),
        ([0, 1 << 16], "u4"),
        ([1 << 32], "u8"),
        ([(1 << 64) - 1], "u8"),
        ([-1, 127], "i1"),
        ([-129], "i2"),
        ([-1, 1 << 15], "i4"),
        ([-(1 << 63), (1 << 63) - 1], "i8"),
    ],
)
def test_columns_take_the_smallest_type_that_holds_them(values: list[int], kind: str) -> None:
    made = column(np.array(values, np.uint64 if min(values, default=0) >= 0 else np.int64))
    assert made["kind"] == kind
    assert np.frombuffer(base64.b64decode(made["bytes"]), f"<{kind}").tolist() == values


def test_data_cannot_end_their_element() -> None:
    host = Host(MODEL)
    name = "</script><script>alert(1)</script><!--"
    result = host.upload(name, b"nonsense", file=name)
    made = page_html(host, [result], [])
    parts = Parts(made)
    assert [tag for tag, _ in parts.elements].count("script") == 2
    assert parts.data()["load"]["payloads"][0]["name"] == name
    assert parts.texts["title"] == f"{name}: refused, {result.errno_name} at header [{result.rule}]"


def test_no_payload_is_a_page_too() -> None:
    assert Parts(page_html(Host(MODEL), [], [])).data()["load"]["payloads"] == []
