"""The EFI image of Xen (`xen.efi`): a PE32+ file whose RVAs are offsets from XEN_VIRT_START."""

from __future__ import annotations

import struct
from typing import NamedTuple

from xsplice_loader.hypervisor.contents import FormError, Piece, Pieces, part
from xsplice_loader.releases import GIB

PE_MAGIC = b"MZ"
_AMD64 = 0x8664
_PE32_PLUS = 0x20B
_DEBUG_DIRECTORY = 6
_CODEVIEW = 2
_DISCARDABLE = 0x02000000
"""Relocations and debug information: not part of the image once it runs."""
_SECTION = struct.Struct("<8s6I2HI")
_DEBUG_ENTRY = struct.Struct("<IIHHIIII")
_MOST_SECTIONS = 96
_MOST_DEBUG_ENTRIES = 16


class PeSection(NamedTuple):
    """Where a section lies; sizes and offsets in bytes."""

    virtual_size: int
    rva: int
    file_size: int
    file_offset: int
    flags: int


class PeFile(NamedTuple):
    """What the headers of an EFI image say."""

    data: memoryview
    image_base: int
    sections: tuple[PeSection, ...]
    debug_rva: int
    debug_size: int

    def pieces(self) -> Pieces:
        """Return the image's bytes by their offset from XEN_VIRT_START."""
        pieces = []
        for section in self.sections:
            if section.flags & _DISCARDABLE:
                continue
            if section.rva + section.virtual_size > GIB:
                raise FormError("is no xen.efi, or damaged: a section lies outside Xen's 1 GiB")
            # Raw data are padded to the file alignment; what exceeds the virtual size is not mapped.
            stored = min(section.file_size, section.virtual_size)
            data = part(self.data, section.file_offset, stored, "a section")
            pieces.append(Piece(section.rva, section.virtual_size, data))
        return Pieces(pieces)

    def build_id(self) -> bytes | None:
        """Return the 16 bytes of the CodeView signature, which Xen takes as build-id (`spec/07`), or None."""
        pieces = self.pieces()
        entry_count = min(self.debug_size // _DEBUG_ENTRY.size, _MOST_DEBUG_ENTRIES)
        for index in range(entry_count):
            entry = pieces.read(self.debug_rva + index * _DEBUG_ENTRY.size, _DEBUG_ENTRY.size)
            if entry is None:
                return None
            kind, size, rva = _DEBUG_ENTRY.unpack(entry)[4:7]
            record = pieces.read(rva, 20) if kind == _CODEVIEW and size >= 20 else None
            if record is not None and record[:4] == b"RSDS":
                return record[4:]
        return None


def read_pe(data: memoryview) -> PeFile:
    """Read the headers of an EFI image.

    Raises:
        FormError: it is another kind of program, or its headers point outside it.

    """
    (header_at,) = struct.unpack("<I", part(data, 0x3C, 4, "the offset of the PE header"))
    header = part(data, header_at, 24, "the PE header")
    machine, section_count, _, _, _, optional_size, _ = struct.unpack("<HHIIIHH", header[4:])
    if bytes(header[:4]) != b"PE\0\0" or machine != _AMD64:
        raise FormError("is a DOS or Windows program, but no PE image for x86-64, as xen.efi is")
    optional = part(data, header_at + 24, optional_size, "the optional PE header")
    if optional_size < 112 or struct.unpack_from("<H", optional)[0] != _PE32_PLUS:
        raise FormError("is a PE image, but not of the 64-bit form (PE32+), as xen.efi is")
    (image_base,) = struct.unpack_from("<Q", optional, 24)
    (directory_count,) = struct.unpack_from("<I", optional, 108)
    debug_rva = debug_size = 0
    debug_at = 112 + 8 * _DEBUG_DIRECTORY
    if directory_count > _DEBUG_DIRECTORY and debug_at + 8 <= optional_size:
        debug_rva, debug_size = struct.unpack_from("<II", optional, debug_at)
    if section_count > _MOST_SECTIONS:
        raise FormError(f"damaged: it claims {section_count} sections, and {_MOST_SECTIONS} are the most")
    table = part(data, header_at + 24 + optional_size, section_count * _SECTION.size, "the section table")
    sections = tuple(
        PeSection(virtual_size, rva, file_size, file_offset, flags)
        for _, virtual_size, rva, file_size, file_offset, _, _, _, _, flags in _SECTION.iter_unpack(table)
    )
    return PeFile(data, image_base, sections, debug_rva, debug_size)
