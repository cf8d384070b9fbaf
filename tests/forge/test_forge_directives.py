"""Directives for what payloads contain: the same as GNU as makes of the layouts in spec/04, written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from forge_readback import elf

from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

    from forge_readback import Tool

BEFORE = """
        .text
        .globl hook
hook:   ret
"""
AFTER = """
        .text
        nop
        .section .rodata, "a", @progbits
"""
WRITTEN_OUT = {
    ".livepatch_hook load, hook\n.livepatch_hook load, elsewhere\n.livepatch_hook preapply, hook": """
        .section .livepatch.hooks.load, "a", @progbits
        .balign 8
        .quad hook, elsewhere
        .section .livepatch.hooks.preapply, "a", @progbits
        .balign 8
        .quad hook
    """,
    '.modinfo "a=b"\n.modinfo "c=a \\"d\\", e"': """
        .section .modinfo, "a", @progbits
        .ascii "a=b\\0c=a \\"d\\", e\\0"
    """,
    '.xen_warn "some/file.c", 300\n.xen_warn "other.c", 16383\nnop\n.xen_warn "third.c", 0': """
        .text
1:      ud2
2:      ud2
        nop
3:      ud2
        .section .rodata.str, "aMS", @progbits, 1
.L1:    .asciz "some/file.c"
.L2:    .asciz "other.c"
.L3:    .asciz "third.c"
        # Line 300 is 2 * 128 + 44, line 16383 is 127 * 128 + 127.
        .section .bug_frames.1, "a", @progbits
        .balign 4
11:     .long 1b - 11b + 0x02000000, .L1 - 11b + 0x2c000000
12:     .long 2b - 12b + 0x7f000000, .L2 - 12b + 0x7f000000
13:     .long 3b - 13b, .L3 - 13b
    """,
    "1: mov (%rdi), %eax\n2: .xen_exception 1b, 2b\n.xen_exception 1b, 3f\n3: ret": """
        .text
1:      mov (%rdi), %eax
2:
3:      ret
        .section .ex_table, "a", @progbits
        .balign 4
        .long 1b - ., 2b - .
        .long 1b - ., 3b - .
    """,
    '.xen_alternative "nop; nop; nop", "stac", 5*32+20\n.xen_alternative "call a@PLT", "", 93': """
        .text
1:      nop
        nop
        nop
2:      call a@PLT
3:
        .section .altinstr_replacement, "ax", @progbits
11:     .byte 0x0f, 0x01, 0xcb
12:
        .section .altinstructions, "a", @progbits
        .long 1b - ., 11b - .
        .short 180
        .byte 3, 3, 0, 0
        .long 2b - ., 12b - .
        .short 93
        .byte 5, 0, 0, 0
    """,
}


@pytest.mark.parametrize("directives", WRITTEN_OUT, ids=lambda text: text.split()[0])
def test_a_directive_stands_for_what_the_loader_reads(directives: str, tmp_path: Path, run: Tool) -> None:
    target = tmp_path / "gas.o"
    run("as", "--64", "-o", str(target), "-", text=f"{BEFORE}{WRITTEN_OUT[directives]}{AFTER}")
    assert fields(forge(f"{BEFORE}{directives}\n{AFTER}")) == fields(target.read_bytes())


def fields(data: bytes) -> dict[str, tuple[int, int, bytes, list[tuple[int, int, str, int]]]]:
    """Flags, alignment and contents of each section, and for each of its relocations where it leads."""
    file = elf(data)
    symbols = file.get_section_by_name(".symtab")

    def target(entry: object) -> tuple[int, int, str, int]:
        symbol = symbols.get_symbol(entry["r_info_sym"])  # type: ignore[index]
        offset, kind, addend = (entry[key] for key in ("r_offset", "r_info_type", "r_addend"))  # type: ignore[index]
        if symbol["st_shndx"] == "SHN_UNDEF" or symbol["st_info"]["bind"] == "STB_GLOBAL":
            return offset, kind, symbol.name, addend
        return offset, kind, file.get_section(symbol["st_shndx"]).name, addend + symbol["st_value"]

    found = {}
    for section in file.iter_sections():
        if section.name and section["sh_size"] and section["sh_type"] == "SHT_PROGBITS":
            table = file.get_section_by_name(f".rela{section.name}")
            relocations = [target(entry) for entry in table.iter_relocations()] if table is not None else []
            found[section.name] = section["sh_flags"], section["sh_addralign"], section.data(), sorted(relocations)
    return found
