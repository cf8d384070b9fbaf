"""Linking one object file at a fixed address, as the model hypervisor needs it and no more.

Sections go by their permissions, in the order code, read-only data, data; each kind starts on a new page and
becomes one PT_LOAD. Notes get a PT_NOTE besides. Nothing is resolved from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xsplice_loader.forge import elf
from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.forge.object_file import ObjectFile, Relocation, Section, Symbol, symbol_table

PAGE_SIZE = 4096
_KINDS = (
    (elf.SHF_ALLOC | elf.SHF_EXECINSTR, elf.PF_R | elf.PF_X),
    (elf.SHF_ALLOC, elf.PF_R),
    (elf.SHF_ALLOC | elf.SHF_WRITE, elf.PF_R | elf.PF_W),
)
_PERMISSIONS = elf.SHF_ALLOC | elf.SHF_WRITE | elf.SHF_EXECINSTR
_FIELDS = {
    1: (8, False, False),
    2: (4, True, True),
    4: (4, True, True),
    10: (4, False, False),
    11: (4, False, True),
}
"""Relocation type: bytes, PC-relative, signed."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A section with its address; `number` is its index in the object file."""

    section: Section
    number: int
    address: int
    kind: int


def link(file: ObjectFile, base: int, entry: str) -> bytes:
    """Return an ET_EXEC file of `file` with its first section at `base`, starting at symbol `entry`.

    Raises:
        ForgeError: a symbol is undefined, a relocation's type is not known here, or a value does not fit.

    """
    placed = _place(file, base)
    addresses = {item.number: item.address for item in placed}
    symbols = tuple(_moved(symbol, addresses) for symbol in file.symbols)
    contents = {item.number: bytearray(item.section.data) for item in placed}
    for relocation in file.relocations:
        _relocate(contents[relocation.section], addresses[relocation.section], relocation, symbols)
    placed = [replace(p, section=replace(p.section, data=bytes(contents[p.number]))) for p in placed]
    position = {item.number: index for index, item in enumerate(placed, 1)}
    kept = tuple(
        replace(symbol, section=position.get(symbol.section, symbol.section))
        for symbol in symbols
        if symbol.type != elf.STT_SECTION
    )
    start = next((symbol.value for symbol in symbols if symbol.name == entry), None)
    if start is None:
        raise ForgeError(f"there is no symbol {entry} to start at")
    return _write(placed, kept, start)


def _place(file: ObjectFile, base: int) -> list[_Placed]:
    placed, address = [], base
    for kind, (flags, _) in enumerate(_KINDS):
        address = elf.round_up(address, PAGE_SIZE)
        members = [(n, s) for n, s in enumerate(file.sections, 1) if s.flags & _PERMISSIONS == flags]
        for number, section in sorted(members, key=lambda item: item[1].type == elf.SHT_NOBITS):
            address = elf.round_up(address, section.alignment)
            placed.append(_Placed(section, number, address, kind))
            address += section.size
    if len(placed) != len(file.sections):
        raise ForgeError("every section must be loadable, and none both writable and executable")
    return placed


def _moved(symbol: Symbol, addresses: dict[int, int]) -> Symbol:
    if symbol.section == elf.SHN_ABS:
        return symbol
    if symbol.section not in addresses:
        raise ForgeError(f"symbol {symbol.name} is not defined")
    return replace(symbol, value=symbol.value + addresses[symbol.section])


def _relocate(data: bytearray, address: int, relocation: Relocation, symbols: tuple[Symbol, ...]) -> None:
    if relocation.type not in _FIELDS or relocation.symbol is None:
        raise ForgeError(f"relocation type {relocation.type} is not linked here")
    width, relative, signed = _FIELDS[relocation.type]
    s, a, p = symbols[relocation.symbol].value, relocation.addend, address + relocation.offset
    value = s + a - (p if relative else 0)
    low, high = (-(1 << 8 * width - 1), 1 << 8 * width - 1) if signed else (0, 1 << 8 * width)
    if not low <= value < high or not 0 <= relocation.offset <= len(data) - width:
        name = symbols[relocation.symbol].name
        raise ForgeError(f"{value:#x}, for {name} at {p:#018x}, does not fit {width} bytes")
    field = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    data[relocation.offset : relocation.offset + width] = field


def _write(placed: list[_Placed], symbols: tuple[Symbol, ...], entry: int) -> bytes:
    kinds = [kind for kind in range(len(_KINDS)) if any(item.kind == kind for item in placed)]
    notes = [item for item in placed if item.section.type == elf.SHT_NOTE]
    out = bytearray(elf.HEADER.size + elf.PROGRAM_HEADER.size * (len(kinds) + len(notes)))
    offsets: dict[int, int] = {}
    segments = bytearray()
    for kind in kinds:
        members = [item for item in placed if item.kind == kind]
        first, last = members[0], members[-1]
        # A loader maps pages, so an offset in the file equals its address within a page.
        out += bytes((first.address - len(out)) % PAGE_SIZE)
        start = len(out)
        for item in members:
            offsets[item.number] = start + item.address - first.address
            if item.section.type != elf.SHT_NOBITS:
                out += bytes(offsets[item.number] - len(out)) + item.section.data
        memory = last.address + last.section.size - first.address
        segments += elf.PROGRAM_HEADER.pack(
            elf.PT_LOAD,
            _KINDS[kind][1],
            start,
            first.address,
            first.address,
            len(out) - start,
            memory,
            PAGE_SIZE,
        )
    for item in notes:
        size, address = item.section.size, item.address
        segments += elf.PROGRAM_HEADER.pack(
            elf.PT_NOTE, elf.PF_R, offsets[item.number], address, address, size, size, item.section.alignment
        )
    out[elf.HEADER.size : elf.HEADER.size + len(segments)] = segments
    headers = _section_headers(out, placed, offsets, symbols)
    out += bytes(-len(out) % 8)
    count, phnum = len(placed) + 4, len(kinds) + len(notes)
    head = elf.header(elf.ET_EXEC, entry=entry, phnum=phnum, shoff=len(out), shnum=count, shstrndx=count - 1)
    out[: elf.HEADER.size] = head
    return bytes(out + headers)


def _section_headers(
    out: bytearray, placed: list[_Placed], offsets: dict[int, int], symbols: tuple[Symbol, ...]
) -> bytearray:
    table, strings, _ = symbol_table(symbols)
    first_global = 1 + sum(symbol.binding == elf.STB_LOCAL for symbol in symbols)
    names = elf.StringTable()
    headers = bytearray(elf.SECTION_HEADER.size)
    for item in placed:
        s, name = item.section, names.offset(item.section.name)
        where = (item.address, offsets[item.number], s.size)
        headers += elf.SECTION_HEADER.pack(name, s.type, s.flags, *where, 0, 0, s.alignment, s.entry_size)
    offset_of_names = [names.offset(name) for name in (".symtab", ".strtab", ".shstrtab")]
    tail = (
        (elf.SHT_SYMTAB, table, len(placed) + 2, first_global, 8, elf.SYMBOL.size),
        (elf.SHT_STRTAB, strings, 0, 0, 1, 0),
        (elf.SHT_STRTAB, bytes(names.data), 0, 0, 1, 0),
    )
    for name, (kind, data, link_to, info, alignment, entry_size) in zip(offset_of_names, tail, strict=True):
        out += bytes(-len(out) % alignment)
        headers += elf.SECTION_HEADER.pack(name, kind, 0, 0, len(out), len(data), link_to, info, alignment, entry_size)
        out += data
    return headers
