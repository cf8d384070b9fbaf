"""The ELF64 structures a payload is made of, as `struct` formats and numpy dtypes (ELF-64 Object File Format 1.5)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

import numpy as np

EHDR = Struct("<16sHHIQQQIHHHHHH")
SHDR = Struct("<IIQQQQIIQQ")
WORD = Struct("<I")
EHDR_SIZE = EHDR.size
SHDR_SIZE = SHDR.size
SYM_SIZE = 24
RELA_SIZE = 24
REL_SIZE = 16

MAGIC = b"\x7fELF"
ELFCLASS64 = 2
ELFDATA2LSB = 1
EV_CURRENT = 1
ELFOSABI_NONE = 0
ELFOSABI_FREEBSD = 9
ET_REL = 1
EM_X86_64 = 62

SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_STRTAB = 3
SHT_RELA = 4
SHT_NOTE = 7
SHT_NOBITS = 8
SHT_REL = 9

SHF_WRITE = 0x1
SHF_ALLOC = 0x2
SHF_EXECINSTR = 0x4
SHF_MERGE = 0x10

STT_FUNC = 2
SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2


@lru_cache(maxsize=8)
def symbol_dtype(entry_size: int) -> np.dtype[np.void]:
    """Return the dtype of `Elf64_Sym` in a table whose stride is `entry_size` (at least 24) bytes."""
    return np.dtype(
        {
            "names": ["name", "info", "other", "section", "value", "size"],
            "formats": ["<u4", "u1", "u1", "<u2", "<u8", "<u8"],
            "offsets": [0, 4, 5, 6, 8, 16],
            "itemsize": entry_size,
        }
    )


@lru_cache(maxsize=8)
def rela_dtype(entry_size: int) -> np.dtype[np.void]:
    """Return the dtype of `Elf64_Rela` in a table whose stride is `entry_size` (at least 24) bytes."""
    return np.dtype(
        {
            "names": ["offset", "type", "symbol", "addend"],
            "formats": ["<u8", "<u4", "<u4", "<i8"],
            "offsets": [0, 8, 12, 16],
            "itemsize": entry_size,
        }
    )


RELA = rela_dtype(RELA_SIZE)
"""`Elf64_Rela` by itself."""
