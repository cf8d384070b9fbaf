"""Object files with section headers, symbols and bytes changed: what no assembler makes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xsplice_loader.payload.elf import SHDR

_FIELDS = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "addralign", "entsize")
_WRAP = 1 << 64


@dataclass
class ChangedFile:
    """An ET_REL file whose fields can be set by name."""

    data: bytearray

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self._table, self._count, strings = (
            struct.unpack_from("<Q", data, 40)[0],
            *struct.unpack_from("<HH", data, 60),
        )
        start = self._fields(strings)["offset"]
        self.names: dict[str, int] = {}
        for index in range(self._count - 1, 0, -1):
            at = start + self._fields(index)["name"]
            self.names[data[at : data.index(0, at)].decode()] = index

    def _fields(self, index: int) -> dict[str, int]:
        return dict(zip(_FIELDS, SHDR.unpack_from(self.data, self._table + index * SHDR.size), strict=True))

    def section(self, name: str) -> dict[str, int]:
        """Return the header of a section."""
        return self._fields(self.names[name])

    def set(self, section: str, **fields: int) -> ChangedFile:
        """Set fields of a section header, modulo 2^64."""
        new = {**self.section(section), **{field: value % _WRAP for field, value in fields.items()}}
        SHDR.pack_into(self.data, self._table + self.names[section] * SHDR.size, *new.values())
        return self

    def wrap(self, name: str, end: int = 0) -> ChangedFile:
        """Make a section's size such that it ends at `end` of the file, which is before its start."""
        return self.set(name, size=end - self.section(name)["offset"])

    def put(self, offset: int, contents: bytes) -> ChangedFile:
        """Overwrite bytes."""
        self.data[offset : offset + len(contents)] = contents
        return self

    def append(self, contents: bytes, *, to_page_end: bool = False) -> int:
        """Put bytes after the file's end, or make them the last of a page; return where they are."""
        if to_page_end:
            self.data += bytes(-(len(self.data) + len(contents)) % 4096)
        self.data += contents
        return len(self.data) - len(contents)

    def symbol(self, index: int) -> int:
        """Return where a symbol is in the file."""
        return self.section(".symtab")["offset"] + 24 * index

    def undefined(self) -> int:
        """Return the index of the first symbol to look up."""
        return next(
            index for index in self._indices() if not struct.unpack_from("<H", self.data, self.symbol(index) + 6)[0]
        )

    def symbol_named(self, name: str) -> int:
        """Return the index of a symbol."""
        strings = self.section(".strtab")["offset"]
        wanted = name.encode() + b"\0"
        for index in self._indices():
            at = strings + int.from_bytes(self.data[self.symbol(index) : self.symbol(index) + 4], "little")
            if self.data.startswith(wanted, at):
                return index
        raise LookupError(name)

    def _indices(self) -> range:
        return range(1, self.section(".symtab")["size"] // 24)

    def relocation(self, section: str, row: int, offset: int, symbol: int, addend: int) -> ChangedFile:
        """Write an entry of type R_X86_64_64."""
        entry = struct.pack("<QIIQ", offset, 1, symbol, addend % _WRAP)
        return self.put(self.section(section)["offset"] + 24 * row, entry)
