"""A payload as read: header, sections and symbols over the file's own bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.payload import elf

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NOBITS = 2 << 20
"""Bytes that a NOBITS section may ask for where the release limits them (`spec/01 5.5`)."""


MAX_NAME = 4096
"""Bytes of a name that are looked at. No symbol of Xen's is nearly as long, and a string table of the largest payload
could otherwise give each of its symbols a name of a megabyte."""
SHOWN_NAME = 1024
"""Bytes of a name that are shown; a line of Xen's log takes no more."""


def text_of(name: bytes) -> str:
    r"""Return a name as text, with `\xNN` for bytes that are not UTF-8 (contract 2), and an ellipsis if it is long."""
    text = name[:SHOWN_NAME].decode("utf-8", "backslashreplace")
    return text + "…" if len(name) > SHOWN_NAME else text


def string_at(table: bytes, offset: int) -> bytes:
    """Return the NUL-terminated string at `offset` of a string table, or its first `MAX_NAME` bytes."""
    end = table.find(0, offset, offset + MAX_NAME)
    return table[offset : end if end >= 0 else offset + MAX_NAME]


class Header(NamedTuple):
    """What is used of `Elf64_Ehdr`."""

    section_table_offset: int
    section_header_size: int
    section_count: int
    name_table_index: int


class Section(NamedTuple):
    """One section header, with the section's name."""

    index: int  # type: ignore[assignment]  # a section's number has no other name, and nobody looks for values in it
    name: bytes
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def is_allocated(self) -> bool:
        """SHF_ALLOC: the section asks to be loaded."""
        return bool(self.flags & elf.SHF_ALLOC)

    @property
    def is_nobits(self) -> bool:
        """SHT_NOBITS: zero-filled, no bytes in the file."""
        return self.type == elf.SHT_NOBITS

    @property
    def is_executable(self) -> bool:
        """SHF_EXECINSTR."""
        return bool(self.flags & elf.SHF_EXECINSTR)

    @property
    def is_writable(self) -> bool:
        """SHF_WRITE."""
        return bool(self.flags & elf.SHF_WRITE)

    @property
    def text_name(self) -> str:
        """The name as text."""
        return text_of(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class SymbolEntries:
    """The payload's symbol table. Entry 0 is never used (`spec/01 §7`)."""

    section_index: int
    """Where the table stands in the section table."""
    table: np.ndarray
    """Fields `name`, `info`, `other`, `section`, `value`, `size`, one row a symbol."""
    strings: bytes

    def __len__(self) -> int:
        return len(self.table)

    def name(self, index: int) -> bytes:
        """Return the name of symbol `index`."""
        return string_at(self.strings, int(self.table["name"][index]))

    def names(self, indices: np.ndarray) -> Iterator[bytes]:
        """Yield the names of several symbols."""
        strings = self.strings
        find = strings.find
        for offset in self.table["name"][indices].tolist():
            end = find(0, offset, offset + MAX_NAME)
            yield strings[offset : end if end >= 0 else offset + MAX_NAME]


@dataclass(frozen=True, eq=False)
class ObjectFile:
    """An ET_REL file that passed all tests on its form."""

    data: bytes
    header: Header
    sections: tuple[Section, ...]
    """From section 1 on: `sections[0]` is section 1, since section 0 is no section."""
    symbols: SymbolEntries

    def section(self, index: int) -> Section:
        """Return the section of a 1-based index, as everywhere in ELF."""
        return self.sections[index - 1]

    def symbol_name(self, index: int) -> str:
        """Return a symbol's name as text; a section symbol, which has none, goes by its section's."""
        name = self.symbols.name(index)
        section = int(self.symbols.table["section"][index])
        if not name and 0 < section < self.header.section_count:
            name = self.section(section).name
        return text_of(name)

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        return {section.name.decode("utf-8", "surrogateescape"): section for section in reversed(self.sections)}

    def section_named(self, name: str) -> Section | None:
        """Return the first section of that name (`spec/01 §6`: later ones are never seen)."""
        return self._by_name.get(name)

    def bytes_of(self, section: Section) -> bytes:
        """Return a section's bytes in the file; for NOBITS zeros, 2 MiB of them at most."""
        if section.is_nobits:
            return bytes(min(section.size, MAX_NOBITS))
        return self.data[section.offset : section.offset + section.size]

    def uploaded(self, section: Section, extra: int = 0) -> bytes:
        """Return what Xen finds of a section in the upload's buffer, and up to `extra` bytes behind it.

        It looks at `sh_offset`, whatever the section's type. Behind the end of the file there are zeros here.
        """
        size = min(section.size, len(self.data) + MAX_NOBITS) + extra
        return self.data[section.offset : section.offset + size].ljust(size, b"\0")

    def relocation_entries(self, section: Section) -> np.ndarray:
        """Return a RELA section's entries; its size must have been tested."""
        count = section.size // section.entry_size
        return np.frombuffer(self.data, elf.rela_dtype(section.entry_size), count, section.offset)
