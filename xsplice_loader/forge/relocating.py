"""The second half of assembling: every waiting field becomes bytes, or a relocation.

GNU as keeps a relocation wherever the linker might still move or replace the target, and so does this:

- a difference of two symbols of one section is a number;
- a PC-relative reference to a local symbol of the same section is a number;
- a reference to another local symbol is a relocation against its section's symbol, the symbol's offset
  being added to the addend, except where merging could separate them: into a section with SHF_MERGE,
  if PC-relative or with an addend of its own, or through the GOT;
- everything else is a relocation against the symbol itself. Absolute symbols too: they are never folded
  into relocations against symbol 0, which Xen refuses (`spec/07`, row 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.forge import elf
from xsplice_loader.forge.object_file import ObjectFile, Relocation, Section, Symbol
from xsplice_loader.forge.program import Fixup, Program, SectionDraft, SymbolDraft

if TYPE_CHECKING:
    from xsplice_loader.forge.source import Statement

_ABSOLUTE = {8: "R_X86_64_64", 4: "R_X86_64_32", 2: "R_X86_64_16", 1: "R_X86_64_8"}
_RELATIVE = {8: "R_X86_64_PC64", 4: "R_X86_64_PC32", 2: "R_X86_64_PC16", 1: "R_X86_64_PC8"}
_CHAIN = 16
"""How many `.set` names may stand for one another."""

Target = SymbolDraft | SectionDraft | None


def finish(program: Program) -> ObjectFile:
    """Resolve all symbols and fields of `program`.

    Raises:
        ForgeError: a value does not fit its field, or cannot be expressed in the file.

    """
    for symbol in list(program.symbols.values()):
        _settle(program, symbol)
    waiting = [entry for fixup in program.fixups if (entry := _apply(program, fixup))]
    targets, symbols = _symbol_table(program, [target for _, target, _, _ in waiting])
    index = {id(section): number for number, section in enumerate(program.sections, 1)}
    # In order of their fields, as linkers write them; `.reloc` alone can give two for one field.
    waiting.sort(key=lambda entry: entry[0].offset)
    relocations = tuple(
        Relocation(
            index[id(fixup.section)],
            fixup.offset,
            number,
            None if target is None else targets[id(target)],
            _signed(addend, fixup.statement),
        )
        for fixup, target, number, addend in waiting
    )
    sections = tuple(
        Section(s.name, s.type, s.flags, s.alignment, s.entry_size, bytes(s.data), s.nobits_size)
        for s in program.sections
    )
    return ObjectFile(sections, symbols, relocations)


def _settle(program: Program, symbol: SymbolDraft) -> None:
    """Give a symbol that `.set` made from a label its section and offset."""
    for _ in range(_CHAIN):
        value = symbol.value
        if value is None or value.is_constant:
            return
        assert symbol.statement is not None
        other = program.symbols.get(value.plus or "")
        if value.minus is not None or value.size_of is not None:
            symbol.value = type(value)(constant=_number(program, symbol, symbol.statement))
        elif other is None or not other.is_defined or other.common is not None:
            raise symbol.statement.error(f"{value.plus} has no place in this file that {symbol.name} could take")
        elif other.value is None:
            symbol.section, symbol.offset, symbol.value = other.section, other.offset + value.constant, None
        else:
            symbol.value = type(value)(other.value.plus, None, other.value.constant + value.constant)
    assert symbol.statement is not None
    raise symbol.statement.error(f"{symbol.name} is defined by way of too many other names")


def _number(program: Program, symbol: SymbolDraft, statement: Statement) -> int:
    assert symbol.value is not None
    difference = _difference(program, symbol.value.plus, symbol.value.minus)
    if difference is None or symbol.value.size_of is not None:
        raise statement.error("expected a number, SYMBOL+N, or a difference within one section")
    return difference + symbol.value.constant


def _difference(program: Program, plus: str | None, minus: str | None) -> int | None:
    if plus is None and minus is None:
        return 0
    left, right = program.symbols.get(plus or ""), program.symbols.get(minus or "")
    if left is None or right is None or left.section is None or left.section is not right.section:
        return None
    return left.offset - right.offset


def _size(program: Program, symbol: SymbolDraft) -> int:
    if symbol.sized_by is None:
        return 0
    difference = _difference(program, symbol.size.plus, symbol.size.minus)
    if difference is None or symbol.size.size_of is not None:
        raise symbol.sized_by.error(f"the size of {symbol.name} is not a number")
    size = difference + symbol.size.constant
    if not 0 <= size < 1 << 64:
        raise symbol.sized_by.error(f"the size of {symbol.name} would be {size}")
    return size


def _apply(program: Program, fixup: Fixup) -> tuple[Fixup, Target, int, int] | None:
    """Write the field, or return what a relocation for it needs: fixup, target, type, addend."""
    value, addend = fixup.expression, fixup.expression.constant
    if value.size_of is not None:
        owner = program.symbols.get(value.size_of)
        if owner is None or owner.sized_by is None or value.plus or value.minus:
            raise fixup.statement.error(f"{value.size_of} has no size here; give it one with .size")
        _write(fixup, _size(program, owner) + addend)
        return None
    if fixup.kind == "asked":
        assert isinstance(fixup.type, int)
        symbol = None if value.plus is None else program.symbol(value.plus)
        if symbol is not None:
            symbol.wanted = True
        return fixup, symbol, fixup.type, addend
    difference = _difference(program, value.plus, value.minus)
    if fixup.kind == "data" and difference is not None:
        _write(fixup, difference + addend)
        return None
    if value.plus is None:
        raise fixup.statement.error("a value cannot be less a symbol alone")
    symbol = program.symbol(value.plus)
    relative = fixup.kind in ("branch", "pc-relative", "got")
    if value.minus is not None:
        minus = program.symbol(value.minus)
        if fixup.kind != "data" or minus.section is not fixup.section:
            raise fixup.statement.error(f"{value.minus} must lie in {fixup.section.name}, like the field itself")
        relative = True
        addend += fixup.offset - minus.offset
    addend -= fixup.after if relative else 0
    if relative and symbol.is_local and symbol.section is fixup.section and fixup.kind != "got":
        _write(fixup, symbol.offset + addend - fixup.offset)
        return None
    merged = relative or value.constant != 0
    if not symbol.is_defined and symbol.name.startswith(".L"):
        label = symbol.name[2:].partition("\x02")[0] if "\x02" in symbol.name else symbol.name
        raise fixup.statement.error(f"local label {label} is not defined in this file")
    target, extra = _target(symbol, named=fixup.kind == "got", merged=merged)
    return fixup, target, elf.RELOCATION_TYPES[_type_name(fixup, symbol, relative)], addend + extra


def _type_name(fixup: Fixup, symbol: SymbolDraft, relative: bool) -> str:
    if isinstance(fixup.type, str):
        return fixup.type
    value = fixup.expression
    if fixup.kind == "branch" and (value.modifier or not value.constant):
        # Only what might come from elsewhere can need a procedure linkage table.
        return "R_X86_64_PC32" if symbol.is_local and symbol.section else "R_X86_64_PLT32"
    if fixup.kind == "signed":
        return "R_X86_64_32S"
    return (_RELATIVE if relative else _ABSOLUTE)[fixup.width]


def _target(symbol: SymbolDraft, *, named: bool, merged: bool) -> tuple[Target, int]:
    """Return what a relocation names, and what that adds to its addend."""
    section = symbol.section
    if section is None or not symbol.is_local or named or (section.flags & elf.SHF_MERGE and merged):
        symbol.wanted = True
        return symbol, 0
    return section, symbol.offset


def _write(fixup: Fixup, value: int) -> None:
    bits = 8 * fixup.width
    unsigned = fixup.kind in ("data", "absolute")
    if not -(1 << bits - 1) <= value < 1 << (bits if unsigned else bits - 1):
        raise fixup.statement.error(f"the value {value:#x} does not fit {bits} bits")
    data = (value & (1 << bits) - 1).to_bytes(fixup.width, "little")
    if fixup.section.type != elf.SHT_NOBITS:
        fixup.section.data[fixup.offset : fixup.offset + fixup.width] = data
    elif any(data):
        raise fixup.statement.error(f"section {fixup.section.name} is @nobits and holds zeros only")


def _signed(addend: int, statement: Statement) -> int:
    if not -(1 << 63) <= addend < 1 << 64:
        raise statement.error(f"the addend {addend:#x} does not fit 64 bits")
    return addend - (1 << 64) if addend >= 1 << 63 else addend


def _symbol_table(program: Program, targets: list[Target]) -> tuple[dict[int, int], tuple[Symbol, ...]]:
    index = {id(section): number for number, section in enumerate(program.sections, 1)}
    places: dict[int, int] = {}
    symbols: list[Symbol] = []
    for section in program.sections:
        if any(target is section for target in targets):
            places[id(section)] = len(symbols)
            symbols.append(Symbol("", 0, index[id(section)], elf.STB_LOCAL, elf.STT_SECTION))
    used = {id(target) for target in targets}
    for symbol in program.symbols.values():
        if not symbol.is_defined and id(symbol) not in used and not symbol.wanted:
            continue
        if symbol.name.startswith(".L") and not symbol.wanted:
            continue
        places[id(symbol)] = len(symbols)
        symbols.append(_record(program, symbol, index))
    return places, tuple(symbols)


def _record(program: Program, symbol: SymbolDraft, index: dict[int, int]) -> Symbol:
    binding = symbol.binding
    if binding is None:
        binding = elf.STB_LOCAL if symbol.is_local else elf.STB_GLOBAL
    if symbol.section is not None:
        section, value = index[id(symbol.section)], symbol.offset
    elif symbol.value is not None:
        section, value = elf.SHN_ABS, symbol.value.constant
    elif symbol.common is not None:
        section, value = elf.SHN_COMMON, symbol.common
    else:
        section, value = elf.SHN_UNDEF, 0
    return Symbol(symbol.name, value, section, binding, symbol.type, _size(program, symbol))
