"""The same text given to GNU as: the same bytes, the same relocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from forge_readback import elf, relas

from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

    from forge_readback import Tool

INSTRUCTIONS = """
call ext
call ext@PLT
call ext+3
call ext@PLT+3
jmp ext+3
jne ext-2
call elsewhere
jmp elsewhere+1
jmp ext
jmp ext@PLT
je ext
jne ext
jz ext
jnbe ext
js ext
call global_here
call global_below
call *%rax
jmp *%rdx
call *ext(%rip)
jmp *8(%rax)
lea ext(%rip), %rdi
lea ext+16(%rip), %r9
lea ext-4(%rip), %rax
lea here(%rip), %rax
lea elsewhere(%rip), %rax
lea .Ltext(%rip), %rsi
lea .Ltext+2(%rip), %rsi
lea named(%rip), %rsi
lea .Ldata+4(%rip), %rsi
mov ext(%rip), %rax
mov ext(%rip), %eax
movq %rax, ext(%rip)
movl %ecx, ext+4(%rip)
movb $1, ext(%rip)
movw $0x1234, ext(%rip)
movl $0x12345678, ext(%rip)
movq $-1, ext(%rip)
cmpl $1, ext(%rip)
cmpl $1000, ext(%rip)
cmpq $0, .Ldata(%rip)
testb $4, ext(%rip)
movzbl ext(%rip), %eax
movslq ext(%rip), %rdx
lock incl ext(%rip)
imul $1000, ext(%rip), %eax
addq $16, ext(%rip)
xchg %rax, ext(%rip)
movabs $ext, %rax
movabs $ext+5, %r11
movabs $.Ltext, %rdi
movabs $0x1122334455667788, %rax
mov $ext, %rax
mov $ext, %r10
mov $ext, %eax
mov $.Ltext, %rdi
mov $.Ltext+1, %rdi
movq $ext, 8(%rsp)
movl $ext, 8(%rsp)
movq $ext, .Ldata(%rip)
push $ext
add $ext, %rcx
cmp $ext, %rdx
mov ext(,%rax,8), %rbx
mov ext(%rbx), %rcx
mov ext+8(%rbx,%rcx,4), %edx
lea -16(%rbp), %rax
mov 0x10(%rsp), %rax
mov %gs:0x28(%rax), %rcx
mov $10, %ecx
mov $10, %rax
mov $-8, %rax
mov $0x7fffffff, %rax
mov $0x80000000, %rax
add $-8, %rsp
sub $128, %rsp
sub $10, %rsp
and $~15, %rsp
mov $2*8+1, %eax
mov $1<<20, %eax
shl $3, %rax
shl %eax
push %rbx
pop %r12
ret
nop
hlt
ud2
leave
cld
pause
rep stosb
rep movsq
repe cmpsb
endbr64
cmovne %rax, %rbx
sete %al
setnz %cl
cltq
xor %eax, %eax
test %rdi, %rdi
int3
movaps %xmm0, %xmm1
xorps ext(%rip), %xmm0
bts $5, %eax
""".strip().splitlines()

FRAME = """
        .text
        .globl global_here
global_here:
here:   nop
{instruction}
        .globl global_below
global_below:
        ret
        .section .text.other, "ax", @progbits
elsewhere:
        nop
        nop
        .section .rodata.str, "aMS", @progbits, 1
        .asciz "x"
.Ltext: .asciz "text"
named:  .asciz "named"
        .data
        .quad 0
.Ldata: .quad 1, 2
"""

DATA = (
    """
        .text
        .globl f, g
        .weak w
        .type f, @function
f:      call g
        ret
        .size f, . - f
w:      ret
local:  ret
        .section .rodata, "a", @progbits
        .ascii "a\\n\\101\\x42", "b"
        .byte 1, -1, 255
        .short 0x1234, -2
        .long 0x89abcdef, -3
        .quad 0xffff82d040200000
        .balign 8
.Lbase: .quad f, g, w, local, undefined, f+8, undefined-8
        .long f - ., g - ., local - ., undefined - ., undefined - . + 4
        .long undefined, .Lend - .Lbase, local - .Lbase, undefined - .Lbase
        .quad undefined - ., .Lend
        .word undefined
        .byte undefined
        .skip 3, 0xff
        .zero 2
.Lend:
        .size g, 5
