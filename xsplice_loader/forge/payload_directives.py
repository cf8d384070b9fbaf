"""Directives for what every live patch contains; each stands for plain assembly text.

So nothing about them is magic: what `.livepatch_func` means is the text it returns here, and a sample
could write it out by hand. Layouts are those of `spec/04 §1`, `§4`, `§5` and `spec/01 §13`.
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
HOOKS = ("load", "unload", "preapply", "apply", "postapply", "prerevert", "revert", "postrevert")
MAX_LINE = (1 << 14) - 1
"""Of a source's lines, the last that a bug frame has bits for."""
MAX_FEATURE = (1 << 16) - 1


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


def _hook(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.livepatch_hook KIND, FUNCTION`: a hook; load and unload hooks are called in the order of their directives.

    The section is one that cannot be written to: to Xen, one that can would be variables of the payload.
    """
    if len(statement.operands) != 2 or statement.operands[0] not in HOOKS:
        raise statement.error(f"expected `.livepatch_hook KIND, FUNCTION`, with a kind out of {', '.join(HOOKS)}")
    kind, function = statement.operands
    return f"""
        .pushsection .livepatch.hooks.{kind}, "a", @progbits
        .balign 8
        .quad {function}
        .popsection
    """


def _metadata(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.modinfo "KEY=VALUE"`: something that the payload says of itself."""
    if len(statement.operands) != 1:
        raise statement.error('expected `.modinfo "KEY=VALUE"`')
    return f"""
        .pushsection .modinfo, "a", @progbits
        .asciz {statement.operands[0]}
        .popsection
    """


def _warning(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.xen_warn "FILE", LINE`: an instruction that traps, and a bug frame of type 1 that says where that was.

    The line is added to the distances as a whole. Where a distance is negative, that takes one from the line's bits,
    and whoever reads the frame gives it back (`spec/04 §5.3`).
    """
    if len(statement.operands) != 2:
        raise statement.error('expected `.xen_warn "FILE", LINE`')
    line = assembler.constant(statement.operands[1], statement)
    if not 0 <= line <= MAX_LINE:
        raise statement.error(f"a bug frame holds lines from 0 to {MAX_LINE}, not {line}")
    site, file, frame = (names.fresh() for _ in range(3))
    return f"""
        {site}: ud2
        .pushsection .rodata.str, "aMS", @progbits, 1
        {file}: .asciz {statement.operands[0]}
        .popsection
        .pushsection .bug_frames.1, "a", @progbits
        .balign 4
        {frame}:
        .long {site} - {frame} + {line >> 7} * {1 << 24}
        .long {file} - {frame} + {line & 127} * {1 << 24}
        .popsection
    """


def _exception(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.xen_exception INSTRUCTION, CONTINUATION`: where to go on if an instruction faults."""
    if len(statement.operands) != 2:
        raise statement.error("expected `.xen_exception INSTRUCTION, CONTINUATION`, two labels")
    instruction, continuation = statement.operands
    return f"""
        .pushsection .ex_table, "a", @progbits
        .balign 4
        .long {instruction} - ., {continuation} - .
        .popsection
    """


def _alternative(assembler: Assembler, statement: Statement, names: Names) -> str:
    """`.xen_alternative "OLD", "NEW", FEATURE`: instructions, and what to have on a processor with a feature.

    An entry as releases since 4.11 have it, without padding: NEW is to be no longer than OLD.
    """
    if len(statement.operands) != 3:
        raise statement.error('expected `.xen_alternative "OLD", "NEW", FEATURE`')
    old, new = (string(operand, statement).decode("latin-1") for operand in statement.operands[:2])
    feature = assembler.constant(statement.operands[2], statement)
    if not 0 <= feature <= MAX_FEATURE:
        raise statement.error(f"a feature is a number from 0 to {MAX_FEATURE}, WORD*32+BIT, not {feature}")
    site, site_end, replacement, replacement_end = (names.fresh() for _ in range(4))
    return f"""
        {site}: {old}
        {site_end}:
        .pushsection .altinstr_replacement, "ax", @progbits
        {replacement}: {new}
        {replacement_end}:
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long {site} - ., {replacement} - .
        .short {feature}
        .byte {site_end} - {site}, {replacement_end} - {replacement}, 0, 0
        .popsection
    """


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
    ".livepatch_hook": _hook,
    ".build_id": _build_id,
    ".modinfo": _metadata,
    ".xen_warn": _warning,
    ".xen_exception": _exception,
    ".xen_alternative": _alternative,
}
