"""A payload as read: header, sections and symbols over the file's own bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.c_strings import KEPT_NAME, SHOWN_NAME, UnterminatedString, runs_off, string_at
from xsplice_loader.payload import elf
from xsplice_loader.payload.upload_buffer import in_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ADDRESS_MASK = (1 << 64) - 1
USUAL_SYMBOL_TABLE = b".symtab"
MAX_NOBITS = 2 << 20
"""Bytes that a NOBITS section may ask for where the release limits them (`spec/01 5.5`)."""


def text_of(name: bytes) -> str:
    r"""Return a name as text, with `\xNN` for bytes that are not UTF-8 (contract 2), and an ellipsis if it is long."""
    text = name[:SHOWN_NAME].decode("utf-8", "backslashreplace")
    return text + "…" if len(name) > SHOWN_NAME else text


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
    strings_offset: int
    """Where in the file the strings begin."""
    may_run_off: bool = False
    """Whether a name may be an `UnterminatedString`: the table's size wraps, or its bytes were changed."""

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
            end = find(0, offset, offset + KEPT_NAME)
            yield strings[offset:end] if end >= 0 else string_at(strings, offset)


@dataclass(frozen=True, eq=False)
class ObjectFile:
    """An ET_REL file that passed all tests on its form."""

    data: bytes
    header: Header
    sections: tuple[Section, ...]
    """From section 1 on: `sections[0]` is section 1, since section 0 is no section."""
    symbols: SymbolEntries
    relocations: Mapping[int, np.ndarray] = field(default_factory=dict)
    """By section the entries that were not read from the file, but as something had changed them by then."""
    sent: ObjectFile | None = None
    """The payload as it was sent, of one that was read again after the upload buffer had changed."""
    has_unterminated_names: bool = False
    """Whether the name of any section runs on into unmapped memory."""

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
    def by_name(self) -> dict[str, Section]:
        """The first section of each name."""
        return {section.name.decode("utf-8", "surrogateescape"): section for section in reversed(self.sections)}

    def section_named(self, name: str) -> Section | None:
        """Return the first section of that name (`spec/01 §6`: later ones are never seen)."""
        return self.by_name.get(name)

    def name_that_runs_off(self, name: str) -> Section | None:
        """Return the section whose name Xen cannot compare with `name` when it searches for that one, if any."""
        wanted = name.encode()
        for section in self.sections:
            if section.name == wanted and not isinstance(section.name, UnterminatedString):
                return None
            if runs_off(section.name, wanted):
                return section
        return None

    def bytes_of(self, section: Section) -> bytes:
        """Return a section's bytes in the file; for NOBITS zeros, 2 MiB of them at most."""
        if section.is_nobits:
            return bytes(min(section.size, MAX_NOBITS))
        return self.data[section.offset : section.offset + section.size]

    @cached_property
    def has_loaded_relocations(self) -> bool:
        """Whether a relocation section asks to be loaded."""
        return any(section.is_allocated and section.type == elf.SHT_RELA for section in self.sections)

    @cached_property
    def pages(self) -> bytes:
        """The upload buffer: the file, filled up with zeros to whole pages."""
        return in_pages(self.data)

    def uploaded(self, section: Section, extra: int = 0) -> bytes:
        """Return what Xen finds of a section in the upload buffer, and up to `extra` bytes after it.

        It looks at `sh_offset`, whatever the section's type. What is returned ends with the buffer's pages, where
        Xen meets a page fault.
        """
        end = section.offset + section.size + extra
        return (self.data if end <= len(self.data) else self.pages)[section.offset : end]

    def uploaded_byte(self, offset: int) -> int | None:
        """Return a byte of the upload buffer; None where that is not mapped."""
        return self.pages[offset] if offset < len(self.pages) else None

    def relocation_entries(self, section: Section) -> np.ndarray:
        """Return a RELA section's entries, as many as the upload buffer holds; its size must have been tested."""
        known = self.relocations.get(section.index)
        if known is not None:
            return known
        count = section.size // section.entry_size
        if section.offset + section.size <= len(self.data):
            return np.frombuffer(self.data, elf.rela_dtype(section.entry_size), count, section.offset)
        return rows_in(self.pages, section.offset, section.entry_size, count, elf.RELA)

    def is_changed_by_symbols(self) -> bool:
        """Tell whether anything else that Xen reads of the file has bytes of the symbol table."""
        table = self.section(self.symbols.section_index)
        if table.name != USUAL_SYMBOL_TABLE:
            # It may have the name of a section that Xen looks for.
            return True
        start, end = table.offset, table.offset + table.size
        headers = self.header.section_table_offset
        if headers < end and start < headers + self.header.section_count * self.header.section_header_size:
            return True
        shared = [
            section
            for section in self.sections
            if section.offset < end and start < section.offset + section.size and section is not table
        ]
        return any(not (section.is_nobits and section.is_allocated) for section in shared)

    def changed(self, buffer: bytes) -> ObjectFile:
        """Return the payload as it is read when the upload buffer has changed to `buffer`.

        Xen keeps where a section, a section's name, a symbol and a symbol's name begin, and how many symbols there
        are; everything else is read again where it is needed.
        """
        sent = self.sent or self
        name_table = sent.section(sent.header.name_table_index).offset
        sections = []
        for old in sent.sections:
            at = sent.header.section_table_offset + old.index * sent.header.section_header_size
            (name,) = elf.WORD.unpack_from(sent.data, at)
            fields = elf.SHDR.unpack_from(buffer, at)[1:]
            new = Section(old.index, string_at(buffer, name_table + name), *fields)
            sections.append(new._replace(offset=old.offset))
        old_symbols = sent.symbols
        symbol_section, strings_at = sent.section(old_symbols.section_index), old_symbols.strings_offset
        dtype = elf.symbol_dtype(elf.SYM_SIZE)
        table = rows_in(buffer, symbol_section.offset, symbol_section.entry_size, len(old_symbols), dtype).copy()
        table["name"] = old_symbols.table["name"]
        symbols = SymbolEntries(old_symbols.section_index, table, buffer[strings_at:], strings_at, may_run_off=True)
        return replace(
            self,
            data=buffer,
            sections=tuple(sections),
            symbols=symbols,
            sent=sent,
            has_unterminated_names=have_unterminated_names(sections),
        )


def have_unterminated_names(sections: Iterable[Section]) -> bool:
    """Tell whether the name of any of some sections runs on into unmapped memory."""
    return any(isinstance(section.name, UnterminatedString) for section in sections)


def rows_in(buffer: bytes | np.ndarray, offset: int, stride: int, count: int, dtype: np.dtype[np.void]) -> np.ndarray:
    """Return the rows of a table at `offset`, every `stride` bytes one, as far as `buffer` holds them."""
    room = len(buffer) - offset - dtype.itemsize
    count = min(count, room // stride + 1) if room >= 0 else 0
    if not count:
        return np.zeros(0, dtype)
    return np.ndarray((count,), dtype, buffer, offset, (stride,) if count > 1 else None)
