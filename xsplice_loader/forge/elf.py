"""The numbers and records of the ELF specification that the forge writes, and nothing more.

Kept apart from the loader's own reader on purpose: a misreading of the specification must not be able to
hide by being made on both sides.
"""

from __future__ import annotations

import struct
from typing import Final

ET_REL: Final = 1
ET_EXEC: Final = 2
EM_X86_64: Final = 62

SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_STRTAB: Final = 3
SHT_RELA: Final = 4
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8

SHF_WRITE: Final = 0x1
SHF_ALLOC: Final = 0x2
SHF_EXECINSTR: Final = 0x4
SHF_MERGE: Final = 0x10
SHF_STRINGS: Final = 0x20
SHF_INFO_LINK: Final = 0x40

SHN_UNDEF: Final = 0
SHN_ABS: Final = 0xFFF1
SHN_COMMON: Final = 0xFFF2

STB_LOCAL: Final = 0
STB_GLOBAL: Final = 1
STB_WEAK: Final = 2

STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STT_SECTION: Final = 3
STT_FILE: Final = 4

PT_LOAD: Final = 1
PT_NOTE: Final = 4
PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")

IDENT = bytes.fromhex("7f454c46020101") + bytes(9)
"""ELF64, little endian, version 1, System V ABI version 0."""

RELOCATION_TYPES: Final[dict[str, int]] = {
    "R_X86_64_NONE": 0,
    "R_X86_64_64": 1,
    "R_X86_64_PC32": 2,
    "R_X86_64_GOT32": 3,
    "R_X86_64_PLT32": 4,
    "R_X86_64_COPY": 5,
    "R_X86_64_GLOB_DAT": 6,
    "R_X86_64_JUMP_SLOT": 7,
    "R_X86_64_RELATIVE": 8,
    "R_X86_64_GOTPCREL": 9,
    "R_X86_64_32": 10,
    "R_X86_64_32S": 11,
    "R_X86_64_16": 12,
    "R_X86_64_PC16": 13,
    "R_X86_64_8": 14,
    "R_X86_64_PC8": 15,
    "R_X86_64_PC64": 24,
    "R_X86_64_GOTPCRELX": 41,
    "R_X86_64_REX_GOTPCRELX": 42,
}
"""The psABI's numbers, as far as the sources name them; `.reloc` takes any other as a number."""


def header(file_type: int, *, entry: int, phnum: int, shoff: int, shnum: int, shstrndx: int) -> bytes:
    """Return the 64 bytes of an ELF header; program headers, if any, are taken to follow at once."""
    phoff, phentsize = (HEADER.size, PROGRAM_HEADER.size) if phnum else (0, 0)
    return HEADER.pack(
        IDENT,
        file_type,
        EM_X86_64,
        1,
        entry,
        phoff,
        shoff,
        0,
        HEADER.size,
        phentsize,
        phnum,
        SECTION_HEADER.size,
        shnum,
        shstrndx,
    )


class StringTable:
    """A string table that grows: equal names share one entry, the first byte is the empty name."""

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._offsets: dict[str, int] = {"": 0}

    def offset(self, name: str) -> int:
        """Return where `name` stands, adding it if need be."""
        if name not in self._offsets:
            self._offsets[name] = len(self.data)
            self.data += name.encode() + b"\0"
        return self._offsets[name]


def round_up(value: int, alignment: int) -> int:
    """Return the next multiple of `alignment`, which is taken as 1 where it is 0."""
    alignment = max(alignment, 1)
    return -(-value // alignment) * alignment
