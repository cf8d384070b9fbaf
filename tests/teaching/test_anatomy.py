"""One relocation in numbers: A and types from readelf, P and stored values from the memory of a real Xen."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from command_line import explain, explained
from records import DATA, Record, recorded_hypervisor, single_uploads

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.numbers import signed
from xsplice_loader.teaching.anatomy import Anatomy, NeverPlacedError, NoSuchRelocationError, anatomy
from xsplice_loader.teaching.topics.cases import SMALL, load
from xsplice_loader.teaching.walk import scene_of

if TYPE_CHECKING:
    from pathlib import Path

    from forge_readback import Tool

    from xsplice_loader.teaching.scene import Scene

MODEL = files("xsplice_loader.hypervisor").joinpath("model.elf")
HYPERVISOR = DATA / "real-xen-4.17.7" / "hypervisor.elf.gz"
ACCEPTED = [
    record
    for record in single_uploads("4.17.7")
    if record.placed is not None and record.verdict == "accepted" and not record.name.startswith("odd-")
]
_ENTRY = re.compile(
    r"^([0-9a-f]{16})\s+[0-9a-f]+\s+(R_X86_64_\w+)\s+[0-9a-f]+\s+(\S+)(?: ([+-]) ([0-9a-f]+))?$", re.MULTILINE
)


class Listed(NamedTuple):
    """What `readelf -rW` says of one relocation."""

    offset: int
    type: str
    symbol: str
    addend: int


def listed(run: Tool, file: Path, section: str) -> list[Listed]:
    text = run("readelf", "-rW", str(file))
    (part,) = re.findall(rf"Relocation section '{re.escape(section)}' .*?(?=\nRelocation section|\Z)", text, re.DOTALL)
    return [
        Listed(int(offset, 16), kind, symbol, int(f"{sign or '+'}{addend or '0'}", 16))
        for offset, kind, symbol, sign, addend in _ENTRY.findall(part)
    ]


def scene_on(record: Record) -> Scene:
    host = Host(recorded_hypervisor(record.release), nops="k8")
    return scene_of(host, host.upload(record.name, record.data), record.data, ())


@pytest.mark.parametrize("record", ACCEPTED, ids=lambda record: record.name)
def test_numbers_are_those_of_readelf_and_of_a_real_xen(record: Record, run: Tool) -> None:
    scene = scene_on(record)
    placed, image = record.placed, record.image
    assert placed is not None
    assert image is not None
    base = int(placed["text_addr"], 16)
    # .text is the first section with code in all of them, and begins the region.
    if ".rela.text" not in run("readelf", "-SW", str(record.payload)):
        return
    entries = listed(run, record.payload, ".rela.text")
    assert entries
    for index, entry in enumerate(entries):
        found = anatomy(scene, ".text", index)
        assert (found.offset, found.type, found.a.value) == (entry.offset, entry.type, entry.addend)
        assert found.p.value == base + entry.offset
        assert found.of == len(entries)
        size = 8 if entry.type == "R_X86_64_64" else 4
        stored = int.from_bytes(image[entry.offset : entry.offset + size], "little")
        start = found.p.value - found.field
        assert found.after == image[start - base : start - base + len(found.after)]
        assert found.before != found.after
        if size == 4:
            assert found.value == signed(stored, 32)
            assert found.outcome == "fits"
            assert found.s.value == base + entry.offset - entry.addend + signed(stored, 32)
        else:
            assert (found.s.value + entry.addend) % (1 << 64) == stored
            assert found.outcome == "whole"


def test_s_is_where_nm_finds_it(run: Tool) -> None:
    """The model is an ELF file with a symbol table that nm reads."""
    lines = run("nm", str(MODEL)).splitlines()
    addresses = {name: int(address, 16) for address, _, name in map(str.split, lines)}
    source = SMALL + "".join(f"        .text\n        call {name}\n" for name in ("strlen", "memcpy", "do_nmi_op"))
    scene = load(source)
    for index, name in enumerate(("strlen", "memcpy", "do_nmi_op"), 3):
        found = anatomy(scene, ".text", index)
        assert (found.symbol, found.s.value, found.target) == (name, addresses[name], addresses[name])
        assert "Xen's table of symbols" in found.s.origin
        assert found.target_lies == f"Xen's image, in {name}"


def test_an_overflow_is_drawn_as_it_is() -> None:
    """`lea far(%rip), %rax`, far being 0xffff830000000000: the instruction ends at ..5b000e."""
    (record,) = (record for record in single_uploads("4.17.7") if record.name == "bad-pc32-overflow-entry2")
    found = next(entry for entry in explained("-x", HYPERVISOR, "--reloc", ".text:1", record.payload) if "s" in entry)
    value = 0xFFFF830000000000 - 4 - 0xFFFF82D0405B000A
    assert found["s"]["value"] == "0xffff830000000000"
    assert (found["value"], found["outcome"]) == (str(value), "overflows")
    assert found["overrun"] == str(value - 2**31 + 1)
    assert found["target"]["address"] == "0xffff830000000000"
    end = 0xFFFF82D0405B000E
    low = value % 2**32
    assert int(found["cut_target"]["address"], 16) == end + (low - 2**32 if low >> 31 else low)
    text = explain("-x", HYPERVISOR, "--reloc", ".text:1", record.payload).stdout
    bits = f"{value:064b}"
    grouped = " ".join(bits[start : start + 8] for start in range(0, 64, 8))
    assert f"     {grouped}\n" in text
    lost = sum(bit != bits[32] for bit in bits[:32])
    assert f"x: {lost} discarded bits" in text
    marks = next(line for line in text.splitlines() if set(line.strip()) <= set(".xs ") and "s" in line)
    assert marks.count("x") == lost
    assert marks.index("s") == text.splitlines()[text.splitlines().index(marks) - 2].index(grouped) + 4 * 9
    assert "the directmap" in text


def test_names_of_sections_and_of_tables_mean_the_same() -> None:
    scene = load(SMALL)
    assert anatomy(scene, ".rela.text", 1) == anatomy(scene, ".text", 1)
    with pytest.raises(
        NoSuchRelocationError, match=r"\.text has 3 relocations, numbered from 0 to 2; there is no number 3"
    ):
        anatomy(scene, ".text", 3)
    with pytest.raises(
        NoSuchRelocationError, match=r"no section \.data .*; there are \.text \(3\), \.livepatch\.funcs \(2\)"
    ):
        anatomy(scene, ".data", 0)


def test_a_payload_without_an_address_has_no_numbers(tmp_path: Path) -> None:
    broken = SMALL + "#! damage: section .text flags 7\n"
    with pytest.raises(NoSuchRelocationError):
        anatomy(load(broken), ".text", 0)
    with pytest.raises(NeverPlacedError):
        anatomy(load(broken), ".livepatch.funcs", 0)
    with pytest.raises(NeverPlacedError):
        anatomy(load(SMALL + "#! damage: header type 2\n"), ".text", 0)
    path = tmp_path / "never.livepatch"
    path.write_bytes(forge(broken))
    result = explain("--reloc", ".livepatch.funcs:0", path)
    assert result.exit_code == 0
    assert "XSP060" in result.stdout
    assert "nothing to calculate" in result.stdout


def entry_of(source: str, section: str, **options: Any) -> Anatomy:
    return anatomy(load(SMALL + source, **options), section, 0)


def test_where_s_comes_from() -> None:
    """Own section, section symbol, absolute, not loaded, nobody: each says so."""
    data = '        .section .rodata.x, "a", @progbits\n        .quad {target}\n'
    remarks = '        .section .remarks, "", @progbits\nremark:\n        .quad 1\n        .globl remark\n'
    cases = {
        "replacement": "replacement stands in .text, placed at ",
        "message": "the section .rodata itself, placed at ",
        "fixed": "fixed is absolute",
        "strlen": "found in Xen's table of symbols",
        "nobody": "found in no table",
        "remark": "remark stands in .remarks, which is given no address",
    }
    for target, origin in cases.items():
        extra = "        .set fixed, 0x1234\n        .globl fixed\n" if target == "fixed" else ""
        extra += "        .globl replacement\n" if target == "replacement" else ""
        extra += remarks if target == "remark" else ""
        found = entry_of(extra + data.format(target=target), ".rodata.x")
        assert origin in found.s.origin
        assert found.outcome == ("refused" if target in ("nobody", "remark") else "whole")
    assert entry_of(data.format(target="fixed") + "        .set fixed, 0x1234\n", ".rodata.x").s.value == 0x1234


def test_what_a_later_step_wrote_over_is_said() -> None:
    source = """
        .text
