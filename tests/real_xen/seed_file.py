"""Well-formed payloads to change: with room for more sections, symbols and names at the end of the file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from real_xen.elf_fields import HEADER, SECTION, SECTION_SIZE, SHT_SYMTAB, Form, form_of
from real_xen.generator import SCRIPT_EVERY, Generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsplice_loader import Hypervisor

ANY_EVERY = 4
SPARE_SECTIONS, SPARE_SYMBOLS = 8, 8
SECTION_NAMES = (
    ".altinstructions", ".altinstr_replacement", ".bug_frames.0", ".bug_frames.1", ".bug_frames.2", ".bug_frames.3",
    ".ex_table", ".livepatch.funcs", ".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id", ".modinfo",
    ".livepatch.hooks.load", ".livepatch.hooks.unload", ".livepatch.hooks.preapply", ".livepatch.hooks.apply",
    ".livepatch.hooks.postapply", ".livepatch.hooks.prerevert", ".livepatch.hooks.revert",
    ".livepatch.hooks.postrevert", ".altcall_sites", ".alt_call_sites", ".init.text", ".text", ".data", ".bss",
    ".rodata", ".symtab", ".strtab", ".shstrtab", ".comment", "", "%s", "n" * 200, "n" * 1100, "\udcff\n",
)  # fmt: skip
SYMBOL_NAMES = (
    "strlen", "memcpy", "printk", "xfree", "xen_extra_version", "xen_minor_version", "hvm_funcs", "system_state",
    "_stext", "__init_begin", "unknown", "_GLOBAL_OFFSET_TABLE_", ".L1", ".LC0", "common/livepatch.c#payload_list",
    "livepatch.c#nothing", "", "%s%n", "s" * 127, "s" * 128, "s" * 600, "s" * 1100, "\udcfe\udcff", "a\nb", ".text",
    "f.llvm.1", "__x86_indirect_thunk_rax",
)  # fmt: skip


class SeedFile(NamedTuple):
    """A file to change, with what is where in it."""

    data: bytes
    form: Form
    section_names: tuple[int, ...]
    """The values of `sh_name` that mean something."""
    symbol_names: tuple[int, ...]
    """The values of `st_name` that mean something."""
    spare_sections: int
    """The number of section headers that may be added by counting them."""


def seed_files(hypervisor: Hypervisor, seed: int, count: int, accepts: Callable[[bytes], bool]) -> list[SeedFile]:
    """Return payloads for a hypervisor, the same ones for the same seed; of four, Xen `accepts` three unchanged."""
    generator = Generator(hypervisor, seed)
    found: list[SeedFile] = []
    number = 0
    while len(found) < count:
        if number % SCRIPT_EVERY != SCRIPT_EVERY - 1:
            (recipe,) = generator.plot(number).recipes
            file = with_room(recipe._replace(damages=()).made(hypervisor.build_id or b""))
            if len(found) % ANY_EVERY == 0 or accepts(file.data):
                found.append(file)
        number += 1
    return found


def with_room(data: bytes) -> SeedFile:
    """Return a file whose string tables, symbol table and section header table are moved to its end and have room."""
    form = form_of(data)
    file = bytearray(data)
    name_table = struct.unpack_from("<H", data, HEADER["e_shstrndx"][0])[0]
    moved: dict[int, bytes] = {}
    known_sections, moved[name_table] = _with_names(_contents(data, form, name_table), SECTION_NAMES)
    known_symbols: tuple[int, ...] = ()
    for index in form.of_type(SHT_SYMTAB)[:1]:
        strings = form.sections[index].link
        known_symbols, moved[strings] = _with_names(moved.get(strings, _contents(data, form, strings)), SYMBOL_NAMES)
        _append(file, b"", 8)
    for index, contents in moved.items():
        offset = _append(file, contents, 8)
        struct.pack_into("<Q", file, form.header_of(index) + SECTION["sh_offset"][0], offset)
        struct.pack_into("<Q", file, form.header_of(index) + SECTION["sh_size"][0], len(contents))
    for index in form.of_type(SHT_SYMTAB)[:1]:
        contents = _contents(data, form, index)
        offset = _append(file, contents + bytes(24 * SPARE_SYMBOLS), 8)
        struct.pack_into("<Q", file, form.header_of(index) + SECTION["sh_offset"][0], offset)
    count = len(form.sections)
    table = bytes(file[form.section_table : form.header_of(count)])
    offset = _append(file, table + bytes(SECTION_SIZE * SPARE_SECTIONS), 8)
    struct.pack_into("<Q", file, HEADER["e_shoff"][0], offset)
    made = bytes(file)
    return SeedFile(made, form_of(made), known_sections, known_symbols, SPARE_SECTIONS)


def _contents(data: bytes, form: Form, index: int) -> bytes:
    section = form.sections[index]
    return data[section.offset : section.offset + section.size]


def _with_names(table: bytes, names: Sequence[str]) -> tuple[tuple[int, ...], bytes]:
    """Return a string table with further names, and the offsets of those."""
    offsets = []
    for name in names:
        offsets.append(len(table))
        table += name.encode("utf-8", "surrogateescape") + b"\0"
    return tuple(offsets), table


def _append(file: bytearray, contents: bytes, alignment: int) -> int:
    file.extend(bytes(-len(file) % alignment))
    offset = len(file)
    file.extend(contents)
    return offset
