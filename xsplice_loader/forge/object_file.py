"""A plain writer of relocatable object files (ET_REL, ELF64, x86-64).

The order in the file never depends on anything but the order of the records given: header, contents of
the sections, one `.rela` table for every section that has relocations, `.symtab`, `.strtab`,
`.shstrtab`, section headers. So the same records always give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xsplice_loader.forge import elf


@dataclass(frozen=True, slots=True)
class Section:
    """A section with content of its own; `nobits_size` counts for SHT_NOBITS, `data` for all others."""

    name: str
    type: int = elf.SHT_PROGBITS
    flags: int = 0
    alignment: int = 1
    entry_size: int = 0
    data: bytes = b""
    nobits_size: int = 0
    link: int = 0
    info: int = 0

    @property
    def size(self) -> int:
        """What `sh_size` says, in bytes."""
        return self.nobits_size if self.type == elf.SHT_NOBITS else len(self.data)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; `section` is its `st_shndx`: the n-th section given to `ObjectFile` has index n, from 1."""

    name: str
    value: int = 0
    section: int = elf.SHN_UNDEF
    binding: int = elf.STB_GLOBAL
    type: int = elf.STT_NOTYPE
    size: int = 0


@dataclass(frozen=True, slots=True)
class Relocation:
    """A RELA entry against field `offset` of section index `section`.

    `symbol` is a position, from 0, in the symbols given to `ObjectFile`; None is the null symbol. `type` may
    be any 32-bit number.
    """

    section: int
    offset: int
    type: int
    symbol: int | None
    addend: int = 0


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """What an ET_REL file holds, before it is bytes."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...] = ()
    relocations: tuple[Relocation, ...] = field(default=())

    def write(self) -> bytes:
        """Return the file.

        Raises:
            struct.error: a number does not fit its field.

        """
        symtab, strings, places = symbol_table(self.symbols)
        rela = _relocation_sections(self, places)
        symtab_index = len(self.sections) + len(rela) + 1
        first_global = 1 + sum(symbol.binding == elf.STB_LOCAL for symbol in self.symbols)
        contents = [
            *self.sections,
            *(_linked(section, symtab_index) for section in rela),
            Section(".symtab", elf.SHT_SYMTAB, 0, 8, elf.SYMBOL.size, symtab, 0, symtab_index + 1, first_global),
            Section(".strtab", elf.SHT_STRTAB, data=strings),
        ]
        return write_sections(contents)


def _linked(section: Section, symtab: int) -> Section:
    return Section(section.name, section.type, section.flags, 8, elf.RELA.size, section.data, 0, symtab, section.info)


def _relocation_sections(file: ObjectFile, places: list[int]) -> list[Section]:
    tables: dict[int, bytearray] = {}
    for relocation in file.relocations:
        symbol = 0 if relocation.symbol is None else places[relocation.symbol]
        info = symbol << 32 | relocation.type
        entry = elf.RELA.pack(relocation.offset, info, relocation.addend)
        tables.setdefault(relocation.section, bytearray()).extend(entry)
    return [
        Section(
            ".rela" + file.sections[target - 1].name,
            elf.SHT_RELA,
            elf.SHF_INFO_LINK,
            data=bytes(data),
            info=target,
        )
        for target, data in sorted(tables.items())
    ]


def symbol_table(symbols: tuple[Symbol, ...]) -> tuple[bytes, bytes, list[int]]:
    """Return `.symtab`, `.strtab` and the index that each symbol got: locals come first, as ELF demands."""
    order = sorted(range(len(symbols)), key=lambda i: symbols[i].binding != elf.STB_LOCAL)
    places = [0] * len(symbols)
    strings = elf.StringTable()
    table = bytearray(elf.SYMBOL.size)
    for index, position in enumerate(order, 1):
        places[position] = index
        symbol = symbols[position]
        table += elf.SYMBOL.pack(
            strings.offset(symbol.name),
            symbol.binding << 4 | symbol.type,
            0,
            symbol.section,
            symbol.value & (1 << 64) - 1,
            symbol.size,
        )
    return bytes(table), bytes(strings.data), places


def write_sections(contents: list[Section]) -> bytes:
    """Return an ET_REL file of the null section, `contents` and `.shstrtab`."""
    names = elf.StringTable()
    for section in contents:
        names.offset(section.name)
    names.offset(".shstrtab")
    out = bytearray(elf.HEADER.size)
    headers = bytearray(elf.SECTION_HEADER.size)
    everything = [*contents, Section(".shstrtab", elf.SHT_STRTAB, data=bytes(names.data))]
    for section in everything:
        # A section of huge alignment needs it in memory, not in the file.
        out += bytes(elf.round_up(len(out), min(section.alignment, 4096)) - len(out))
        headers += elf.SECTION_HEADER.pack(
            names.offset(section.name),
            section.type,
            section.flags,
            0,
            len(out),
            section.size,
            section.link,
            section.info,
            section.alignment,
            section.entry_size,
        )
        if section.type != elf.SHT_NOBITS:
            out += section.data
    out += bytes(elf.round_up(len(out), 8) - len(out))
    count = len(everything) + 1
    start = elf.header(elf.ET_REL, entry=0, phnum=0, shoff=len(out), shnum=count, shstrndx=count - 1)
    out[: len(start)] = start
    return bytes(out + headers)