site:
        .zero   9, 0x90
        .section .altinstr_replacement, "ax", @progbits
other:
        call    strlen
        .section .altinstructions, "a", @progbits
        .long   site - ., other - .
        .short  93
        .byte   9, 5, 0, 0
        .section .livepatch.x, "a", @progbits
"""
    scene = load(SMALL + source)
    assert scene.result.accepted
    # The call within the replacement stays as it was relocated; no relocation is at the site.
    assert anatomy(scene, ".altinstr_replacement", 0).changed_later is False
    over = SMALL + source.replace(".zero   9, 0x90", "call    strlen\n        .zero   4, 0x90")
    scene = load(over)
    assert scene.result.accepted
    found = anatomy(scene, ".text", 3)
    assert found.symbol == "strlen"
    # Xen put the other call there: another displacement would be wrong, so it leads to the same function.
    assert found.after_text == f"callq {Hypervisor.model().symbols.address_of(b'strlen'):#x}"


def test_types_that_xen_does_not_apply() -> None:
    for number, width in ((10, 32), (24, 64), (63, 0)):
        found = entry_of(
            f'        .section .rodata.x, "a", @progbits\n        .quad 0\n        .reloc 0, {number}, strlen\n',
            ".rodata.x",
        )
        assert (found.outcome, found.width) == ("refused", width)
    nothing = entry_of(
        '        .section .rodata.x, "a", @progbits\n        .quad 0\n        .reloc 0, 0, strlen\n', ".rodata.x"
    )
    assert nothing.outcome == "nothing"
