"""The forms of a hypervisor file, told apart by their content, and what each holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.hypervisor.contents import FormError, Pieces, read_contents
from xsplice_loader.hypervisor.elf import ELF_MAGIC, PT_LOAD, ElfFile, labelled_build_id, read_elf
from xsplice_loader.hypervisor.elf_symbols import read_symbols
from xsplice_loader.hypervisor.embedded import find_table, labelled_table
from xsplice_loader.hypervisor.pe import PE_MAGIC, read_pe
from xsplice_loader.hypervisor.reported import reported_arena_end, reported_release
from xsplice_loader.releases import GIB, NEWEST, NewerReleaseError, Release, UnknownReleaseError, release

if TYPE_CHECKING:
    import os

    from xsplice_loader.hypervisor.contents import Form
    from xsplice_loader.hypervisor.symbol_list import SymbolList
    from xsplice_loader.hypervisor.symbols import SymbolTable

XEN_VIRT_STARTS = (release("4.7.0").xen_virt_start, NEWEST.xen_virt_start)
_EXPECTED = "expected xen-syms, xen or xen.gz, xen.efi, or a symbol list (xen-syms.map, nm output)"


class Lack(NamedTuple):
    """A thing that a hypervisor file lacks."""

    text: str
    """A sentence that says so, and what is taken instead."""
    captured: Literal["bytes", "build-id"] | None = None
    """What captured memory may supply instead."""


class Found(NamedTuple):
    """What a file holds, whatever its form."""

    xen_virt_start: int
    symbols: SymbolTable
    pieces: Pieces
    build_id: bytes | None
    reported: Release | None
    """The release that the code says it is, with its rules."""
    reported_arena_end: int | None
    lacks: tuple[Lack, ...]
    """The things that the file lacks."""


def build_id_of(path: str | os.PathLike[str]) -> tuple[bytes | None, Form | None]:
    """Return a file's build-id and form, looking at more only where the headers do not lead to it.

    (None, None) for what is not an image.

    Raises:
        FormError: the file is damaged.
        OSError: it cannot be read.

    """
    data = read_contents(path)
    if data[:4] == ELF_MAGIC:
        elf = read_elf(data)
        form: Form = "xen-syms" if elf.is_64 else "boot image"
        return elf.build_id() or read_form(data).build_id, form
    if data[:2] == PE_MAGIC:
        return read_pe(data).build_id() or read_form(data).build_id, "xen.efi"
    return None, None


def read_form(data: memoryview) -> Found:
    """Read a hypervisor file's (unpacked) content.

    Raises:
        FormError: it is of no known form, damaged, or not of Xen.

    """
    if data[:4] == ELF_MAGIC:
        elf = read_elf(data)
        return _read_xen_syms(elf) if elf.is_64 else _read_boot_image(elf)
    if data[:2] == PE_MAGIC:
        return _read_efi(data)
    from xsplice_loader.hypervisor.symbol_list import looks_like_list, read_list  # noqa: PLC0415 - the rarest form

    if looks_like_list(data):
        return _read_list(read_list(data))
    raise FormError(f"is no hypervisor: {_EXPECTED}; the file starts with {bytes(data[:4]).hex(' ')}")


def _read_xen_syms(elf: ElfFile) -> Found:
    loads = [segment.address for segment in elf.segments if segment.type == PT_LOAD]
    if not loads:
        raise FormError("is an ELF executable without a loadable segment, so not xen-syms")
    xen_virt_start = _checked_virt_start(min(loads))
    pieces = elf.pieces(xen_virt_start)
    lacks = (
        ()
        if pieces
        else (Lack("The file holds no code, only what describes it: old bytes are not compared.", "bytes"),)
    )
    listed = read_symbols(elf)
    labels = {} if listed is None else listed.labels()
    offsets = {name: address - xen_virt_start for name, address in labels.items()}
    table = labelled_table(pieces.pieces, offsets) or find_table(pieces.pieces)
    if table is not None:
        return _found(table.at(xen_virt_start), xen_virt_start, pieces, elf.build_id(), lacks)
    if listed is None:
        raise FormError("has no symbol table, nor Xen's embedded one: stripped, or without live patching")
    return _found(listed.table(), xen_virt_start, pieces, elf.build_id(), lacks)


def _read_boot_image(elf: ElfFile) -> Found:
    # Its segment addresses are offsets from XEN_VIRT_START, which the file does not say (spec/03 §7.5).
    pieces = elf.pieces(0)
    table = find_table(pieces.pieces)
    if table is None:
        raise FormError("is a 32-bit ELF file without Xen's embedded symbol table, so no boot image of Xen")
    offset_of = table.at(0).address_of
    arena_end = reported_arena_end(pieces, offset_of)
    name = reported_release(pieces, offset_of)
    lacks: tuple[Lack, ...] = ()
    if arena_end is not None:
        xen_virt_start = _checked_virt_start(arena_end - 1)
    elif name is not None:
        xen_virt_start = _release(name).xen_virt_start
    else:
        xen_virt_start = NEWEST.xen_virt_start
        lacks = (Lack(f"The file does not say where Xen runs: XEN_VIRT_START is taken as {xen_virt_start:#x}."),)
    return _found(table.at(xen_virt_start), xen_virt_start, pieces, elf.build_id(), lacks)


def _read_efi(data: memoryview) -> Found:
    efi = read_pe(data)
    pieces = efi.pieces()
    table = find_table(pieces.pieces)
    if table is None:
        raise FormError("is a PE image without Xen's embedded symbol table, so not xen.efi")
    xen_virt_start = _checked_virt_start(efi.image_base)
    return _found(table.at(xen_virt_start), xen_virt_start, pieces, efi.build_id(), ())


def _read_list(listed: SymbolList) -> Found:
    symbols, has_file_names = listed
    lacks: tuple[Lack, ...] = (Lack("A symbol list holds no bytes: old bytes are not compared.", "bytes"),)
    if not has_file_names:
        lacks += (Lack("The list does not say which file local symbols are of, so payloads cannot name these."),)
    inside = symbols.address_of(b"_stext") or int(symbols.addresses[-1])
    return _found(symbols, _checked_virt_start(inside), Pieces(()), None, lacks)


def _found(
    symbols: SymbolTable, xen_virt_start: int, pieces: Pieces, build_id: bytes | None, lacks: tuple[Lack, ...]
) -> Found:
    def offset_of(name: bytes) -> int | None:
        address = symbols.address_of(name)
        return None if address is None else address - xen_virt_start

    if build_id is None:
        # The headers of 4.7.0 do not lead to it: its boot image has another offset, its xen.efi no debug directory.
        build_id = labelled_build_id(pieces.read, offset_of)
    if build_id is None and not pieces:
        lacks += (Lack("The file has no build-id: the one that a payload asks for is not compared.", "build-id"),)
    name = reported_release(pieces, offset_of)
    reported = None if name is None else _release(name)
    if reported is not None and reported.is_stand_in:
        newer = f"The file is Xen {reported}, newer than all that is known here: the rules of {NEWEST} are taken."
        lacks += (Lack(newer),)
    return Found(
        xen_virt_start,
        symbols,
        pieces,
        build_id,
        reported,
        reported_arena_end(pieces, offset_of),
        lacks,
    )


def _checked_virt_start(address: int) -> int:
    """Return the start of Xen's gigabyte that `address` lies in."""
    if address & -GIB not in XEN_VIRT_STARTS:
        ranges = " or ".join(f"{start:#x}" for start in XEN_VIRT_STARTS)
        raise FormError(f"is no Xen for x86-64: made for {address:#x}, where Xen has the 1 GiB from {ranges}")
    return address & -GIB


def _release(reported: str) -> Release:
    try:
        return release(reported)
    except NewerReleaseError:
        return NEWEST._replace(name=reported)
    except UnknownReleaseError as error:
        raise FormError(f"reports to be Xen {reported}: {error}") from None
