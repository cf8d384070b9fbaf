"""The ELF symbol table of `xen-syms`: labels of the embedded table, or all symbols where none is embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.hypervisor.contents import FormError, part
from xsplice_loader.hypervisor.elf import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, SHT_SYMTAB
from xsplice_loader.hypervisor.symbols import ListedSymbol, SymbolTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from xsplice_loader.hypervisor.elf import ElfFile, Section

ELF64_SYM = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
STB_LOCAL, STB_WEAK = 0, 2
STT_NOTYPE, STT_SECTION, STT_FILE = 0, 3, 4
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00
SHF_WRITE = 1
EMBEDDED_LABELS = (
    "symbols_offsets",
    "symbols_num_syms",
    "symbols_num_addrs",
    "symbols_names",
    "symbols_markers",
    "symbols_token_table",
    "symbols_token_index",
    "symbols_num_names",
    "symbols_sorted_offsets",
)
_LONGEST_NAME = 4096
_LEFT_OUT = b"_compiled."
"""Names with this in them change from one pass of Xen's build to the next (`spec/03 §7.4`)."""


_MAX_TAILS = 64
"""How many strings that end like a label are looked at."""


class ElfSymbols(NamedTuple):
    """The symbol table and its strings; `sections` give the symbols their types."""

    entries: npt.NDArray[np.void]
    strings: bytes
    sections: tuple[Section, ...]

    def labels(self) -> dict[str, int]:
        """Return the addresses of the labels of the embedded table, as far as there are any."""
        found = {}
        for label in EMBEDDED_LABELS:
            # Preceded by a NUL, or the tail of a longer string: both are names that a symbol may have.
            text = label.encode() + b"\0"
            at = self.strings.find(text)
            tries = _MAX_TAILS
            while at >= 0 and label not in found and tries:
                tries -= 1
                named = self.entries[(self.entries["name"] == at) & (self.entries["shndx"] != SHN_UNDEF)]
                if len(named):
                    found[label] = int(named["value"][0])
                at = self.strings.find(text, at + 1)
        return found

    def table(self) -> SymbolTable:
        """Return all symbols as Xen's build names and sorts them (`spec/03 §1.3`, `§7.3`, `§7.4`)."""
        return SymbolTable.of_listed(self._listed())

    def _listed(self) -> Iterator[ListedSymbol]:
        file = b""
        letters = [_letter(section) for section in self.sections]
        for name_at, info, _, shndx, value, _ in self.entries[1:].tolist():
            kind, binding = info & 15, info >> 4
            if kind == STT_FILE:
                file = self._name(name_at)
                continue
            if kind == STT_SECTION or shndx == SHN_UNDEF or shndx >= min(SHN_LORESERVE, len(letters)):
                continue
            letter, name = letters[shndx], self._name(name_at)
            if not letter or not name or name.startswith(b"$") or _LEFT_OUT in name:
                continue
            if binding == STB_LOCAL:
                yield ListedSymbol(file + b"#" + name if file else name, value, letter, kind != STT_NOTYPE)
            else:
                letter = "W" if binding == STB_WEAK else letter.upper()
                yield ListedSymbol(name, value, letter, kind != STT_NOTYPE)

    def _name(self, at: int) -> bytes:
        end = self.strings.find(b"\0", at, at + _LONGEST_NAME)
        if end < 0:
            raise FormError(f"damaged: the name at {at:#x} of its string table has no end")
        return self.strings[at:end]


def read_symbols(elf: ElfFile) -> ElfSymbols | None:
    """Return the symbol table of an ELF64 file; None if it is stripped.

    Raises:
        FormError: the table or its strings lie outside the file.

    """
    section = next((section for section in elf.sections if section.type == SHT_SYMTAB), None)
    if section is None:
        return None
    if section.entry_size != ELF64_SYM.itemsize or section.link >= len(elf.sections):
        raise FormError("damaged: its symbol table has entries of a wrong size, or no string table")
    strings = elf.sections[section.link]
    size = section.size - section.size % ELF64_SYM.itemsize
    entries = np.frombuffer(part(elf.data, section.offset, size, "the symbol table"), ELF64_SYM)
    text = part(elf.data, strings.offset, strings.size, "the string table")
    return ElfSymbols(entries, text.tobytes(), elf.sections)


def _letter(section: Section) -> str:
    """Return the letter by which `nm` shows local symbols of a section; empty for one that is not loaded."""
    if not section.flags & SHF_ALLOC:
        return ""
    if section.flags & SHF_EXECINSTR:
        return "t"
    if section.type == SHT_NOBITS:
        return "b"
    return "d" if section.flags & SHF_WRITE else "r"