g = f
        .section .note.x, "a", @note
        .balign 4
        .long 4, 2f - 1f, 3
        .asciz "GNU"
1:      .byte 1, 2, 3, 4
2:
        .data
        .reloc 0, R_X86_64_NONE, undefined
        .reloc . + 8, R_X86_64_GLOB_DAT, f + 4
        .quad 0, 0
        .bss
        .balign 64
        .globl b
        .type b, @object
b:      .zero 100
        .size b, 100
        .comm c, 24, 16
        .section .empty, "aw", @nobits
        .section .merge, "aM", @progbits, 8
        .quad 7
        .text
        .quad 7
        .previous
        .quad 8
""".replace("g = f\n", "")
    .replace("        .size g, 5\n", "")
    .replace("local:  ret\n", "local:  ret\ng:      ret\n")
)


def both(source: str, folder: Path, run: Tool, *options: str) -> tuple[bytes, bytes]:
    target = folder / "gas.o"
    run("as", "--64", *options, "-o", str(target), "-", text=source)
    return forge(source), target.read_bytes()


def contents(data: bytes) -> dict[str, tuple[str, int, int, int, int, bytes]]:
    skipped = (".symtab", ".strtab", ".shstrtab", ".note.gnu.property")
    return {
        section.name: (
            section["sh_type"],
            section["sh_flags"],
            section["sh_addralign"],
            section["sh_entsize"],
            section["sh_size"],
            b"" if section["sh_type"] == "SHT_NOBITS" else section.data(),
        )
        for section in elf(data).iter_sections()
        # GNU as always makes .text, .data and .bss, this only if they are entered.
        if section.name not in skipped
        and not section.name.startswith(".rela")
        and (section["sh_size"] or section.name not in ("", ".text", ".data", ".bss"))
    }


def symbols(data: bytes) -> dict[str, tuple[str, str, int, int, str | int]]:
    file = elf(data)
    return {
        symbol.name: (
            symbol["st_info"]["bind"],
            symbol["st_info"]["type"],
            symbol["st_value"],
            symbol["st_size"],
            file.get_section(symbol["st_shndx"]).name if isinstance(symbol["st_shndx"], int) else symbol["st_shndx"],
        )
        for symbol in file.get_section_by_name(".symtab").iter_symbols()
        if symbol.name and symbol["st_info"]["type"] != "STT_SECTION" and symbol.name != "_GLOBAL_OFFSET_TABLE_"
    }


def compare(ours: bytes, theirs: bytes) -> None:
    assert contents(ours) == contents(theirs)
    assert symbols(ours) == symbols(theirs)
    for name in contents(theirs):
        assert relas(ours, name) == relas(theirs, name), name


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_an_instruction_is_as_gnu_as_makes_it(instruction: str, tmp_path: Path, run: Tool) -> None:
    compare(*both(FRAME.format(instruction=instruction), tmp_path, run))


@pytest.mark.parametrize(
    "instruction",
    [
        "mov ext@GOTPCREL(%rip), %rax",
        "mov ext@GOTPCREL(%rip), %eax",
        "mov here@GOTPCREL(%rip), %rax",
        "call *ext@GOTPCREL(%rip)",
        "jmp *ext@GOTPCREL(%rip)",
        "cmp ext@GOTPCREL(%rip), %rax",
        "test %rax, ext@GOTPCREL(%rip)",
        "add ext@GOTPCREL(%rip), %ecx",
        "push ext@GOTPCREL(%rip)",
        "lea ext@GOTPCREL(%rip), %rax",
    ],
)
def test_a_got_load_has_the_type_that_gnu_as_gives_it(instruction: str, tmp_path: Path, run: Tool) -> None:
    compare(*both(FRAME.format(instruction=instruction), tmp_path, run))


@pytest.mark.parametrize("instruction", ["call here", "call 1f\n1:", "lea 1f(%rip), %rax\n1:", "call .Lx\n.Lx:"])
def test_a_local_target_in_the_same_section_is_a_number(instruction: str, tmp_path: Path, run: Tool) -> None:
    ours, theirs = both(FRAME.format(instruction=instruction), tmp_path, run)
    compare(ours, theirs)
    assert relas(ours, ".text") == []


def test_data_and_symbols_are_as_gnu_as_makes_them(tmp_path: Path, run: Tool) -> None:
    compare(*both(DATA, tmp_path, run))
