"""Captured memory of a running hypervisor: an ELF core file whose segments have virtual addresses.

Such files come from `scripts/real-xen capture`, or from an emulator's memory dump. Only what is in the range of Xen's
image is taken; everything else in a core (guests, the direct map) is passed over.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from contextlib import contextmanager
from itertools import islice, pairwise
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.hypervisor.contents import (
    GZIP_MAGIC,
    UNPACKED_LIMIT,
    FormError,
    HypervisorFileError,
    Piece,
    Pieces,
    part,
    stream_contents,
)
from xsplice_loader.hypervisor.elf import ELF_MAGIC, EM_X86_64, PT_LOAD, PT_NOTE, build_id_in
from xsplice_loader.streams import standard_input

if TYPE_CHECKING:
    from collections.abc import Iterator

ET_CORE = 4
_PN_XNUM = 0xFFFF
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION_INFO = Struct("<44xI")
_MAX_SEGMENTS = 1 << 20
_MAX_INSIDE = 1 << 14
"""Segments in Xen's image at most: pages in 64 MiB."""
_MAX_NOTES = 1 << 20
"""Bytes of notes that are looked at; dumps have a note for each processor before others."""
_TOO_LARGE = (
    f"a core file from a pipe or gzip file is limited to {UNPACKED_LIMIT >> 20} MiB; name the uncompressed file"
)


class CapturedMemory:
    """What a core file holds of Xen's image."""

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


def read_captured_memory(path: str | os.PathLike[str], image: tuple[int, int]) -> CapturedMemory:
    """Read a core file; `-` is standard input, and it may be gzipped. `image` is the address range of Xen's image.

    Raises:
        HypervisorFileError: it cannot be read, is not a core file of x86-64 with virtual addresses, is damaged or
            truncated, or holds nothing of the image.
    """
    file = os.fspath(path)
    with _named_errors(file):
        data = _contents(file)
        segments = list(islice(_inside(data, *image), _MAX_INSIDE + 1))
        if len(segments) > _MAX_INSIDE:
            raise FormError(f"damaged: it has more than {_MAX_INSIDE} segments in Xen's image")
        if not segments:
            raise FormError(
                f"holds nothing of Xen's image, which is from {image[0]:#x} to {image[1]:#x}; do its segments have "
                "virtual addresses?"
            )
        segments.sort(key=lambda segment: segment.start)
        # Before anything is copied: overlaps could make a small file take any amount of memory.
        for below, above in pairwise(segments):
            if below.end > above.start:
                first, second = sorted((below.number, above.number))
                raise FormError(
                    f"damaged: program headers {first} and {second} both have the virtual addresses from "
                    f"{above.start:#x} to {min(below.end, above.end):#x}"
                )
        # Copies: the file may be overwritten while it is mapped.
        pieces = [
            Piece(start, end - start, memoryview(bytes(data[offset : offset + end - start])))
            for start, end, offset, _ in segments
        ]
        return CapturedMemory(file, _noted_build_id(data), Pieces(pieces))


def noted_build_id(path: str | os.PathLike[str]) -> bytes | None:
    """Return the build-id that a note of a core file has, if any.

    Raises:
        HypervisorFileError: it cannot be read, or is not a core file of x86-64.
    """
    file = os.fspath(path)
    with _named_errors(file):
        return _noted_build_id(_contents(file))


@contextmanager
def _named_errors(file: str) -> Iterator[None]:
    try:
        yield
    except FormError as error:
        raise HypervisorFileError(f"captured memory {file}: {error}") from None
    except OSError as error:
        raise HypervisorFileError(f"cannot read captured memory {file}: {error.strerror or error}") from None


def _contents(file: str) -> memoryview:
    """Return the file's bytes. A dump of a whole machine is mapped, as most of it is never looked at."""
    if file == "-":
        return stream_contents(standard_input(), _TOO_LARGE)
    with open(file, "rb") as opened:
        found = os.fstat(opened.fileno())
        # What is read from a pipe is gone, so its start is looked at only where the rest is read.
        if not stat.S_ISREG(found.st_mode) or os.pread(opened.fileno(), len(GZIP_MAGIC), 0) == GZIP_MAGIC:
            return stream_contents(opened, _TOO_LARGE)
        if not found.st_size:
            raise FormError("is empty")
        try:
            return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as error:
            raise FormError(f"cannot be mapped: {error}") from None


class _Inside(NamedTuple):
    """The part of a PT_LOAD segment that is in Xen's image."""

    start: int
    end: int
    offset: int
    """Where its bytes are in the file."""
    number: int
    """Of its program header."""


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int


def _inside(data: memoryview, image_start: int, image_end: int) -> Iterator[_Inside]:
    """Yield what a core file has of the image, in the order of its program headers."""
    for number, segment in enumerate(_segments(data)):
        part(data, segment.offset, segment.file_size, "a segment")
        start = max(segment.address, image_start)
        end = min(segment.address + segment.file_size, image_end)
        if segment.kind == PT_LOAD and start < end:
            yield _Inside(start, end, segment.offset + start - segment.address, number)


def _noted_build_id(data: memoryview) -> bytes | None:
    left = _MAX_NOTES
    for segment in _segments(data):
        if segment.kind == PT_NOTE and left > 0:
            notes = part(data, segment.offset, segment.file_size, "a segment")[:left]
            build_id = build_id_in(notes)
            if build_id is not None:
                return build_id
            left -= len(notes)
    return None


def _segments(data: memoryview) -> Iterator[_Segment]:
    """Yield the program headers of a core file."""
    if data[:4] != ELF_MAGIC:
        raise FormError("is not an ELF core file")
    try:
        ident, kind, machine, _, _, segments_at, sections_at, _, _, size, count, _, _, _ = _HEADER.unpack_from(data)
    except struct.error:
        raise FormError("truncated or damaged: its headers are not in the file") from None
    if ident[4] != 2 or ident[5] != 1 or machine != EM_X86_64:
        raise FormError("is not an ELF core file for x86-64")
    if kind != ET_CORE:
        raise FormError(f"is an ELF file of type {kind}, not a core file (ET_CORE, {ET_CORE})")
    if count == _PN_XNUM:
        (count,) = _SECTION_INFO.unpack(part(data, sections_at, _SECTION_INFO.size, "section header 0"))
    if size != _SEGMENT.size or count > _MAX_SEGMENTS:
        raise FormError(f"damaged: it has {count} program headers of {size} bytes")
    table = part(data, segments_at, count * size, "the program header table")
    for entry in _SEGMENT.iter_unpack(table):
        yield _Segment(*entry)
