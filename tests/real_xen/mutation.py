"""Changes to a payload's file that respect its structure: fields, entries, sections, names, overlaps."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from real_xen.elf_fields import (
    HEADER,
    RELA,
    RELA_SIZE,
    SECTION,
    SECTION_SIZE,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SYMBOL,
    SYMBOL_SIZE,
    TABLES,
)
from real_xen.generator import ADDENDS, FEATURES, RELOCATION_TYPES
from real_xen.seed_file import SPARE_SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from real_xen.choice import Choice
    from real_xen.elf_fields import Layout, Section
    from real_xen.seed_file import SeedFile

COUNTS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5)
SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 24, 31, 32, 64, 127, 128, 254, 255)
FLAGS = (0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x12, 0x22, 0x30, 0x42, 0x82, 0x200, 0x402, 1 << 32, 1 << 63)
TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 17, 0x6FFF_FFF6, 0x7000_0001, 0xFFFF_FFFF)
ALIGNMENTS = (0, 1, 2, 3, 4, 8, 16, 48, 64, 4096, 8192, 1 << 21, 1 << 31, 1 << 32, 1 << 63)
SPECIAL_INDICES = (0, 0xFF00, 0xFF1F, 0xFFF1, 0xFFF2, 0xFFFF)
INTERESTING_ADDRESSES = (0, 1, 0x1000, 0xFFFF_82D0_4020_0000, 0xFFFF_8300_0000_0000, 0x8000_0000_0000, (1 << 64) - 1)


class Mutation(NamedTuple):
    """One change."""

    what: str
    writes: tuple[tuple[int, bytes], ...] = ()
    """Offsets, which may be past the end, and bytes."""
    size: int | None = None
    """What the file is cut or extended to afterwards; None: it is not."""


def mutated(data: bytes, mutations: Iterable[Mutation]) -> bytes:
    """Return a file with changes, in order; a gap that a write past the end leaves is filled with zeros."""
    file = bytearray(data)
    size: int | None = None
    for mutation in mutations:
        for offset, contents in mutation.writes:
            file.extend(bytes(max(offset + len(contents) - len(file), 0)))
            file[offset : offset + len(contents)] = contents
        size = mutation.size if mutation.size is not None else size
    if size is not None:
        file = file[:size].ljust(size, b"\0")
    return bytes(file)


class Mutator:
    """Makes changes to one file by chance."""

    def __init__(self, seed: SeedFile, choose: Choice) -> None:
        self._seed = seed
        self._form = seed.form
        self._choose = choose
        self._end = len(seed.data)
        """Where the next bytes that are added go."""
        self._added_sections = 0

    def mutations(self) -> list[Mutation]:
        """Return a few changes."""
        kinds: list[tuple[int, Callable[[], Mutation]]] = [
            (18, self._section_field), (8, self._overlap), (2, self._header_field), (13, self._symbol_field),
            (20, self._relocation_field), (18, self._table_field), (6, self._rename), (4, self._add_section),
            (6, self._add_relocations), (4, self._add_symbols), (5, self._bytes), (3, self._string),
            (2, self._copy_entry), (1, self._cut), (2, self._swap_sections),
        ]  # fmt: skip
        weights = [weight for weight, _ in kinds]
        count = self._choose.choice(COUNTS)
        return [kind() for _, kind in self._choose.choices(kinds, weights, k=count)]

    # Values -------------------------------------------------------------------------------------------------------

    def _section(self) -> int:
        return self._choose.randrange(len(self._form.sections))

    def _place(self) -> int:
        """Return an offset or size in the file at which something may happen."""
        choose = self._choose
        other = self._form.sections[self._section()]
        size = len(self._seed.data)
        value: int = choose.choice((
            other.offset, other.size, other.offset + other.size, size, size - other.offset, 0, self._form.section_table,
            -other.offset, -other.size, choose.randrange(size), choose.randrange(64), choose.edge(),
        ))  # fmt: skip
        return value + choose.choice((0, 0, 0, 0, 1, -1, 8, -8, choose.randrange(-64, 64)))

    def _table_of(self, kind: int) -> int | None:
        indices = [index for index in self._form.of_type(kind) if self._form.sections[index].size]
        return self._choose.choice(indices) if indices else None

    def _field(self, what: str, start: int, layout: Layout, field: str, value: int) -> Mutation:
        offset, size = layout[field]
        value &= (1 << 8 * size) - 1
        return Mutation(f"{what} {field} = {value:#x}", ((start + offset, value.to_bytes(size, "little")),))

    def _named(self, index: int) -> str:
        return f"section [{index}] {ascii(self._form.sections[index].name)[1:-1][:40]}"

    # Kinds of changes ---------------------------------------------------------------------------------------------

    def _section_field(self) -> Mutation:
        index, field = self._section(), self._choose.choice(list(SECTION))
        value = self._section_value(field)
        return self._field(self._named(index), self._form.header_of(index), SECTION, field, value)

    def _section_value(self, field: str) -> int:
        choose, count = self._choose, len(self._form.sections)
        value: int = {
            "sh_name": lambda: choose.choice((*self._seed.section_names, self._place())),
            "sh_type": lambda: choose.choice((*TYPES, choose.edge())),
            "sh_flags": lambda: choose.choice((*FLAGS, choose.edge())),
            "sh_addr": lambda: choose.choice((choose.edge(), choose.randrange(64))),
            "sh_link": lambda: choose.choice((choose.randrange(count), choose.randrange(count), count, choose.edge())),
            "sh_info": lambda: choose.choice((choose.randrange(count), choose.randrange(count), count, choose.edge())),
            "sh_addralign": lambda: choose.choice((*ALIGNMENTS, choose.edge())),
            "sh_entsize": lambda: choose.choice((*SMALL, choose.edge())),
        }.get(field, self._place)()
        return value

    def _overlap(self) -> Mutation:
        """Lay one section over another, or over the headers."""
        choose, form = self._choose, self._form
        index, other = self._section(), self._section()
        below = form.sections[other]
        offset = choose.choice((below.offset, below.offset, form.section_table, 0))
        offset += choose.choice((0, 0, 0, 8, 16, 24, 64, -8, choose.randrange(-64, 64)))
        start = form.header_of(index) + SECTION["sh_offset"][0]
        writes = [(start, struct.pack("<Q", offset & (1 << 64) - 1))]
        size = form.sections[index].size
        if choose.random() < 0.6:
            size = choose.choice((below.size, below.size + 8, max(below.size - 8, 0), choose.randrange(256), 64))
            writes.append((start + 8, struct.pack("<Q", size)))
        return Mutation(f"{self._named(index)} over {self._named(other)}: {offset:#x}, {size:#x} bytes", tuple(writes))

    def _header_field(self) -> Mutation:
        field = self._choose.choice(list(HEADER))
        value = self._choose.choice((self._place(), self._choose.edge(), self._choose.randrange(80)))
        return self._field("header", 0, HEADER, field, value)

    def _symbol_field(self) -> Mutation:
        choose = self._choose
        table = self._table_of(SHT_SYMTAB)
        if table is None:
            return self._section_field()
        section = self._form.sections[table]
        index = choose.randrange(max(section.size // SYMBOL_SIZE, 1))
        field = choose.choice(
            ("st_name", "st_info", "st_shndx", "st_shndx", "st_value", "st_value", "st_size", "st_other")
        )
        start = section.offset + index * SYMBOL_SIZE
        return self._field(f"symbol [{index}]", start, SYMBOL, field, self._symbol_value(field))

    def _symbol_value(self, field: str) -> int:
        choose = self._choose
        value: int = {
            "st_name": lambda: choose.choice((*self._seed.symbol_names, self._place())),
            "st_info": lambda: choose.choice((0, 1, 2, 10, 13)) << 4 | choose.choice((0, 1, 2, 3, 4, 5, 6, 10)),
            "st_shndx": lambda: choose.choice((*SPECIAL_INDICES, *(self._section() for _ in range(8)))),
        }.get(field, lambda: choose.choice((choose.edge(), choose.randrange(64), *INTERESTING_ADDRESSES)))()
        return value

    def _relocation_field(self) -> Mutation:
        choose = self._choose
        table = self._table_of(SHT_RELA)
        if table is None:
            return self._section_field()
        section = self._form.sections[table]
        index = choose.randrange(max(section.size // RELA_SIZE, 1))
        field = choose.choice(list(RELA))
        start = section.offset + index * RELA_SIZE
        return self._field(
            f"{self._named(table)} entry [{index}]", start, RELA, field, self._relocation_value(field, section)
        )

    def _relocation_value(self, field: str, table: Section) -> int:
        choose, sections = self._choose, self._form.sections
        target = sections[table.info] if table.info < len(sections) else sections[0]
        symbols = [section.size // SYMBOL_SIZE for section in sections if section.type == SHT_SYMTAB] or [1]
        value: int = {
            "r_offset": lambda: choose.choice((
                choose.randrange(max(target.size, 1)), target.size, target.size - 1, target.size - 4, target.size - 8,
                choose.edge(),
            )),
            "r_type": lambda: choose.choice((1, 2, 4, 24, 10, 11, 0, *RELOCATION_TYPES)),
            "r_sym": lambda: choose.choice((*(choose.randrange(symbols[0] + 1) for _ in range(6)), choose.edge())),
        }.get(field, lambda: choose.choice((choose.randrange(-64, 256), *ADDENDS)))()  # fmt: skip
        return value

    def _table_field(self) -> Mutation:
        choose = self._choose
        indices = [
            index for index, section in enumerate(self._form.sections) if section.name in TABLES and section.size
        ]
        if not indices:
            return self._section_field()
        index = choose.choice(indices)
        section = self._form.sections[index]
        size, layout = TABLES[section.name]
        entry = choose.randrange(max(section.size // size, 1))
        field = choose.choice(list(layout))
        if field == "cpuid":
            value = choose.choice(FEATURES)
        else:
            value = choose.choice((*SMALL, *INTERESTING_ADDRESSES, choose.edge(), choose.randrange(-64, 64)))
        return self._field(f"{self._named(index)} entry [{entry}]", section.offset + entry * size, layout, field, value)

    def _rename(self) -> Mutation:
        index, name = self._section(), self._choose.choice(self._seed.section_names)
        return self._field(f"{self._named(index)} renamed:", self._form.header_of(index), SECTION, "sh_name", name)

    def _add_section(self) -> Mutation:
        """Add a copy of a section header with some other fields."""
        index = self._section()
        header = bytearray(self._seed.data[self._form.header_of(index) : self._form.header_of(index + 1)])
        for field in self._choose.sample(("sh_name", "sh_type", "sh_flags", "sh_link", "sh_info", "sh_size"), k=2):
            offset, size = SECTION[field]
            value = self._section_value(field) & (1 << 8 * size) - 1
            header[offset : offset + size] = value.to_bytes(size, "little")
        return self._with_section(f"a copy of {self._named(index)}: {header.hex()}", bytes(header))

    def _with_section(self, what: str, header: bytes, *more: tuple[int, bytes]) -> Mutation:
        self._added_sections = min(self._added_sections + 1, self._seed.spare_sections)
        count = len(self._form.sections) + self._added_sections
        number = (HEADER["e_shnum"][0], struct.pack("<H", count))
        return Mutation(what, (number, (self._form.header_of(count - 1), header), *more))

    def _added(self, contents: bytes) -> tuple[int, bytes]:
        """Return the write that adds bytes to the end of the file."""
        offset = self._end + -self._end % 16
        self._end = offset + len(contents)
        return offset, contents

    def _add_relocations(self) -> Mutation:
        """Add a section of relocations, more or less sound ones."""
        choose, form = self._choose, self._form
        target = self._section()
        symbols = self._table_of(SHT_SYMTAB) or 0
        section = form.sections[target]._replace(info=target)
        rows = b"".join(
            struct.pack(
                "<QIIQ",
                *(
                    self._relocation_value(field, section) & (1 << 8 * RELA[field][1]) - 1
                    for field in ("r_offset", "r_type", "r_sym", "r_addend")
                ),
            )
            for _ in range(choose.randint(1, 4))
        )
        offset, contents = self._added(rows)
        flags = choose.choice((0, 0, 0x40, 2, 2))
        name = choose.choice(self._seed.section_names)
        header = struct.pack("<IIQQQQIIQQ", name, SHT_RELA, flags, 0, offset, len(rows), symbols, target, 8, RELA_SIZE)
        return self._with_section(f"relocations for {self._named(target)}: {rows.hex()}", header, (offset, contents))

    def _add_symbols(self) -> Mutation:
        """Make the symbol table longer."""
        choose = self._choose
        table = self._table_of(SHT_SYMTAB)
        if table is None:
            return self._section_field()
        section = self._form.sections[table]
        count = choose.randint(1, SPARE_SYMBOLS)
        rows = b"".join(
            b"".join(
                (self._symbol_value(field) & (1 << 8 * size) - 1).to_bytes(size, "little")
                for field, (_, size) in SYMBOL.items()
            )
            for _ in range(count)
        )
        size = (self._form.header_of(table) + SECTION["sh_size"][0], struct.pack("<Q", section.size + len(rows)))
        return Mutation(f"{count} more symbols: {rows.hex()}", (size, (section.offset + section.size, rows)))

    def _bytes(self) -> Mutation:
        contents = self._choose.randbytes(self._choose.randint(1, 8))
        section = self._form.sections[self._section()]
        offset = min(section.offset + self._choose.randrange(max(section.size, 1)), len(self._seed.data))
        return Mutation(f"bytes at {offset:#x}: {contents.hex()}", ((offset, contents),))

    def _string(self) -> Mutation:
        """Overwrite the end of a string, or a table's last byte or first."""
        choose = self._choose
        table = self._table_of(SHT_STRTAB)
        section = self._form.sections[table if table is not None else 0]
        contents = self._seed.data[section.offset : section.offset + section.size]
        ends = [index for index, byte in enumerate(contents) if not byte] or [0]
        offset = section.offset + choose.choice((choose.choice(ends), choose.choice(ends), ends[-1], 0))
        return Mutation(f"string table byte at {offset:#x}", ((offset, choose.choice((b"x", b"\xff", b"\n", b"%"))),))

    def _copy_entry(self) -> Mutation:
        """Write one entry of a table over another."""
        choose = self._choose
        sizes: Sequence[tuple[Section, int]] = [
            (section, {SHT_SYMTAB: SYMBOL_SIZE, SHT_RELA: RELA_SIZE}.get(section.type) or TABLES[section.name][0])
            for section in self._form.sections
            if section.type in (SHT_SYMTAB, SHT_RELA) or section.name in TABLES
        ]
        if not sizes:
            return self._section_field()
        section, size = choose.choice(sizes)
        first, second = (choose.randrange(max(section.size // size, 1)) for _ in range(2))
        start = section.offset + first * size
        entry = self._seed.data[start : start + size]
        what = f"{ascii(section.name)[1:-1][:40]} entry [{second}] := [{first}]"
        return Mutation(what, ((section.offset + second * size, entry),))

    def _swap_sections(self) -> Mutation:
        """Exchange two section headers."""
        first, second = self._section(), self._section()
        starts = [self._form.header_of(index) for index in (first, second)]
        headers = [self._seed.data[start : start + SECTION_SIZE] for start in starts]
        return Mutation(
            f"{self._named(first)} and [{second}] exchanged", tuple(zip(starts, reversed(headers), strict=True))
        )

    def _cut(self) -> Mutation:
        size = len(self._seed.data)
        choose = self._choose
        size = choose.choice(
            (size - 1, size - 8, size - 64, 0, 1, 63, 64, 65, choose.randrange(size), size + 1, 3 << 20)
        )
        return Mutation(f"file size {size:#x}", size=size)
