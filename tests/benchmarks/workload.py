"""Payloads of any number of relocations, half of them to Xen's symbols, and the linker script that goes with them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.payload import elf

if TYPE_CHECKING:
    from pathlib import Path

    from xsplice_loader import Hypervisor, LoadResult

CALL_SIZE = 5
LOCAL_FUNCTIONS = 500
XEN_SYMBOLS = 1500


@dataclass(frozen=True)
class Workload:
    """One payload: calls, one after the other, to its own functions and to Xen's in turn."""

    relocations: int
    data: bytes
    xen_symbols: dict[str, int]


def make(relocations: int, hypervisor: Hypervisor, seed: int = 1) -> Workload:
    """Return a payload with `relocations` calls, and the parts that Xen insists on."""
    random = np.random.default_rng(seed)
    plain = plain_functions(hypervisor)
    chosen = [plain[index] for index in random.permutation(len(plain))[: min(XEN_SYMBOLS, relocations)]]
    text = np.tile(np.frombuffer(b"\xe8\0\0\0\0", np.uint8), relocations)
    local = min(LOCAL_FUNCTIONS, relocations)
    names = [f"local_{index}" for index in range(local)] + [name for name, _ in chosen]

    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    offsets = np.cumsum([1] + [len(name) + 1 for name in names])[:-1]
    symbols = np.zeros(1 + len(names), elf.symbol_dtype(24))
    symbols["name"][1:] = offsets
    symbols["info"][1:] = 0x12
    symbols["section"][1 : 1 + local] = 1
    symbols["value"][1 : 1 + local] = np.sort(random.permutation(relocations)[:local]) * CALL_SIZE

    entries = np.zeros(relocations, elf.rela_dtype(24))
    entries["offset"] = np.arange(relocations) * CALL_SIZE + 1
    entries["type"] = np.where(np.arange(relocations) % 3 == 0, 2, 4)
    own = random.integers(1, 1 + local, relocations)
    xen = random.integers(1 + local, len(symbols), relocations)
    entries["symbol"] = np.where(np.arange(relocations) % 2, own, xen)
    entries["addend"] = -4

    xen_id = hypervisor.build_id or b""
    sections = [
        ("", 0, 0, b"", 0, 0, 0, 0),
        (".text", 1, 6, text.tobytes(), 0, 0, 16, 0),
        (".livepatch.depends", 7, 2, build_id_note(xen_id), 0, 0, 4, 0),
        (".livepatch.xen_depends", 7, 2, build_id_note(xen_id), 0, 0, 4, 0),
        (".note.gnu.build-id", 7, 2, build_id_note(relocations.to_bytes(20, "big")), 0, 0, 4, 0),
        (".livepatch.hooks.load", 1, 2, bytes(8), 0, 0, 8, 0),
        (".rela.text", 4, 0x40, entries.tobytes(), 7, 1, 8, 24),
        (".symtab", 2, 0, symbols.tobytes(), 8, 1, 8, 24),
        (".strtab", 3, 0, strings, 0, 0, 1, 0),
    ]
    return Workload(relocations, object_file(sections), dict(chosen))


def plain_functions(hypervisor: Hypervisor) -> list[tuple[str, int]]:
    found = {}
    for name, address, kind in hypervisor.symbols:
        text = name.decode("ascii", "replace")
        if kind == "T" and text.isidentifier() and address >= hypervisor.text_start:
            found[text] = address
    return sorted(found.items())


def build_id_note(build_id: bytes) -> bytes:
    return struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id


def object_file(sections: list[tuple[str, int, int, bytes, int, int, int, int]]) -> bytes:
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections[1:]) + b".shstrtab\0"
    sections = [*sections, (".shstrtab", 3, 0, names, 0, 0, 1, 0)]
    out = bytearray(elf.EHDR_SIZE)
    headers = b""
    for name, kind, flags, contents, link, info, alignment, entry_size in sections:
        out += bytes(-len(out) % (alignment or 1))
        at = names.index(b"\0" + name.encode() + b"\0") + 1 if name else 0
        headers += elf.SHDR.pack(at, kind, flags, 0, len(out), len(contents), link, info, alignment, entry_size)
        out += contents
    out += bytes(-len(out) % 8)
    ident = elf.MAGIC + bytes((elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EV_CURRENT)) + bytes(9)
    elf.EHDR.pack_into(
        out,
        0,
        ident,
        elf.ET_REL,
        elf.EM_X86_64,
        1,
        0,
        0,
        len(out),
        0,
        elf.EHDR_SIZE,
        0,
        0,
        elf.SHDR_SIZE,
        len(sections),
        len(sections) - 1,
    )
    return bytes(out) + headers


def linker_script(result: LoadResult, symbols: dict[str, int], path: Path) -> None:
    """Write a script that puts every section where the loader put it, with Xen's symbols at their addresses."""
    lines = [f"{name} = {address:#x};" for name, address in symbols.items()]
    lines.append("SECTIONS {")
    lines += [
        f"  {section.name} {section.address:#x} : {{ *({section.name}) }}"
        for section in sorted(result.sections, key=lambda section: section.address)
    ]
    lines += ["  /DISCARD/ : { *(.comment) }", "}"]
    path.write_text("\n".join(lines) + "\n")
