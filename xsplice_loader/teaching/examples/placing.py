"""Examples for the rules on placement, resolution and relocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import placing
from xsplice_loader.teaching.examples.recipe import CALL, OLD_REPLACEMENT, Recipe, payload

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

_CALLING = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        call    xen_major_version
        ret
        .size replacement, . - replacement
        .livepatch_func "xen_minor_version", replacement, 6
"""
_UNLOADED = """
        .section .remarks, "", @progbits
remark:
        .quad   1
        .section .rodata, "a", @progbits
        .quad   remark
"""


def _spoilt(shows: str, *damages: str) -> Recipe:
    return Recipe(shows=shows, source=payload(CALL, *damages))


EXAMPLES: dict[Rule, Recipe] = {
    placing.WRITABLE_AND_EXECUTABLE: _spoilt("Its code can be written.", "section .text flags 7"),
    placing.NO_MEMORY: Recipe(
        shows="It asks for 2 GiB of zeros, under the rules of a release that does not limit them.",
        source=payload("        .bss\n        .zero 8\n", "section .bss size 0x80000000", replacement=OLD_REPLACEMENT),
        release="4.7.0",
    ),
    placing.COPY_PAST_RANGE: Recipe(
        shows="The last section's alignment of 0 makes Xen forget the 5000 bytes before it; what it has room for is a "
        "page.",
        source=payload(
            '        .section .rodata.a, "a", @progbits\n        .zero 5000\n'
            '        .section .rodata.z, "a", @progbits\n        .byte 1\n',
            "section .rodata.z addralign 0",
        ),
    ),
    placing.ALIGNMENT_ZERO: Recipe(
        shows="A section with alignment 0 lands on what was placed before it in its region.",
        source=payload(
            '        .section .rodata.a, "a", @progbits\n        .quad 1\n'
            '        .section .rodata.b, "a", @progbits\n        .quad 2\n',
            "section .rodata.b addralign 0",
        ),
    ),
    placing.ALIGNMENT_BEYOND_PAGE: _spoilt(
        "The code wants to begin at a multiple of two pages.", "section .text addralign 8192"
    ),
    placing.COMMON_SYMBOL: Recipe(
        shows="A variable was left for the linker to place.", source=payload("        .comm shared, 8, 8\n")
    ),
    placing.UNKNOWN_SYMBOL: Recipe(
        shows="It calls a function that nobody has.", source=payload(CALL.replace("strlen", "strlne"))
    ),
    placing.RESERVED_SECTION_INDEX: _spoilt(
        "A symbol's section index is a reserved one.", "symbol helper shndx 0xff01"
    ),
    placing.SECTION_INDEX_PAST_END: _spoilt("A symbol is said to stand in section 99.", "symbol helper shndx 99"),
    placing.RELOCATION_SECTION_ZERO: _spoilt("The relocations are for section 0.", "section .rela.text info 0"),
    placing.WRONG_SYMBOL_TABLE_LINK: _spoilt("The relocations' symbols are in section 0.", "section .rela.text link 0"),
    placing.RELOCATION_TABLE_SIZE: _spoilt("An entry is one byte short.", "section .rela.text entsize 23"),
    placing.REL_UNSUPPORTED: _spoilt(
        "The table says it is one of 32-bit x86 (SHT_REL is 9).", "section .rela.text type 9"
    ),
    placing.SYMBOL_ZERO: _spoilt("The call's relocation names symbol 0, which is none.", "rela .rela.text 0 symbol 0"),
    placing.SYMBOL_PAST_END: _spoilt("The call's relocation names symbol 9999.", "rela .rela.text 0 symbol 9999"),
    placing.IGNORED_SYMBOL: Recipe(
        shows="A pointer leads into a section that is not loaded.", source=payload(_UNLOADED)
    ),
    placing.UNHANDLED_TYPE: _spoilt("The call's relocation is of type 10, R_X86_64_32.", "rela .rela.text 0 type 10"),
    placing.OFFSET_PAST_END: _spoilt("The field to change lies behind the code.", "rela .rela.text 0 offset 0x1000"),
    placing.OVERFLOW: Recipe(
        shows="The new function calls one of Xen's from the ordinary vmap area, 65 GiB below.",
        source=payload(replacement=_CALLING),
        vmap="default",
    ),
    placing.UNFILLED_SYMBOL_SLOT: Recipe(
        shows="The call's relocation names symbol 0, under the rules of a release that does not ask.",
        source=payload(CALL, "rela .rela.text 0 symbol 0", replacement=OLD_REPLACEMENT),
        release="4.8.0",
    ),
    placing.MEANINGLESS_VALUE: Recipe(
        shows="A pointer leads into a section that is not loaded, under the rules of a release that does not ask.",
        source=payload(_UNLOADED, replacement=OLD_REPLACEMENT),
        release="4.13.0",
    ),
}
WITHOUT: dict[Rule, str] = {}
