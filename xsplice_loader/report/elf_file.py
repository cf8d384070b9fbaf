"""`--elf`: a loaded payload as an ELF file that ordinary tools read.

The relocated memory becomes three segments at their real addresses; sections point into them, symbols have
their final values, and what was undefined is absolute now. Relocation sections are gone: they are done.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.payload import elf
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from xsplice_loader.relocation.trace import LoadTrace

_PHDR = Struct("<IIQQQQQQ")
_PT_LOAD = 1
_ET_EXEC = 2
_SHT_NULL = 0
_PERMISSION_BITS = {"r-x": 5, "rw-": 6, "r--": 4}


def elf_file(trace: LoadTrace) -> bytes:
    """Return the loaded payload as an ET_EXEC file."""
    payload, placement = trace.payload, trace.placement
    image_offset = PAGE_SIZE
    out = bytearray(image_offset) + trace.image.tobytes()
    headers = [bytes(elf.SHDR_SIZE)]
    for section in payload.sections:
        address = placement.addresses.get(section.index, 0)
        kind, size = section.type, section.size
        if section.index in placement.addresses:
            offset = image_offset + address - placement.base
            kind = elf.SHT_PROGBITS if section.is_nobits else kind
        elif section.type in (elf.SHT_RELA, elf.SHT_REL):
            kind, offset, size = _SHT_NULL, 0, 0
        else:
            offset = len(out)
            out += _symbols(trace) if section.index == payload.symbols.section_index else payload.bytes_of(section)
        name = elf.SHDR.unpack_from(
            payload.data, payload.header.section_table_offset + section.index * payload.header.section_header_size
        )[0]
        headers.append(
            elf.SHDR.pack(
                name, kind, section.flags, address, offset, size, section.link, section.info, 1, section.entry_size
            )
        )
    table_offset = len(out)
    out += b"".join(headers)

    segments = [region for region in placement.regions if region.size]
    for index, region in enumerate(segments):
        offset = image_offset + region.address - placement.base
        _PHDR.pack_into(
            out,
            elf.EHDR_SIZE + index * _PHDR.size,
            _PT_LOAD,
            _PERMISSION_BITS[region.permissions],
            offset,
            region.address,
            region.address,
            region.size,
            region.size,
            PAGE_SIZE,
        )
    ident = bytes(payload.data[:16])
    elf.EHDR.pack_into(
        out,
        0,
        ident,
        _ET_EXEC,
        elf.EM_X86_64,
        elf.EV_CURRENT,
        0,
        elf.EHDR_SIZE,
        table_offset,
        0,
        elf.EHDR_SIZE,
        _PHDR.size,
        len(segments),
        elf.SHDR_SIZE,
        len(headers),
        payload.header.name_table_index,
    )
    return bytes(out)


def _symbols(trace: LoadTrace) -> bytes:
    table = trace.payload.symbols.table.copy()
    resolved = trace.symbols.usable
    table["value"] = np.where(resolved, trace.symbols.values, table["value"])
    table["section"] = np.where((table["section"] == elf.SHN_UNDEF) & resolved, elf.SHN_ABS, table["section"])
    return table.tobytes()
