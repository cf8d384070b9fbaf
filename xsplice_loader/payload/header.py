"""The ELF header, tested in Xen's order (`spec/01 §4`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.payload import elf
from xsplice_loader.payload.object_file import Header
from xsplice_loader.rules import header as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings

MAX_SECTIONS = 1024

_FILE_TYPES = {0: "NONE", 1: "REL", 2: "EXEC", 3: "DYN", 4: "CORE"}
_MACHINES = {3: "Intel 80386", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}


def read_header(data: bytes, findings: Findings) -> Header | None:
    """Return the header of a payload, or None where it does not lead to a section table."""
    if len(data) < elf.EHDR_SIZE:
        findings.add(
            rules.SHORTER_THAN_HEADER,
            f"the file has {len(data)} bytes; an ELF64 header alone takes {elf.EHDR_SIZE}",
        )
        return None
    ident, kind, machine, version, _, _, section_offset, _, _, _, segments, size, count, names = elf.EHDR.unpack_from(
        data
    )
    if ident[:4] != elf.MAGIC:
        findings.add(rules.NOT_ELF, f"the file begins with {ident[:4].hex(' ')}; an ELF file begins with 7f 45 4c 46")
        return None

    before = len(findings)
    wrong = [
        f"{what} is {found}, expected {expected}"
        for what, found, expected, good in (
            ("e_version", version, 1, version == elf.EV_CURRENT),
            ("EI_VERSION", ident[6], 1, ident[6] == elf.EV_CURRENT),
            ("EI_ABIVERSION", ident[8], 0, ident[8] == 0),
            ("EI_OSABI", ident[7], "0 (none) or 9 (FreeBSD)", ident[7] in {elf.ELFOSABI_NONE, elf.ELFOSABI_FREEBSD}),
            ("e_type", f"{kind} ({_FILE_TYPES.get(kind, '?')})", "1 (REL)", kind == elf.ET_REL),
            ("e_phnum", segments, 0, segments == 0),
        )
        if not good
    ]
    if wrong:
        findings.add(rules.NOT_RELOCATABLE, "; ".join(wrong))
    if machine != elf.EM_X86_64 or ident[4] != elf.ELFCLASS64 or ident[5] != elf.ELFDATA2LSB:
        findings.add(
            rules.WRONG_MACHINE,
            f"the file is for machine {machine} ({_MACHINES.get(machine, 'unknown')}), class {ident[4]}, data encoding "
            f"{ident[5]}; expected 62 (x86-64), 2 (64 bits), 1 (little endian)",
        )
    if findings.errors_since(before):
        return None

    if names == 0:
        findings.add(rules.NO_NAME_TABLE, "e_shstrndx is 0, so sections have no names")
    if count >= MAX_SECTIONS:
        findings.add(
            rules.TOO_MANY_SECTIONS,
            f"the file has {count} sections; Xen takes at most {MAX_SECTIONS - 1}",
            words={"count": count},
        )
    if names >= count:
        findings.add(
            rules.NAME_TABLE_PAST_END,
            f"e_shstrndx is {names}, but there are {count} sections",
            words={"index": names, "count": count},
        )
    if section_offset >= len(data):
        findings.add(
            rules.TABLE_OUTSIDE_FILE,
            f"e_shoff is {section_offset:#x}, but the file has {len(data):#x} bytes",
        )
    if size < elf.SHDR_SIZE:
        findings.add(
            rules.SMALL_SECTION_HEADERS,
            f"e_shentsize is {size}; a section header takes {elf.SHDR_SIZE} bytes",
            words={"size": size},
        )
    elif section_offset < len(data) and (len(data) - section_offset) // size < count:
        findings.add(
            rules.TABLE_TRUNCATED,
            f"the section header table of {count} entries of {size} bytes at {section_offset:#x} runs past the end "
            f"of the file at {len(data):#x}",
        )
    if findings.errors_since(before):
        return None
    return Header(section_offset, size, count, names)
