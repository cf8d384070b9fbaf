"""All relocations in one pass: the same bytes as section by section, which real hypervisors were the judge of."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from records import RELEASES, recorded_hypervisor, single_uploads

from xsplice_loader import Hypervisor, load
from xsplice_loader.forge import forge
from xsplice_loader.relocation import relocating

if TYPE_CHECKING:
    from xsplice_loader import LoadResult

SAMPLES = Path(__file__).parents[2] / "payloads"
OVERLAPPING = """
        .text
        .type replacement, @function
replacement:
        .quad   xen_extra_version
        .quad   0
        .size replacement, . - replacement
        .section .text.second, "ax", @progbits
        .long   0
        call    xen_minor_version
        .byte   0, 0, 0, 0, 0, 0, 0
        .section .text.third, "ax", @progbits
        .quad   0
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""


def both_ways(data: bytes, hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> tuple[LoadResult, LoadResult]:
    jointly = load(data, hypervisor)
    with monkeypatch.context() as patch:
        patch.setattr(relocating, "joint_of", lambda *_: None)
        return jointly, load(data, hypervisor)


def same(one: LoadResult, other: LoadResult) -> bool:
    memory = [result.trace.image.tobytes() if result.trace is not None else None for result in (one, other)]
    said = [[(finding.rule, finding.message) for finding in result.findings] for result in (one, other)]
    return memory[0] == memory[1] and said[0] == said[1] and one.relocations == other.relocations


@pytest.mark.parametrize("release", RELEASES)
def test_recorded_payloads(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = recorded_hypervisor(release)
    for record in single_uploads(release):
        assert same(*both_ways(record.data, hypervisor, monkeypatch)), record.name


def test_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in SAMPLES.glob("*.s"):
        assert same(*both_ways(forge(path.read_text(encoding="utf-8")), Hypervisor.model(), monkeypatch)), path.name


@pytest.mark.parametrize("alignment", [0, 1 << 63])
def test_sections_that_land_on_one_another(alignment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(forge(OVERLAPPING))
    table, count = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<H", data, 0x3C)[0]
    for header in range(table, table + 64 * count, 64):
        if struct.unpack_from("<Q", data, header + 8)[0] & 4:
            struct.pack_into("<Q", data, header + 48, alignment)
    jointly, apart = both_ways(bytes(data), Hypervisor.model(), monkeypatch)
    placed = [section.address for section in jointly.sections if section.region == "text"]
    assert len(placed) == 3
    assert len(set(placed)) == 1
    assert same(jointly, apart)
