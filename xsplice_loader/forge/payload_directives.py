"""Directives for what every live patch contains; each stands for plain assembly text.

So nothing about them is magic: what `.livepatch_func` means is the text it returns here, and a sample
could write it out by hand. Layouts are those of `spec/04 §1` and `spec/01 §13`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.forge.source import Statement, string

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.forge.assembler import Assembler

NT_GNU_BUILD_ID = 3
SHA1_SIZE = 20
MAX_EXPECTATION = 31
_EXPECTATION_OFFSET = 72


class Names:
    """Numbers for labels that no source can write."""

    def __init__(self) -> None:
        self._count = 0

    def fresh(self) -> str:
        """Return a label's name that was not returned before."""
        self._count += 1
        return f".Llivepatch_name_{self._count}"


def _function(assembler: Assembler, statement: Statement, names: Names) -> str:
    form = '.livepatch_func "NAME", NEW_SYMBOL_OR_0, OLD_SIZE[, OLD_ADDR[, NEW_SIZE[, VERSION]]]'
    if not 3 <= len(statement.operands) <= 6:
        raise statement.error(f"expected `{form}`")
    name, new, old_size, *rest = statement.operands
    string(name, statement)
    if new == "0" and len(rest) < 2:
        raise statement.error("a patch without a new function (NOPs) must say its NEW_SIZE")
    old_addr = rest[0] if rest else "0"
    new_size = rest[1] if len(rest) > 1 else f"sizeof({new})"
    version = assembler.constant(rest[2], statement) if len(rest) > 2 else 2
    funcs = assembler.program.section(".livepatch.funcs", 1, 0x3)
    assembler.last_function = None if version == 1 else (funcs, -(-funcs.size // 8) * 8)
    label = names.fresh()
    return f"""
        .pushsection .rodata.str, "aMS", @progbits, 1
        {label}: .asciz {name}
        .popsection
        .pushsection .livepatch.funcs, "aw", @progbits
        .balign 8
        .quad {label}, {new}, {old_addr}
        .long {new_size}, {old_size}
        .byte {version}
        .zero {31 if version == 1 else 71}
        .popsection
    """


def _expectation(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.livepatch_expect HEX`: bytes that must stand at the old address; belongs to the entry before it."""
    data = _hexadecimal(statement)
    if assembler.last_function is None:
        raise statement.error("expected a .livepatch_func of version 2 before this")
    if not 1 <= len(data) <= MAX_EXPECTATION:
        raise statement.error(f"an expectation has 1 to {MAX_EXPECTATION} bytes, not {len(data)}")
    section, start = assembler.last_function
    place = start + _EXPECTATION_OFFSET
    section.data[place : place + 1 + len(data)] = bytes([len(data) << 1 | 1]) + data
    return ""


def _note(section: str, build_id: bytes) -> str:
    identifier = ", ".join(map(str, build_id))
    return f"""
        .pushsection {section}, "a", @note
        .balign 4
        .long 4, {len(build_id)}, {NT_GNU_BUILD_ID}
        .asciz "GNU"
        {f".byte {identifier}" if build_id else ""}
        .popsection
    """


def _depends(assembler: Assembler, statement: Statement, names: Names) -> str:
    section = ".livepatch." + statement.name.removeprefix(".livepatch_")
    if statement.operands == ("xen",):
        return _note(section, assembler.xen_build_id)
    return _note(section, _hexadecimal(statement))


def _build_id(assembler: Assembler, statement: Statement, names: Names) -> str:
    if statement.operands != ("sha1",):
        return _note(".note.gnu.build-id", _hexadecimal(statement))
    if assembler.program.build_id is not None:
        raise statement.error("there can be one `.build_id sha1`")
    section = assembler.program.section(".note.gnu.build-id", 7, 0x2)
    assembler.program.build_id = section, -(-section.size // 4) * 4 + 16
    return _note(".note.gnu.build-id", bytes(SHA1_SIZE))


def _hexadecimal(statement: Statement) -> bytes:
    try:
        (text,) = statement.operands
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise statement.error("expected bytes in hexadecimal digits, two for each") from None


PAYLOAD_DIRECTIVES: dict[str, Callable[[Assembler, Statement, Names], str]] = {
    ".livepatch_func": _function,
    ".livepatch_expect": _expectation,
    ".livepatch_depends": _depends,
    ".livepatch_xen_depends": _depends,
    ".build_id": _build_id,
}
