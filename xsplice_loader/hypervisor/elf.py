"""ELF files of Xen: `xen-syms` (ELF64, at its addresses) and the boot image (ELF32 around the same bytes)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.hypervisor.contents import FormError, Piece, Pieces, part
from xsplice_loader.releases import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ELF_MAGIC = b"\x7fELF"
ET_REL, ET_EXEC = 1, 2
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS = 2, 7, 8
SHF_ALLOC, SHF_EXECINSTR = 2, 4
NT_GNU_BUILD_ID = 3
_MAX_NOTES, _MAX_NOTE_SIZE = 64, 4096
"""How many note sections are looked at, and how many bytes of each; Xen has one or two, of some 36 bytes."""

_CLASSES = {1: "32", 2: "64"}
_HEADER = {1: struct.Struct("<16xHHIIIIIHHHHHH"), 2: struct.Struct("<16xHHIQQQIHHHHHH")}
_SEGMENT_32 = struct.Struct("<8I")
_SEGMENT_64 = struct.Struct("<IIQQQQQQ")
_SECTION_64 = struct.Struct("<IIQQQQIIQQ")


class Segment(NamedTuple):
    """A program header of either class."""

    type: int
    offset: int
    address: int
    file_size: int
    memory_size: int


class Section(NamedTuple):
    """A section header, ELF64."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class ElfFile(NamedTuple):
    """What the headers say, each entry inside the file."""

    data: memoryview
    is_64: bool
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    """Of an ELF64 file; the ELF32 wrapper's sections say nothing."""

    @property
    def is_debug_only(self) -> bool:
        """Whether the image's bytes were stripped off, as in `/usr/lib/debug/.build-id`."""
        code = [s for s in self.sections if s.flags & SHF_ALLOC and s.flags & SHF_EXECINSTR]
        return bool(code) and all(section.type == SHT_NOBITS for section in code)

    def pieces(self, xen_virt_start: int) -> Pieces:
        """Return the image's bytes by their offset from `xen_virt_start`.

        Raises:
            FormError: a segment lies outside the file, or outside Xen's gigabyte.

        """
        if self.is_debug_only:
            return Pieces(())
        pieces = []
        for segment in self.segments:
            if segment.type != PT_LOAD:
                continue
            data = part(self.data, segment.offset, segment.file_size, "a loadable segment")
            offset = segment.address - xen_virt_start
            if segment.memory_size < segment.file_size or not 0 <= offset <= GIB - segment.memory_size:
                raise FormError(
                    f"is no Xen for x86-64, or damaged: the segment of {segment.memory_size:#x} bytes at"
                    f" {segment.address:#x} does not lie in the 1 GiB from {xen_virt_start:#x}"
                )
            pieces.append(Piece(offset, segment.memory_size, data))
        return Pieces(pieces)

    def build_id(self) -> bytes | None:
        """Return the GNU build-id; None if no note holds one.

        Raises:
            FormError: notes lie outside the file.

        """
        notes = [(s.offset, s.size) for s in self.sections if s.type == SHT_NOTE]
        # In a boot image the address of the note is not one; only its file offset counts (spec/03 §7.5).
        if not self.is_debug_only:
            notes += [(s.offset, s.file_size) for s in self.segments if s.type == PT_NOTE]
        for offset, size in notes[:_MAX_NOTES]:
            found = build_id_in(part(self.data, offset, min(size, _MAX_NOTE_SIZE), "a note"))
            if found is not None:
                return found
        return None


def read_elf(data: memoryview) -> ElfFile:
    """Read the headers of an x86 ELF file that may be a hypervisor.

    Raises:
        FormError: it is another kind of ELF file, or its headers point outside it.

    """
    ident = bytes(part(data, 0, 16, "the ELF identification"))
    if ident[4] not in _CLASSES or ident[5] != 1:
        raise FormError("is no Xen for x86-64: its ELF class or byte order is another")
    is_64 = ident[4] == 2
    header = _HEADER[ident[4]]
    fields = header.unpack(part(data, 0, header.size, "the ELF header"))
    kind, machine, _, _, segments_at, sections_at = fields[:6]
    _, segment_size, segment_count, section_size, section_count = fields[7:12]
    if kind == ET_REL:
        raise FormError(
            "is a relocatable object (ET_REL), as payloads are, not a hypervisor;"
            " expected xen-syms, xen.gz, xen.efi or a symbol list"
        )
    if kind != ET_EXEC or machine not in ((EM_X86_64,) if is_64 else (EM_386, EM_X86_64)):
        raise FormError(
            f"is an ELF{_CLASSES[ident[4]]} file of type {kind} for machine {machine};"
            " Xen is an executable (type 2) for x86-64"
        )
    segment = _SEGMENT_64 if is_64 else _SEGMENT_32
    if segment_count and segment_size != segment.size:
        raise FormError(f"damaged: its program headers are of {segment_size} bytes, not {segment.size}")
    table = part(data, segments_at, segment_count * segment.size, "the program header table")
    segments = tuple(_segment(entry, is_64) for entry in segment.iter_unpack(table))
    sections: tuple[Section, ...] = ()
    if is_64 and sections_at:
        sections = _sections(data, sections_at, section_size, section_count)
    return ElfFile(data, is_64, segments, sections)


def _segment(entry: tuple[int, ...], is_64: bool) -> Segment:
    if is_64:
        kind, _, offset, address, _, file_size, memory_size, _ = entry
    else:
        kind, offset, address, _, file_size, memory_size, _, _ = entry
    return Segment(kind, offset, address, file_size, memory_size)


def _sections(data: memoryview, offset: int, entry_size: int, count: int) -> tuple[Section, ...]:
    if entry_size != _SECTION_64.size:
        raise FormError(f"damaged: its section headers are of {entry_size} bytes, not {_SECTION_64.size}")
    if count == 0:
        # More sections than e_shnum can say: the number is the size of section 0.
        count = Section(*_SECTION_64.unpack(part(data, offset, _SECTION_64.size, "a section header"))).size
    table = part(data, offset, count * _SECTION_64.size, "the section header table")
    return tuple(Section(*entry) for entry in _SECTION_64.iter_unpack(table))


def build_id_in(notes: memoryview) -> bytes | None:
    """Return the first GNU build-id among notes; None if there is none."""
    for kind, owner, content in _notes(notes):
        if kind == NT_GNU_BUILD_ID and owner == b"GNU\0" and content:
            return content
    return None


def labelled_build_id(
    read: Callable[[int, int], bytes | None], place_of: Callable[[bytes], int | None]
) -> bytes | None:
    """Return the build-id of the note that Xen's own code reads (xen/common/version.c: xen_build_init).

    Args:
        read: returns bytes of the image, None for unknown ones.
        place_of: returns where `read` finds a symbol, None for an unknown one.
    """
    start, end = place_of(b"__note_gnu_build_id_start"), place_of(b"__note_gnu_build_id_end")
    if start is None or end is None or not 0 < end - start <= _MAX_NOTE_SIZE:
        return None
    notes = read(start, end - start)
    return None if notes is None else build_id_in(memoryview(notes))


def _notes(data: memoryview) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield type, owner with its NUL, and content of each whole note."""
    position = 0
    while position + 12 <= len(data):
        owner_size, size, kind = struct.unpack_from("<III", data, position)
        owner_at = position + 12
        content_at = owner_at + (owner_size + 3 & ~3)
        if content_at + size > len(data):
            return
        yield kind, bytes(data[owner_at : owner_at + owner_size]), bytes(data[content_at : content_at + size])
        position = content_at + (size + 3 & ~3)
