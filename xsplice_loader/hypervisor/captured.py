"""Captured memory of a running hypervisor: an ELF core file whose segments have virtual addresses.

Such files come from `scripts/real-xen capture`, or from an emulator's memory dump. Only what is in the gigabyte of
Xen's image is taken; everything else in a core (guests, the direct map) is passed over.
"""

from __future__ import annotations

import mmap
import os
import struct
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.hypervisor.contents import (
    GZIP_MAGIC,
    FormError,
    HypervisorFileError,
    Piece,
    Pieces,
    part,
    read_contents,
)
from xsplice_loader.hypervisor.elf import ELF_MAGIC, EM_X86_64, PT_LOAD, PT_NOTE, build_id_in
from xsplice_loader.releases import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

ET_CORE = 4
_PN_XNUM = 0xFFFF
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION_INFO = Struct("<44xI")
_MAX_SEGMENTS = 1 << 20
_MAX_NOTES = 1 << 20
"""Bytes of a note segment that are looked at; dumps have a note for each processor before others."""


class CapturedMemory:
    """What a core file holds of Xen's gigabyte."""

    def __init__(self, file: str, build_id: bytes | None, pieces: Pieces) -> None:
        self.file = file
        self.build_id = build_id
        """What a note of the core says; None where it has none."""
        self._pieces = pieces

    def read(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes; None unless all of them were captured."""
        return self._pieces.read(address, size)

    def available(self, address: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield those of `size` bytes that were captured: the address of each run, and its bytes."""
        return self._pieces.available(address, size)


def read_captured_memory(path: str | os.PathLike[str], xen_virt_start: int) -> CapturedMemory:
    """Read a core file; `-` is standard input, and it may be gzipped.

    Raises:
        HypervisorFileError: it cannot be read, is no core file of x86-64 with virtual addresses, is damaged or
            truncated, or holds nothing of the gigabyte from `xen_virt_start`.
    """
    file = os.fspath(path)
    try:
        return _read(file, _contents(file), xen_virt_start)
    except FormError as error:
        raise HypervisorFileError(f"captured memory {file}: {error}") from None
    except OSError as error:
        raise HypervisorFileError(f"cannot read captured memory {file}: {error.strerror or error}") from None


def _contents(file: str) -> memoryview:
    """Return the file's bytes. A dump of a whole machine is mapped, as most of it is never looked at."""
    if file == "-":
        return read_contents(file)
    with open(file, "rb") as opened:
        if opened.read(2) == GZIP_MAGIC:
            return read_contents(file)
        if not os.fstat(opened.fileno()).st_size:
            raise FormError("is empty")
        try:
            return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as error:
            raise FormError(f"cannot be mapped: {error}") from None


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int


def _read(file: str, data: memoryview, xen_virt_start: int) -> CapturedMemory:
    end = xen_virt_start + GIB
    build_id = None
    pieces = []
    for segment in _segments(data):
        contents = part(data, segment.offset, segment.file_size, "a segment")
        start, stop = segment.address, segment.address + segment.file_size
        if segment.kind == PT_NOTE:
            build_id = build_id or build_id_in(contents[:_MAX_NOTES])
        elif segment.kind == PT_LOAD and start < end and xen_virt_start < stop:
            low, high = max(start, xen_virt_start), min(stop, end)
            # A copy: the file may be overwritten while it is mapped.
            pieces.append(Piece(low, high - low, memoryview(bytes(contents[low - start : high - start]))))
    if not pieces:
        raise FormError(
            f"holds nothing of Xen's image, which is in the 1 GiB from {xen_virt_start:#x}; do its segments have "
            "virtual addresses?"
        )
    return CapturedMemory(file, build_id, Pieces(pieces))


def _segments(data: memoryview) -> list[_Segment]:
    """Return the program headers of a core file."""
    if data[:4] != ELF_MAGIC:
        raise FormError("is not an ELF core file")
    try:
        ident, kind, machine, _, _, segments_at, sections_at, _, _, size, count, _, _, _ = _HEADER.unpack_from(data)
        if ident[4] != 2 or ident[5] != 1 or machine != EM_X86_64:
            raise FormError("is not an ELF core file for x86-64")
        if kind != ET_CORE:
            raise FormError(f"is an ELF file of type {kind}, not a core file (ET_CORE, {ET_CORE})")
        if count == _PN_XNUM:
            (count,) = _SECTION_INFO.unpack_from(data, sections_at)
    except struct.error:
        raise FormError("truncated or damaged: its headers are not in the file") from None
    if size != _SEGMENT.size or count > _MAX_SEGMENTS:
        raise FormError(f"damaged: it has {count} program headers of {size} bytes")
    table = part(data, segments_at, count * size, "the program header table")
    return [_Segment(*entry) for entry in _SEGMENT.iter_unpack(table)]
