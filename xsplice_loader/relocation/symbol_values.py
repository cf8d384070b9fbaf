"""Storing symbols' values where something else of the file has the same bytes.

Xen goes through the symbols in order and stores each value in the upload buffer before it turns to the next symbol
(xen/common/livepatch_elf.c: livepatch_elf_resolve_symbols). Where the symbol table shares bytes with the symbols' names
or with section headers, later symbols are read as changed by earlier ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.c_strings import string_at
from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.memory.placement import is_ignored
from xsplice_loader.payload import Section, elf

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release

_VALUE = 8
"""Where in an entry of the symbol table `st_value` is."""


class StoredValues(NamedTuple):
    """What became of the symbols."""

    values: np.ndarray
    """Of each symbol that is not looked up, as uint64."""
    unplaced: np.ndarray
    """Which are defined in a section that gets no address, as bool."""
    names: dict[int, bytes]
    """The names of the symbols to look up, and of those without a section, as Xen found them."""
    buffer: bytes
    """The upload buffer afterwards."""


def store_values(
    payload: ObjectFile,
    addresses: np.ndarray,
    address_of: Callable[[bytes], int | None],
    release: Release,
) -> StoredValues:
    """Give symbol after symbol its value; `addresses` are those of the sections by index, 0 for those without one."""
    buffer = bytearray(payload.pages)
    header, table = payload.header, payload.symbols.table
    section = payload.section(payload.symbols.section_index)
    values, unplaced = table["value"].copy(), np.zeros(len(table), bool)
    names: dict[int, bytes] = {}
    for index in range(1, len(table)):
        at = section.offset + index * section.entry_size + _VALUE
        where = int(table["section"][index])
        if where == elf.SHN_ABS:
            continue
        if where == elf.SHN_UNDEF or where >= header.section_count:
            names[index] = string_at(buffer, payload.symbols.strings_offset + int(table["name"][index]))
            found = address_of(names[index]) if where == elf.SHN_UNDEF else None
            if found is None:
                continue
            values[index] = found
        else:
            header_at = header.section_table_offset + where * header.section_header_size
            home = Section(where, b"", *elf.SHDR.unpack_from(buffer, header_at)[1:])
            unplaced[index] = is_ignored(home, release)
            if not unplaced[index]:
                # Xen's sum wraps silently; numpy would warn.
                values[index] = (int(values[index]) + int(addresses[where])) & ADDRESS_MASK
        buffer[at : at + 8] = int(values[index]).to_bytes(8, "little")
    return StoredValues(values, unplaced, names, bytes(buffer))
