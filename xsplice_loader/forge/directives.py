"""The directives of GNU as that samples need, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.forge import elf
from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.forge.expressions import Expression
from xsplice_loader.forge.program import MAX_SECTION, Fixup, SectionDraft
from xsplice_loader.forge.source import Statement, string, symbol_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.forge.assembler import Assembler

_ALLOC, _WRITE, _EXEC = elf.SHF_ALLOC, elf.SHF_WRITE, elf.SHF_EXECINSTR
_FLAGS = {"a": _ALLOC, "w": _WRITE, "x": _EXEC, "M": elf.SHF_MERGE, "S": elf.SHF_STRINGS}
_SECTION_TYPES = {"progbits": elf.SHT_PROGBITS, "nobits": elf.SHT_NOBITS, "note": elf.SHT_NOTE}
_SYMBOL_TYPES = {"function": elf.STT_FUNC, "object": elf.STT_OBJECT, "notype": elf.STT_NOTYPE}
_BINDINGS = {
    ".globl": elf.STB_GLOBAL,
    ".global": elf.STB_GLOBAL,
    ".weak": elf.STB_WEAK,
    ".local": elf.STB_LOCAL,
}
_WIDTHS = {".byte": 1, ".short": 2, ".word": 2, ".value": 2, ".long": 4, ".int": 4, ".quad": 8}
_WELL_KNOWN = (
    (".text", elf.SHT_PROGBITS, _ALLOC | _EXEC),
    (".data", elf.SHT_PROGBITS, _ALLOC | _WRITE),
    (".bss", elf.SHT_NOBITS, _ALLOC | _WRITE),
    (".rodata", elf.SHT_PROGBITS, _ALLOC),
)
# One instruction where GNU as would choose among many; only code that is never run sees the difference.
_FILL_CODE = 0x90


def _take(statement: Statement, least: int, most: int, form: str) -> tuple[str, ...]:
    if not least <= len(statement.operands) <= most:
        raise statement.error(f"expected `{statement.name} {form}`")
    return statement.operands


def _shorthand(assembler: Assembler, statement: Statement) -> None:
    _take(statement, 0, 0, "")
    _enter(assembler, statement, statement.name)


def _section(assembler: Assembler, statement: Statement) -> None:
    form = 'NAME, "FLAGS", @TYPE[, ENTSIZE]'
    name, *rest = _take(statement, 1, 4, form)
    section = _enter(assembler, statement, symbol_name(name), *rest[:2])
    if len(rest) > 2:
        section.entry_size = assembler.constant(rest[2], statement)
    if section.flags & elf.SHF_MERGE and not section.entry_size:
        raise statement.error("a section with flag M needs its entry size")


def _enter(
    assembler: Assembler, statement: Statement, name: str, flags: str | None = None, kind: str = "@progbits"
) -> SectionDraft:
    if flags is None:
        given = next(((t, f) for known, t, f in _WELL_KNOWN if known == name), (elf.SHT_PROGBITS, 0))
        section = assembler.program.section(name, *given)
    else:
        letters = string(flags, statement).decode("latin-1")
        if set(letters) - set(_FLAGS) or kind[:1] not in "@%" or kind[1:] not in _SECTION_TYPES:
            raise statement.error("expected flags out of awxMS and a type out of @progbits @nobits @note")
        number = sum(_FLAGS[letter] for letter in set(letters))
        section = assembler.program.section(name, _SECTION_TYPES[kind[1:]], number)
        if (section.type, section.flags) != (_SECTION_TYPES[kind[1:]], number):
            raise statement.error(f"section {name} was begun with another type or other flags")
    assembler.switch(section)
    return section


def _push(assembler: Assembler, statement: Statement) -> None:
    assembler.stack.append(assembler.section)
    _section(assembler, statement)


def _pop(assembler: Assembler, statement: Statement) -> None:
    if not assembler.stack:
        raise statement.error("no section was pushed")
    assembler.switch(assembler.stack.pop())


def _previous(assembler: Assembler, statement: Statement) -> None:
    assembler.switch_back(statement)


def _binding(assembler: Assembler, statement: Statement) -> None:
    for name in _take(statement, 1, 99, "SYMBOL, …"):
        symbol = assembler.program.symbol(symbol_name(name))
        symbol.binding, symbol.wanted = _BINDINGS[statement.name], True
        symbol.statement = symbol.statement or statement


def _type(assembler: Assembler, statement: Statement) -> None:
    name, kind = _take(statement, 2, 2, "SYMBOL, @function")
    if kind[:1] not in "@%" or kind[1:] not in _SYMBOL_TYPES:
        raise statement.error("expected @function, @object or @notype")
    assembler.program.symbol(symbol_name(name)).type = _SYMBOL_TYPES[kind[1:]]


def _size(assembler: Assembler, statement: Statement) -> None:
    name, size = _take(statement, 2, 2, "SYMBOL, SIZE")
    symbol = assembler.program.symbol(symbol_name(name))
    symbol.size, symbol.sized_by = assembler.parse(size, statement), statement


def _set(assembler: Assembler, statement: Statement) -> None:
    name, value = _take(statement, 2, 2, "SYMBOL, VALUE")
    symbol = assembler.program.symbol(symbol_name(name))
    if symbol.is_defined:
        raise statement.error(f"symbol {symbol.name} is defined twice")
    symbol.value, symbol.statement = assembler.parse(value, statement), statement


def _common(assembler: Assembler, statement: Statement) -> None:
    name, size, *alignment = _take(statement, 2, 3, "SYMBOL, SIZE[, ALIGNMENT]")
    symbol = assembler.program.symbol(symbol_name(name))
    if symbol.is_defined:
        raise statement.error(f"symbol {symbol.name} is defined twice")
    symbol.common = assembler.constant(alignment[0], statement) if alignment else 1
    symbol.size = Expression(constant=assembler.constant(size, statement))
    symbol.type, symbol.wanted = elf.STT_OBJECT, True
    symbol.statement = symbol.sized_by = statement


def _file(assembler: Assembler, statement: Statement) -> None:
    (name,) = _take(statement, 1, 1, '"NAME"')
    text = string(name, statement).decode("latin-1")
    # Kept under a key of its own: a FILE symbol may be called like any other.
    symbol = assembler.program.symbol(f"\x02{len(assembler.program.symbols)} {text}")
    symbol.name, symbol.type, symbol.binding = text, elf.STT_FILE, elf.STB_LOCAL
    symbol.value, symbol.wanted, symbol.statement = Expression(), True, statement


def _align(assembler: Assembler, statement: Statement) -> None:
    number, *fill = _take(statement, 1, 2, "ALIGNMENT[, FILL]")
    alignment = assembler.constant(number, statement)
    if not 1 <= alignment <= MAX_SECTION or alignment & (alignment - 1):
        raise statement.error(f"an alignment is a power of two up to {MAX_SECTION}, not {alignment}")
    section = assembler.section
    default = _FILL_CODE if section.flags & _EXEC else 0
    byte = assembler.constant(fill[0], statement) & 0xFF if fill else default
    section.append(bytes([byte]) * (-section.size % alignment), statement)
    section.alignment = max(section.alignment, alignment)


def _zero(assembler: Assembler, statement: Statement) -> None:
    number, *fill = _take(statement, 1, 2, "COUNT[, FILL]")
    count = assembler.constant(number, statement)
    if not 0 <= count <= MAX_SECTION:
        raise statement.error(f"a count lies between 0 and {MAX_SECTION}, not {count}")
    byte = assembler.constant(fill[0], statement) & 0xFF if fill else 0
    assembler.section.append(bytes([byte]) * count, statement)


def _data(assembler: Assembler, statement: Statement) -> None:
    width = _WIDTHS[statement.name]
    for text in _take(statement, 1, 4096, "VALUE, …"):
        value = assembler.parse(text, statement)
        if value.modifier:
            raise statement.error(f"@{value.modifier} is not understood in data")
        offset = assembler.section.append(bytes(width), statement)
        assembler.program.fixups.append(Fixup(statement, assembler.section, offset, width, "data", value))


def _strings(assembler: Assembler, statement: Statement) -> None:
    end = b"" if statement.name == ".ascii" else b"\0"
    for text in _take(statement, 1, 4096, '"TEXT", …'):
        assembler.section.append(string(text, statement) + end, statement)


def _reloc(assembler: Assembler, statement: Statement) -> None:
    place, kind, target = _take(statement, 3, 3, "OFFSET, TYPE, SYMBOL[+ADDEND]")
    where = assembler.parse(place, statement)
    section, offset = assembler.section, where.constant
    if where.plus is not None:
        symbol = assembler.program.symbol(where.plus)
        if symbol.section is not section:
            raise statement.error(f"{where.plus} is not a label in {section.name} above this")
        offset += symbol.offset
    number = elf.RELOCATION_TYPES.get(kind)
    if number is None:
        try:
            number = assembler.constant(kind, statement)
        except ForgeError:
            raise statement.error(f"unknown relocation type {kind}") from None
    if not 0 <= number < 1 << 32 or not 0 <= offset < 1 << 64:
        raise statement.error("a relocation's type has 32 bits, its offset 64, neither is negative")
    value = assembler.parse(target, statement)
    if value.minus is not None or value.size_of is not None:
        raise statement.error("expected SYMBOL+ADDEND, or 0 for the null symbol")
    assembler.program.fixups.append(Fixup(statement, section, offset, 0, "asked", value, type=number))


DIRECTIVES: dict[str, Callable[[Assembler, Statement], None]] = {
    ".text": _shorthand,
    ".data": _shorthand,
    ".bss": _shorthand,
    ".section": _section,
    ".pushsection": _push,
    ".popsection": _pop,
    ".previous": _previous,
    **dict.fromkeys(_BINDINGS, _binding),
    ".type": _type,
    ".size": _size,
    ".set": _set,
    ".equ": _set,
    ".comm": _common,
    ".file": _file,
    ".balign": _align,
    ".zero": _zero,
    ".skip": _zero,
    **dict.fromkeys(_WIDTHS, _data),
    ".ascii": _strings,
    ".asciz": _strings,
    ".string": _strings,
    ".reloc": _reloc,
}
