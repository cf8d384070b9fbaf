"""The relocation types of the x86-64 psABI as one table.

It serves the engine (which types are applied, and how), the diagnosis (what fits), and every text that names a
type. The gaps are part of it: a type that Xen does not apply stands here with what emits it, so that a refusal
can say where it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.results import RelocationTotals

if TYPE_CHECKING:
    from collections.abc import Mapping


class RelocationType(NamedTuple):
    """One row. `S` symbol, `A` addend, `P` place of the field; widths in bits, 0 for no field."""

    number: int
    name: str
    formula: str
    width: int
    signed: bool | None = None
    """How the field is read: signed, unsigned, or None where all 64 bits are stored."""
    applied: bool = False
    """Xen's loader applies it (`spec/03 §3`)."""
    emitted_by: str = ""

    @property
    def range(self) -> tuple[int, int] | None:
        """What fits the field, half open; None where anything does."""
        if self.signed is None or self.width == 0:
            return None
        return (-(1 << self.width - 1), 1 << self.width - 1) if self.signed else (0, 1 << self.width)

    @property
    def is_relative(self) -> bool:
        """Whether the value depends on the place."""
        return self.formula.endswith("- P")


R_X86_64_NONE = 0
R_X86_64_64 = 1
R_X86_64_PC32 = 2
R_X86_64_PLT32 = 4

_GOT = "code compiled with -fPIC for symbols that may lie in another object; use -fno-pic with hidden visibility"
_TLS = "thread-local variables, which a hypervisor does not have"
_DYNAMIC = "a linker making an executable or shared object, never a compiler"

_ROWS = (
    RelocationType(0, "R_X86_64_NONE", "none", 0, applied=True, emitted_by="tools that blank out a relocation"),
    RelocationType(1, "R_X86_64_64", "S + A", 64, applied=True, emitted_by=".quad symbol, movabs $symbol"),
    RelocationType(2, "R_X86_64_PC32", "S + A - P", 32, True, True, "symbol(%rip), .long symbol - ."),
    RelocationType(3, "R_X86_64_GOT32", "G + A", 32, True, emitted_by=_GOT),
    RelocationType(4, "R_X86_64_PLT32", "S + A - P", 32, True, True, "call symbol, jmp symbol"),
    RelocationType(5, "R_X86_64_COPY", "none", 0, emitted_by=_DYNAMIC),
    RelocationType(6, "R_X86_64_GLOB_DAT", "S", 64, emitted_by=_DYNAMIC),
    RelocationType(7, "R_X86_64_JUMP_SLOT", "S", 64, emitted_by=_DYNAMIC),
    RelocationType(8, "R_X86_64_RELATIVE", "B + A", 64, emitted_by=_DYNAMIC),
    RelocationType(9, "R_X86_64_GOTPCREL", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(10, "R_X86_64_32", "S + A", 32, False, emitted_by="mov $symbol, %r32 and .long symbol"),
    RelocationType(
        11, "R_X86_64_32S", "S + A", 32, True, emitted_by="mov $symbol, %r64 and symbol(,%reg) without -fpic"
    ),
    RelocationType(12, "R_X86_64_16", "S + A", 16, False, emitted_by=".short symbol"),
    RelocationType(13, "R_X86_64_PC16", "S + A - P", 16, True, emitted_by=".short symbol - ., 16-bit jumps"),
    RelocationType(14, "R_X86_64_8", "S + A", 8, False, emitted_by=".byte symbol"),
    RelocationType(15, "R_X86_64_PC8", "S + A - P", 8, True, emitted_by=".byte symbol - ., jrcxz and loop"),
    RelocationType(16, "R_X86_64_DTPMOD64", "TLS module", 64, emitted_by=_TLS),
    RelocationType(17, "R_X86_64_DTPOFF64", "TLS offset", 64, emitted_by=_TLS),
    RelocationType(18, "R_X86_64_TPOFF64", "TLS offset", 64, emitted_by=_TLS),
    RelocationType(19, "R_X86_64_TLSGD", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(20, "R_X86_64_TLSLD", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(21, "R_X86_64_DTPOFF32", "TLS offset", 32, True, emitted_by=_TLS),
    RelocationType(22, "R_X86_64_GOTTPOFF", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(23, "R_X86_64_TPOFF32", "TLS offset", 32, True, emitted_by=_TLS),
    RelocationType(24, "R_X86_64_PC64", "S + A - P", 64, emitted_by=".quad symbol - ., the large code model"),
    RelocationType(25, "R_X86_64_GOTOFF64", "S + A - GOT", 64, emitted_by=_GOT),
    RelocationType(26, "R_X86_64_GOTPC32", "GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(27, "R_X86_64_GOT64", "G + A", 64, emitted_by=_GOT),
    RelocationType(28, "R_X86_64_GOTPCREL64", "G + GOT - P + A", 64, emitted_by=_GOT),
    RelocationType(29, "R_X86_64_GOTPC64", "GOT - P + A", 64, emitted_by=_GOT),
    RelocationType(30, "R_X86_64_GOTPLT64", "G + A", 64, emitted_by=_GOT),
    RelocationType(31, "R_X86_64_PLTOFF64", "L - GOT + A", 64, emitted_by=_GOT),
    RelocationType(32, "R_X86_64_SIZE32", "Z + A", 32, False, emitted_by="symbol@SIZE"),
    RelocationType(33, "R_X86_64_SIZE64", "Z + A", 64, emitted_by="symbol@SIZE"),
    RelocationType(34, "R_X86_64_GOTPC32_TLSDESC", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(35, "R_X86_64_TLSDESC_CALL", "none", 0, emitted_by=_TLS),
    RelocationType(36, "R_X86_64_TLSDESC", "TLS", 128, emitted_by=_TLS),
    RelocationType(37, "R_X86_64_IRELATIVE", "indirect (B + A)", 64, emitted_by=_DYNAMIC),
    RelocationType(38, "R_X86_64_RELATIVE64", "B + A", 64, emitted_by=_DYNAMIC),
    RelocationType(41, "R_X86_64_GOTPCRELX", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(42, "R_X86_64_REX_GOTPCRELX", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(43, "R_X86_64_CODE_4_GOTPCRELX", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(44, "R_X86_64_CODE_4_GOTTPOFF", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(45, "R_X86_64_CODE_4_GOTPC32_TLSDESC", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(46, "R_X86_64_CODE_5_GOTPCRELX", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(47, "R_X86_64_CODE_5_GOTTPOFF", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(48, "R_X86_64_CODE_5_GOTPC32_TLSDESC", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(49, "R_X86_64_CODE_6_GOTPCRELX", "G + GOT + A - P", 32, True, emitted_by=_GOT),
    RelocationType(50, "R_X86_64_CODE_6_GOTTPOFF", "TLS", 32, True, emitted_by=_TLS),
    RelocationType(51, "R_X86_64_CODE_6_GOTPC32_TLSDESC", "TLS", 32, True, emitted_by=_TLS),
)

TYPES: dict[int, RelocationType] = {row.number: row for row in _ROWS}
"""Every type of the psABI by its number."""
TYPES_BY_NAME: dict[str, RelocationType] = {row.name: row for row in _ROWS}


def totals(counts: Mapping[int, int]) -> RelocationTotals:
    """Return how many relocations there are of which type, from counts by type number."""
    by_type = {type_name(number): count for number, count in sorted(counts.items()) if count}
    return RelocationTotals(sum(counts.values()), by_type)


def type_name(number: int) -> str:
    """Return a type's psABI name, or its number for one that the psABI does not know."""
    row = TYPES.get(number)
    return row.name if row is not None else f"type {number}"
