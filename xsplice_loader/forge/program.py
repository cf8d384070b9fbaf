"""What assembling builds up: sections that grow, symbols, and fields still to be filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xsplice_loader.forge import elf
from xsplice_loader.forge.expressions import NOTHING, Expression

if TYPE_CHECKING:
    from xsplice_loader.forge.instructions import Kind
    from xsplice_loader.forge.source import Statement

MAX_SECTION = 64 << 20
"""Bytes in one section; enough for every experiment with overflow, and a bound on memory."""


@dataclass(slots=True, eq=False)
class SectionDraft:
    """A section that is being filled; SHT_NOBITS ones only count."""

    name: str
    type: int
    flags: int
    entry_size: int = 0
    alignment: int = 1
    data: bytearray = field(default_factory=bytearray)
    nobits_size: int = 0

    @property
    def size(self) -> int:
        """Bytes so far, which is where the next byte goes."""
        return self.nobits_size if self.type == elf.SHT_NOBITS else len(self.data)

    def append(self, data: bytes, statement: Statement) -> int:
        """Add `data` and return its offset.

        Raises:
            ForgeError: the section would grow beyond `MAX_SECTION`, or has no content by its type.

        """
        start = self.size
        if start + len(data) > MAX_SECTION:
            raise statement.error(f"section {self.name} would exceed {MAX_SECTION} bytes")
        if self.type != elf.SHT_NOBITS:
            self.data += data
        elif any(data):
            raise statement.error(f"section {self.name} is @nobits and holds zeros only")
        else:
            self.nobits_size += len(data)
        return start


@dataclass(slots=True, eq=False)
class SymbolDraft:
    """A symbol as far as it is known. Undefined while `section` and `value` are both None."""

    name: str
    section: SectionDraft | None = None
    offset: int = 0
    value: Expression | None = None
    """Given by `.set`."""
    common: int | None = None
    """Alignment of a common symbol."""
    binding: int | None = None
    type: int = elf.STT_NOTYPE
    size: Expression = NOTHING
    statement: Statement | None = None
    """Where it was first named, or defined."""
    sized_by: Statement | None = None
    wanted: bool = False
    """A directive named it, or a relocation needs it: it enters the symbol table whatever its name."""

    @property
    def is_defined(self) -> bool:
        """Whether this object gives it a value."""
        return self.section is not None or self.value is not None or self.common is not None

    @property
    def is_local(self) -> bool:
        """Defined symbols are local unless a directive says otherwise, undefined ones global."""
        if self.binding is not None:
            return self.binding == elf.STB_LOCAL
        return self.is_defined and self.common is None


@dataclass(frozen=True, slots=True)
class Fixup:
    """A field whose value depends on an expression; `kind` `data` is a number in a table."""

    statement: Statement
    section: SectionDraft
    offset: int
    width: int
    kind: Kind | str
    expression: Expression
    after: int = 0
    type: str | int | None = None


@dataclass(slots=True)
class Program:
    """Everything read so far."""

    sections: list[SectionDraft] = field(default_factory=list)
    symbols: dict[str, SymbolDraft] = field(default_factory=dict)
    fixups: list[Fixup] = field(default_factory=list)
    build_id: tuple[SectionDraft, int] | None = None
    """Where 20 bytes wait for the SHA-1 of everything else."""

    def symbol(self, name: str) -> SymbolDraft:
        """Return the symbol called `name`, new if need be."""
        return self.symbols.setdefault(name, SymbolDraft(name))

    def section(self, name: str, section_type: int, flags: int, entry_size: int = 0) -> SectionDraft:
        """Return the section called `name`, new with these properties if need be."""
        for section in self.sections:
            if section.name == name:
                return section
        self.sections.append(SectionDraft(name, section_type, flags, entry_size))
        return self.sections[-1]

    def define(self, name: str, section: SectionDraft, statement: Statement) -> None:
        """Give `name` the present end of `section`.

        Raises:
            ForgeError: it is defined already.

        """
        symbol = self.symbol(name)
        if symbol.is_defined:
            raise statement.error(f"symbol {name} is defined twice")
        symbol.section, symbol.offset, symbol.statement = section, section.size, statement
