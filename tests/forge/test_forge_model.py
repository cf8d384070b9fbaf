"""The model hypervisor: rebuilt to the byte, valid to others, at the addresses of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import capstone
import pytest
from forge_readback import elf, symbol

from xsplice_loader.forge.assembler import Assembler
from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.forge.executable import link
from xsplice_loader.forge.model import build_model

if TYPE_CHECKING:
    from forge_readback import Tool

MODEL = Path(__file__).parents[2] / "xsplice_loader" / "hypervisor" / "model.elf"
MARKS = ("_etext", "_end", "__2M_rwdata_end")


def test_the_file_in_the_package_is_what_the_source_gives() -> None:
    assert build_model() == MODEL.read_bytes(), "run scripts/make-model"


def test_readelf_finds_nothing_wrong(run: Tool) -> None:
    shown = run("readelf", "-aW", str(MODEL))
    assert "EXEC (Executable file)" in shown
    assert "Build ID: " + b"xsplice model 4.17.7".hex() in shown


def test_it_is_small_and_lies_where_xen_lies() -> None:
    data = MODEL.read_bytes()
    assert len(data) < 40 << 10
    for name in ("_start", "_stext", "start"):
        assert symbol(data, name)["st_value"] == 0xFFFF82D040200000
    assert elf(data)["e_entry"] == 0xFFFF82D040200000
    end, data_end = symbol(data, "_end")["st_value"], symbol(data, "__2M_rwdata_end")["st_value"]
    assert data_end % 4096 == 0
    assert end <= data_end < end + 4096
    loads = [s for s in elf(data).iter_segments() if s["p_type"] == "PT_LOAD"]
    assert [s["p_flags"] for s in loads] == [5, 4, 6]
    assert loads[-1]["p_vaddr"] + loads[-1]["p_memsz"] == data_end


def test_every_symbol_but_the_marks_of_ends_has_a_size() -> None:
    table = elf(MODEL.read_bytes()).get_section_by_name(".symtab")
    without = [s.name for s in table.iter_symbols() if s.name and not s["st_size"]]
    files = [s.name for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FILE"]
    assert sorted(without) == sorted([*files, *MARKS])
    assert "common/kernel.c" in files


def test_every_function_is_whole_instructions_and_no_call_leaves_the_text() -> None:
    data = MODEL.read_bytes()
    file = elf(data)
    text = file.get_section_by_name(".text")
    base, end = text["sh_addr"], text["sh_addr"] + text["sh_size"]
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    starts = {s["st_value"] for s in file.get_section_by_name(".symtab").iter_symbols()}
    functions = [s for s in file.get_section_by_name(".symtab").iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
    assert len(functions) > 10
    for function in functions:
        start, size = function["st_value"], function["st_size"]
        decoded = list(decoder.disasm(text.data()[start - base : start - base + size], start))
        assert sum(i.size for i in decoded) == size, function.name
        for i in decoded:
            if i.mnemonic == "call":
                assert int(i.op_str, 16) in starts
            elif i.mnemonic.startswith("j") and i.op_str.startswith("0x"):
                assert base <= int(i.op_str, 16) < end


@pytest.mark.parametrize(("name", "code"), [("xen_major_version", "b804000000c3"), ("do_nmi_op", "f30f1efa")])
def test_known_functions_begin_as_expected(name: str, code: str) -> None:
    data = MODEL.read_bytes()
    text, place = elf(data).get_section_by_name(".text"), symbol(data, name)["st_value"]
    found = text.data()[place - text["sh_addr"] :][: len(code) // 2]
    assert found.hex() == code


def test_the_version_that_it_reports_is_4_17_7() -> None:
    data = MODEL.read_bytes()
    file = elf(data)
    text, rodata = file.get_section_by_name(".text"), file.get_section_by_name(".rodata")
    place = symbol(data, "xen_extra_version")["st_value"]
    # lea disp32(%rip), %rax
    lea = text.data()[place - text["sh_addr"] :][:7]
    assert lea[:3].hex() == "488d05"
    target = place + 7 + int.from_bytes(lea[3:], "little", signed=True)
    assert rodata.data()[target - rodata["sh_addr"] :][:3] == b".7\0"
    assert symbol(data, "xen_extra_version")["st_size"] >= 12


def linked(source: str, base: int = 0x400000) -> bytes:
    assembler = Assembler(b"")
    assembler.run(source)
    return link(assembler.finish(), base, "start")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("start: call nobody", "symbol nobody is not defined"),
        ("other: ret", "there is no symbol start"),
        (".set far, 0x7fffffff00000000\nstart: lea far(%rip), %rax", "does not fit 4 bytes"),
        (".set far, 0x80400003\nstart: .long far - .", "does not fit 4 bytes"),
        ('start: ret\n.section .c, "awx", @progbits\n.byte 1', "none both writable and executable"),
        ("start: .word start", "relocation type 12 is not linked here"),
    ],
)
def test_the_linker_checks_ranges_and_refuses_what_it_does_not_know(source: str, message: str) -> None:
    source = source.replace("0x80400003", hex(0x400000 + (1 << 31)))
    with pytest.raises(ForgeError, match=message):
        linked(source)


def test_the_last_byte_in_reach_links() -> None:
    data = linked(f".set far, {0x400000 + (1 << 31) - 1}\nstart: .long far - .")
    assert elf(data).get_section_by_name(".text").data() == b"\xff\xff\xff\x7f"


def test_nm_sees_the_symbols(run: Tool) -> None:
    shown = run("nm", str(MODEL))
    assert "ffff82d040200000 T start" in shown
    assert " t pack_version" in shown
    assert " B __2M_rwdata_end" in shown
