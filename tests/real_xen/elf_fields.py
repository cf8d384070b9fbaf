"""The fields of a payload's file: where each is, how wide, and in what structure. For tools that change them.

ELF-64 structures as in the gABI ("Object Files"); Xen's as in xen/include/public/sysctl.h (struct livepatch_func, from
4.14 on) and xen/arch/x86/include/asm/{alternative,bug,uaccess}.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTION_SIZE, SYMBOL_SIZE, RELA_SIZE = 64, 24, 24
SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 2, 3, 4
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")

Layout = dict[str, tuple[int, int]]
"""Offset and size of each field."""

HEADER: Layout = {
    "ei_mag": (0, 4), "ei_class": (4, 1), "ei_data": (5, 1), "ei_version": (6, 1), "ei_osabi": (7, 1),
    "ei_abiversion": (8, 1), "e_type": (16, 2), "e_machine": (18, 2), "e_version": (20, 4), "e_entry": (24, 8),
    "e_phoff": (32, 8), "e_shoff": (40, 8), "e_flags": (48, 4), "e_ehsize": (52, 2), "e_phentsize": (54, 2),
    "e_phnum": (56, 2), "e_shentsize": (58, 2), "e_shnum": (60, 2), "e_shstrndx": (62, 2),
}  # fmt: skip
SECTION: Layout = {
    "sh_name": (0, 4), "sh_type": (4, 4), "sh_flags": (8, 8), "sh_addr": (16, 8), "sh_offset": (24, 8),
    "sh_size": (32, 8), "sh_link": (40, 4), "sh_info": (44, 4), "sh_addralign": (48, 8), "sh_entsize": (56, 8),
}  # fmt: skip
SYMBOL: Layout = {
    "st_name": (0, 4), "st_info": (4, 1), "st_other": (5, 1), "st_shndx": (6, 2), "st_value": (8, 8), "st_size": (16, 8)
}  # fmt: skip
RELA: Layout = {"r_offset": (0, 8), "r_type": (8, 4), "r_sym": (12, 4), "r_addend": (16, 8)}
_FUNCTION: Layout = {
    "name": (0, 8), "new_addr": (8, 8), "old_addr": (16, 8), "new_size": (24, 4), "old_size": (28, 4),
    "version": (32, 1), "opaque": (33, 4), "applied": (64, 1), "expect": (72, 1), "expected": (73, 8),
}  # fmt: skip
_ALTERNATIVE: Layout = {
    "orig_offset": (0, 4), "repl_offset": (4, 4), "cpuid": (8, 2), "orig_len": (10, 1), "repl_len": (11, 1),
    "pad_len": (12, 1), "priv": (13, 1),
}  # fmt: skip
_NOTE: Layout = {"namesz": (0, 4), "descsz": (4, 4), "type": (8, 4), "name": (12, 4), "desc": (16, 4)}
_EXCEPTION: Layout = {"addr": (0, 4), "cont": (4, 4)}
_POINTER: Layout = {"pointer": (0, 8)}
_SITE: Layout = {"site": (0, 4)}
TABLES: Mapping[str, tuple[int, Layout]] = {
    ".livepatch.funcs": (104, _FUNCTION),
    ".altinstructions": (14, _ALTERNATIVE),
    ".ex_table": (8, _EXCEPTION),
    ".note.gnu.build-id": (36, _NOTE),
    ".livepatch.depends": (36, _NOTE),
    ".livepatch.xen_depends": (36, _NOTE),
    **{f".bug_frames.{kind}": (8, {"loc_disp": (0, 4), "ptr_disp": (4, 4)}) for kind in range(3)},
    ".bug_frames.3": (16, {"loc_disp": (0, 4), "ptr_disp": (4, 4), "msg_disp": (8, 4), "padding": (12, 4)}),
    ".livepatch.hooks.load": (8, _POINTER),
    ".livepatch.hooks.unload": (8, _POINTER),
    ".livepatch.hooks.preapply": (8, _POINTER),
    ".livepatch.hooks.postrevert": (8, _POINTER),
    ".alt_call_sites": (4, _SITE),
}
"""Sections that Xen reads as tables: the size of an entry, and its fields."""


class Section(NamedTuple):
    """A row of the section header table."""

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


class Form(NamedTuple):
    """What is where in a well-formed file."""

    section_table: int
    sections: tuple[Section, ...]

    def header_of(self, index: int) -> int:
        """Return the offset of a section header."""
        return self.section_table + index * SECTION_SIZE

    def of_type(self, kind: int) -> list[int]:
        """Return the indices of all sections of a type."""
        return [index for index, section in enumerate(self.sections) if section.type == kind]

    def named(self, name: str) -> int | None:
        """Return the index of the first section with a name."""
        return next((index for index, section in enumerate(self.sections) if section.name == name), None)


def form_of(data: bytes) -> Form:
    """Read the section header table of a well-formed file."""
    *_, table, _, _, _, _, _, count, strings = _HEADER.unpack_from(data)
    rows = [_SECTION.unpack_from(data, table + index * SECTION_SIZE) for index in range(count)]
    names = rows[strings][4]
    sections = []
    for name, kind, flags, _, offset, size, link, info, _, _ in rows:
        start = names + name
        text = data[start : data.index(b"\0", start)].decode("utf-8", "surrogateescape")
        sections.append(Section(text, kind, flags, offset, size, link, info))
    return Form(table, tuple(sections))
