"""The forge's files read back by pyelftools, readelf and capstone."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import capstone
import pytest
from forge_readback import elf, relas, symbol
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader.forge import ForgeError, forge
from xsplice_loader.forge import elf as numbers
from xsplice_loader.forge.object_file import ObjectFile, Relocation, Section, Symbol

if TYPE_CHECKING:
    from pathlib import Path

    from forge_readback import Tool

names = st.text(alphabet="abcdefgh._", min_size=1, max_size=8)


@st.composite
def object_files(draw: st.DrawFn) -> ObjectFile:
    sections = draw(
        st.lists(
            st.builds(
                Section,
                name=names,
                flags=st.integers(0, 7),
                alignment=st.sampled_from([0, 1, 2, 8, 64, 4096, 1 << 20]),
                data=st.binary(max_size=40),
            ),
            min_size=1,
            max_size=5,
        )
    )
    symbols = draw(
        st.lists(
            st.builds(
                Symbol,
                name=names,
                value=st.integers(0, (1 << 64) - 1),
                section=st.sampled_from([0, 1, len(sections), numbers.SHN_ABS, numbers.SHN_COMMON]),
                binding=st.sampled_from([0, 1, 2]),
                type=st.sampled_from([0, 1, 2]),
                size=st.integers(0, (1 << 64) - 1),
            ),
            max_size=6,
        )
    )
    relocations = draw(
        st.lists(
            st.builds(
                Relocation,
                section=st.integers(1, len(sections)),
                offset=st.integers(0, (1 << 64) - 1),
                type=st.integers(0, (1 << 32) - 1),
                symbol=st.one_of(st.none(), *([st.integers(0, len(symbols) - 1)] if symbols else [])),
                addend=st.integers(-(1 << 63), (1 << 63) - 1),
            ),
            max_size=6,
        )
    )
    return ObjectFile(tuple(sections), tuple(symbols), tuple(relocations))


@settings(max_examples=80, deadline=None)
@given(object_files())
def test_what_is_written_is_read_back(file: ObjectFile) -> None:
    data = file.write()
    assert data == file.write()
    read = elf(data)
    for index, section in enumerate(file.sections, 1):
        found = read.get_section(index)
        assert found.name == section.name
        assert (found["sh_flags"], found["sh_addralign"]) == (section.flags, section.alignment)
        assert data[found["sh_offset"] :][: found["sh_size"]] == section.data
    table = read.get_section_by_name(".symtab")
    written = [symbol.name for symbol in file.symbols]
    local = [s.name for s in file.symbols if s.binding == numbers.STB_LOCAL]
    read_names = [symbol.name for symbol in table.iter_symbols()]
    assert sorted(read_names) == sorted(["", *written])
    assert read_names[1 : table["sh_info"]] == local
    entries = []
    for section in read.iter_sections():
        if section["sh_type"] == "SHT_RELA":
            entries += [(section["sh_info"], *struct_of(entry, table)) for entry in section.iter_relocations()]
    expected = [
        (r.section, r.offset, r.type, "" if r.symbol is None else written[r.symbol], r.addend) for r in file.relocations
    ]
    assert sorted(entries) == sorted(expected)


def struct_of(entry: Any, table: Any) -> tuple[int, int, str, int]:
    name = table.get_symbol(entry["r_info_sym"]).name
    return entry["r_offset"], entry["r_info_type"], name, entry["r_addend"]


LIVEPATCH = """
        .text
        .globl replacement
        .type replacement, @function
replacement:
        ret
        nop
        .size replacement, 2
        .livepatch_func "first", replacement, 12
        .livepatch_expect 488d05
        .livepatch_func "second", 0, 40, 0xffff82d040200000, 20
        .livepatch_func "third", replacement, 12, third_place, 7, 3
        .livepatch_depends xen
        .livepatch_xen_depends 0x0102
        .build_id sha1
