"""What a notebook shows of a result: markup that is whole, names that are inert, and the facts."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from records import recorded_hypervisor, single_uploads

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.report.page.notebook import reach_svg

SAMPLES = Path(__file__).parents[2] / "payloads"
MODEL = Hypervisor.model()
RECORDS = {record.name: record for record in single_uploads("4.17.7")}


def tree(fragment: str) -> ET.Element:
    """Parse a fragment as XML, which forgives nothing that is left open or unescaped."""
    return ET.fromstring(fragment)


def text(fragment: str) -> str:
    return " ".join(tree(fragment).itertext())


@pytest.mark.parametrize("name", ["ok-plain", "bad-pc32-overflow", "bad-magic"])
def test_verdict_is_that_of_the_real_hypervisor(name: str) -> None:
    record = RECORDS[name]
    shown = text(Host(recorded_hypervisor("4.17.7")).upload(name, record.data)._repr_html_())
    assert record.verdict in shown
    assert (record.log or "") in shown
    assert record.errno is None or f"({record.errno})" in shown


def test_overflow_has_a_bar_with_its_target_beyond() -> None:
    result = Host(MODEL, vmap="default").upload("hello", forge((SAMPLES / "hello.s").read_text(encoding="utf-8")))
    shown = tree(result._repr_html_())
    labels = [picture.get("aria-label") for picture in shown.iter("svg")]
    values = [finding.value for finding in result.findings if finding.value is not None]
    # 65 GiB is what the sample's own head says.
    assert labels == [f"65.0 GiB {'up' if value > 0 else 'down'}, out of reach" for value in values]
    assert len(values) == 3


@pytest.mark.parametrize(
    ("value", "beyond"),
    [(0, False), ((1 << 31) - 1, False), (1 << 31, True), (-(1 << 31), False), (-(1 << 31) - 1, True)],
)
def test_bar_is_as_long_as_32_bits_reach(value: int, beyond: bool) -> None:
    picture = tree(reach_svg(value))
    bar, dot = picture.find("rect"), picture.find("circle")
    assert bar is not None
    assert dot is not None
    start, width = (float(bar.get(key, "")) for key in ("x", "width"))
    centre = float(dot.get("cx", ""))
    assert (not start <= centre <= start + width) is beyond


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'&<b>", "\N{RIGHT-TO-LEFT OVERRIDE}x"])
def test_names_are_inert(name: str) -> None:
    result = Host(MODEL).upload(name, b"nonsense", file=name)
    shown = tree(result._repr_html_())
    assert {element.tag for element in shown.iter()}.isdisjoint({"script"})
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in "".join(shown.itertext())
    first = shown.find("p/b")
    assert first is not None
    assert first.text == name.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")
