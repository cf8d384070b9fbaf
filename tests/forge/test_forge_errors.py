"""What the forge refuses, it refuses by the line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader.forge import ForgeError, forge

WRONG = {
    "frobnicate %eax": "keystone does not assemble",
    "lea 8(%rip), %rax": "no RIP-relative operand",
    "lea somewhere, %rax": "write somewhere(%rip)",
    "mov somewhere, %rax": "write somewhere(%rip)",
    "jmp 0x10": "a branch needs a symbol",
    "jrcxz somewhere": "keystone does not assemble",
    "+ 1": "is not a mnemonic",
    "nop %": "is not understood",
    "mov ($1), %eax": "is not understood",
    "nopw 0(%rax,%rax,1)": "encodes this instruction wrongly",
    "movb $somewhere, (%rax)": "",
    "call somewhere@TLSGD": "@TLSGD is not understood",
    "lea somewhere@GOTPCREL(%rax), %rax": "@GOTPCREL is not understood",
    "lea a+b(%rip), %rax": "more than one symbol",
    "lea .Lnowhere(%rip), %rax": "is not defined in this file",
    "jmp 1f": "is not defined in this file",
    "jmp 1b": "no label 1",
    ".quad 1 +": "is not an expression",
    ".quad 010": "is not an expression",
    ".quad )": "is not an expression",
    ".quad " + "(" * 5000: "at most 64 parts",
    ".byte 256": "does not fit 8 bits",
    ".byte -129": "does not fit 8 bits",
    ".long 0x100000000": "does not fit 32 bits",
    ".long 0 - somewhere": "less a symbol alone",
    ".long somewhere - elsewhere": "must lie in .text",
    ".long sizeof(somewhere)": "has no size",
    ".asciz unquoted": "in double quotes",
    '.asciz "unfinished': "must end on its own line",
    ".balign 3": "power of two",
    ".balign 0": "power of two",
    ".zero -1": "a count lies between",
    ".zero 0x40000001": "a count lies between",
    ".zero somewhere": "expected a number",
    ".rept 3": "unknown directive .rept",
    '.section .a, "q"': "expected flags",
    '.section .a, "aMS", @progbits': "needs its entry size",
    ".previous": "no previous section",
    ".popsection": "no section was pushed",
    ".reloc 0, R_X86_64_UNHEARD, a": "unknown relocation type",
    ".reloc 0, -1, a": "neither is negative",
    ".type a, function": "expected @function",
    ".set a, b": "has no place in this file",
    "a: a:": "defined twice",
    ".size a, 0 - 1\na:": "would be -1",
    '.livepatch_func "f"': "expected `.livepatch_func",
    '.livepatch_func "f", 0, 16': "must say its NEW_SIZE",
    ".livepatch_expect 90": "expected a .livepatch_func",
    ".livepatch_depends 123": "hexadecimal",
    ".build_id md5": "hexadecimal",
    ".livepatch_hook later, f": "expected `.livepatch_hook KIND, FUNCTION`",
    ".modinfo": "expected `.modinfo",
    ".modinfo unquoted": "in double quotes",
    '.xen_warn "file.c"': "expected `.xen_warn",
    '.xen_warn "file.c", 16384': "lines from 0 to 16383",
    ".xen_exception 1b": "two labels",
    '.xen_alternative "nop", "nop"': "expected `.xen_alternative",
    '.xen_alternative "nop", "nop", 0x10000': "from 0 to 65535",
    '.xen_alternative "nop", "frobnicate", 93': "keystone does not assemble",
    "#! damage: section .nowhere addralign 3": "there is no section .nowhere",
    "#! damage: section .text colour 3": "there is no field colour",
    "#! damage: section .text addralign three": "is not a number",
    "#! damage: header machine 65536": "does not fit the 16 bits",
    "#! damage: rela .text 0 symbol 0": "has 0 entries",
    "#! damage: symbol nobody value 0": "there is no symbol nobody",
    "#! damage: bytes .text 1 00": "has 1 bytes",
    "#! damage: truncate 99999": "the file has",
    "#! damage: melt": "expected one of",
    "#! damage: truncate": "takes 1 words",
}


@pytest.mark.parametrize("line", WRONG)
def test_an_error_names_its_line_and_says_what_is_wrong(line: str) -> None:
    with pytest.raises(ForgeError) as caught:
        forge(f"\n        nop\n{line}\n")
    assert caught.value.line == 3
    assert str(caught.value).startswith("line 3: ")
    assert WRONG[line] in str(caught.value)


def test_two_sections_of_a_name_must_agree() -> None:
    with pytest.raises(ForgeError, match=r"line 2: section \.text was begun with another type"):
        forge('.text\n.section .text, "aw", @progbits')


def test_a_bss_holds_no_data() -> None:
    with pytest.raises(ForgeError, match=r"line 2: section \.bss is @nobits"):
        forge(".bss\n.byte 1")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abx01 .,:;#$%()*+-@\"\\\n'~<", max_size=60))
def test_any_text_gives_a_file_or_a_forge_error(text: str) -> None:
    try:
        data = forge(text)
    except ForgeError:
        return
    assert data[:4] == b"\x7fELF"