"""


def test_a_function_table_has_the_layout_of_xen_s_header() -> None:
    data = forge(LIVEPATCH)
    table = elf(data).get_section_by_name(".livepatch.funcs")
    assert table["sh_size"] == 3 * 104
    # name, new_addr, old_addr, new_size, old_size, version, reserved, expectation flags, expectation
    layout = struct.Struct("<QQQIIB39xB31s")
    assert layout.size == 104
    first, second, third = layout.iter_unpack(table.data())
    assert first == (0, 0, 0, 2, 12, 2, 3 << 1 | 1, bytes.fromhex("488d05").ljust(31, b"\0"))
    assert second == (0, 0, 0xFFFF82D040200000, 20, 40, 2, 0, bytes(31))
    assert third == (0, 0, 0, 7, 12, 3, 0, bytes(31))
    assert elf(data).get_section_by_name(".rodata.str").data() == b"first\0second\0third\0"
    assert relas(data, ".livepatch.funcs") == [
        (0, "R_X86_64_64", ".rodata.str", 0),
        (8, "R_X86_64_64", "replacement", 0),
        (104, "R_X86_64_64", ".rodata.str", 6),
        (208, "R_X86_64_64", ".rodata.str", 13),
        (216, "R_X86_64_64", "replacement", 0),
        (224, "R_X86_64_64", "third_place", 0),
    ]


def test_version_1_makes_an_entry_of_64_bytes() -> None:
    data = forge('f: ret\n.livepatch_func "old", f, 12, 0, 1, 1')
    table = elf(data).get_section_by_name(".livepatch.funcs")
    assert (table["sh_size"], table.data()[32]) == (64, 1)


def notes(data: bytes, section: str) -> tuple[str, str, str]:
    (note,) = elf(data).get_section_by_name(section).iter_notes()
    return note["n_name"], note["n_type"], note["n_desc"]


def test_build_ids_are_notes_of_the_gnu_kind() -> None:
    data = forge(LIVEPATCH, xen_build_id=bytes(range(20)))
    assert notes(data, ".livepatch.depends") == ("GNU", "NT_GNU_BUILD_ID", bytes(range(20)).hex())
    assert notes(data, ".livepatch.xen_depends") == ("GNU", "NT_GNU_BUILD_ID", "0102")
    name, kind, own = notes(data, ".note.gnu.build-id")
    assert (name, kind) == ("GNU", "NT_GNU_BUILD_ID")
    blank = data.replace(bytes.fromhex(own), bytes(20))
    assert own == hashlib.sha1(blank, usedforsecurity=False).hexdigest()
    assert notes(forge(LIVEPATCH), ".livepatch.depends")[2] == b"xsplice model 4.17.7".hex()


def test_two_different_payloads_have_different_build_ids() -> None:
    other = LIVEPATCH.replace("12", "13")
    assert notes(forge(LIVEPATCH), ".note.gnu.build-id") != notes(forge(other), ".note.gnu.build-id")


@settings(max_examples=40, deadline=None)
@given(
    before=st.integers(0, 300),
    mnemonic=st.sampled_from(["call", "jmp", "je", "jg", "js"]),
    back=st.booleans(),
)
def test_a_forged_branch_decodes_to_its_target(before: int, mnemonic: str, back: bool) -> None:
    source = (
        f".zero 7\nf: ret\n.zero {before}\nhere: {mnemonic} f"
        if back
        else (f"here: {mnemonic} f\n.zero {before}\nf: ret")
    )
    data = forge(source)
    start, target = symbol(data, "here")["st_value"], symbol(data, "f")["st_value"]
    code = elf(data).get_section_by_name(".text").data()[start : start + 6]
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoded = next(iter(decoder.disasm(code, start)))
    assert (decoded.mnemonic, int(decoded.op_str, 16)) == (mnemonic, target)


def test_an_absolute_symbol_is_not_folded() -> None:
    data = forge(".set far, 0xffff830000000000\nlea far(%rip), %rax\n.quad far\n.long far - .")
    assert relas(data, ".text") == [
        (3, "R_X86_64_PC32", "far", -4),
        (7, "R_X86_64_64", "far", 0),
        (15, "R_X86_64_PC32", "far", 0),
    ]
    assert symbol(data, "far")["st_shndx"] == "SHN_ABS"
    assert symbol(data, "far")["st_value"] == 0xFFFF830000000000


def test_reloc_takes_any_type_and_the_null_symbol() -> None:
    data = forge(".quad 0\n.reloc 0, 0x12345, 0\n.reloc 3, R_X86_64_NONE, there - 7")
    table = elf(data).get_section_by_name(".rela.text")
    first, second = table.iter_relocations()
    assert (first["r_offset"], first["r_info"], first["r_addend"]) == (0, 0x12345, 0)
    assert (second["r_offset"], second["r_info_type"], second["r_addend"]) == (3, 0, -7)


def test_an_empty_section_is_there() -> None:
    data = forge('.section .altinstr_replacement, "ax", @progbits\nx:\n.text\n.long x - .')
    section = elf(data).get_section_by_name(".altinstr_replacement")
    assert (section["sh_size"], section["sh_flags"]) == (0, numbers.SHF_ALLOC | numbers.SHF_EXECINSTR)
    assert relas(data, ".text") == [(0, "R_X86_64_PC32", ".altinstr_replacement", 0)]


@pytest.mark.parametrize(
    ("damage", "unpack", "place"),
    [
        ("header machine 183", "<H", 18),
        ("header e_type 2", "<H", 16),
        ("header ei_mag 0", "<I", 0),
        ("header shnum 2000", "<H", 60),
    ],
)
def test_damage_to_the_header_is_where_it_should_be(damage: str, unpack: str, place: int) -> None:
    whole, spoilt = forge("nop"), forge(f"#! damage: {damage}\nnop")
    (value,) = struct.unpack_from(unpack, spoilt, place)
    assert value == int(damage.rsplit(maxsplit=1)[-1])
    width = struct.calcsize(unpack)
    assert spoilt[:place] + whole[place : place + width] + spoilt[place + width :] == whole


@pytest.mark.parametrize("field", ["type", "flags", "addr", "offset", "link", "info", "addralign", "entsize"])
def test_damage_to_a_section_header(field: str) -> None:
    data = forge(f"#! damage: section .data sh_{field} 3\n.data\n.quad 1")
    sections = {section.name: section for section in elf(data).iter_sections()}
    found = sections[".data"]["sh_" + field]
    assert found in (3, "SHT_STRTAB")


def test_damage_to_a_symbol_a_relocation_content_and_length() -> None:
    source = "f: call g\n.quad 0\n"
    assert symbol(forge(f"#! damage: symbol g shndx 0xff20\n{source}"), "g")["st_shndx"] == 0xFF20
    assert symbol(forge(f"#! damage: symbol [1] value -1\n{source}"), "f")["st_value"] == (1 << 64) - 1
    table = elf(forge(f"#! damage: rela .rela.text 0 symbol 0\n{source}")).get_section_by_name(".rela.text")
    assert (table.get_relocation(0)["r_info_sym"], table.get_relocation(0)["r_info_type"]) == (0, 4)
    table = elf(forge(f"#! damage: rela .rela.text 0 info 0x9900000063\n{source}")).get_section_by_name(".rela.text")
    assert (table.get_relocation(0)["r_info_sym"], table.get_relocation(0)["r_info_type"]) == (0x99, 0x63)
    text = elf(forge(f"#! damage: bytes .text 5 aabb\n{source}")).get_section_by_name(".text")
    assert text.data()[5:8] == b"\xaa\xbb\0"
    assert forge(f"#! damage: truncate -100\n{source}") == forge(source)[:-100]
    assert forge(f"#! damage: truncate 10\n{source}") == forge(source)[:10]


def test_damage_after_the_table_is_gone_is_refused() -> None:
    with pytest.raises(ForgeError, match="line 2: the file has no section table any more"):
        forge("#! damage: truncate 70\n#! damage: section .text type 1\nnop")


def test_readelf_finds_nothing_wrong(tmp_path: Path, run: Tool) -> None:
    target = tmp_path / "payload.o"
    target.write_bytes(forge(LIVEPATCH.replace("0x0102", "01" * 20)))
    shown = run("readelf", "-aW", str(target))
    assert "REL (Relocatable file)" in shown
    assert "R_X86_64_64" in shown
