"""Which instruction a relocated field belongs to.

Instructions have no fixed length, so the one that holds a field is found by decoding from a place where one is
known to begin: the nearest symbol before the field, else the start of the section.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from xsplice_loader.payload import ObjectFile

MAX_INSTRUCTION = 15
"""Bytes of the longest x86 instruction."""
MAX_SWEEP = 1 << 16
"""Bytes to decode from a symbol at most; further on the field is not in that function."""

_RIP_OPERAND = re.compile(r"(?:-?0x[0-9a-f]+|-?\d+)?\(%rip\)")
_BRANCH_TARGET = re.compile(r"(?:0x[0-9a-f]+|\d+)$")


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction with a relocated field."""

    offset: int
    """Where it begins in its section."""
    size: int
    text: str
    """In AT&T syntax, with the symbol in the place of the field."""

    def natural_addend(self, field: int) -> int:
        """Return the addend that the instruction alone asks for.

        The processor counts from the instruction's end, so the way there from the field at offset `field` is
        taken off.
        """
        return field - (self.offset + self.size)


class InstructionFinder:
    """Finds instructions in one executable section, decoding each function at most once."""

    def __init__(self, contents: np.ndarray, address: int, starts: Sequence[int]) -> None:
        """Take the section's bytes and address, and the offsets at which symbols say that code begins."""
        self._contents = contents
        self._address = address
        self._starts = sorted({0, *(start for start in starts if start < len(contents))})
        self._decoded: dict[int, list[int]] = {}

    def find(self, field: int, symbol: str) -> Instruction | None:
        """Return the instruction whose bytes include the field at offset `field`, or None."""
        start = self._starts[bisect_right(self._starts, field) - 1]
        if field - start > MAX_SWEEP:
            return None
        if start not in self._decoded:
            self._decoded[start] = self._sweep(start)
        begins = self._decoded[start]
        position = bisect_right(begins, field) - 1
        if position < 0:
            return None
        offset = begins[position]
        code = self._contents[offset : offset + MAX_INSTRUCTION].tobytes()
        for decoded in disassembler().disasm(code, self._address + offset, 1):
            if field + 4 <= offset + decoded.size:
                return Instruction(offset, decoded.size, _with_symbol(decoded, symbol))
        return None

    def _sweep(self, start: int) -> list[int]:
        """Return the offsets of all instructions from `start` to the next symbol."""
        following = bisect_right(self._starts, start)
        end = self._starts[following] if following < len(self._starts) else len(self._contents)
        code = self._contents[start : min(end, start + MAX_SWEEP)].tobytes()
        return [start + at for at, _, _, _ in disassembler().disasm_lite(code, 0)]


def finder_in(payload: ObjectFile, section: int, contents: np.ndarray, address: int) -> InstructionFinder:
    """Return the finder for a section of a payload; its symbols say where code begins."""
    table = payload.symbols.table
    return InstructionFinder(contents, address, table["value"][table["section"] == section].tolist())


def _with_symbol(decoded: Any, symbol: str) -> str:
    operands, replaced = _RIP_OPERAND.subn(lambda _: f"{symbol}(%rip)", decoded.op_str)
    if not replaced and decoded.mnemonic.startswith(("call", "j", "loop")):
        operands = _BRANCH_TARGET.sub(lambda _: symbol, operands)
    return f"{decoded.mnemonic} {operands}".strip()


_cached: list[Any] = []


def disassembler() -> Any:
    """Return capstone for 64-bit code in AT&T syntax; it is imported when first asked for."""
    if not _cached:
        import capstone  # noqa: PLC0415 - 50 ms that only a refusal needs

        untyped: Any = capstone
        disassembler = untyped.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        disassembler.syntax = capstone.CS_OPT_SYNTAX_ATT
        _cached.append(disassembler)
    return _cached[0]


def disassemble(code: bytes, address: int) -> tuple[str, int] | None:
    """Return the first instruction of `code` in AT&T syntax and its size in bytes; None where it is none."""
    for decoded in disassembler().disasm(code[:MAX_INSTRUCTION], address, 1):
        return f"{decoded.mnemonic} {decoded.op_str}".strip(), int(decoded.size)
    return None
