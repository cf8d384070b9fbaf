"""The relocations that the engine did not apply: row by row in file order, with the tests in Xen's order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from xsplice_loader.numbers import INT32, size_text
from xsplice_loader.payload import elf
from xsplice_loader.relocation.diagnosis import diagnose
from xsplice_loader.relocation.instructions import InstructionFinder, finder_in
from xsplice_loader.relocation.types import R_X86_64_64, R_X86_64_NONE, TYPES, type_name
from xsplice_loader.rules import placing as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.memory.address_map import AddressMap
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.relocation import engine
    from xsplice_loader.relocation.resolution import ResolvedSymbols
    from xsplice_loader.relocation.sections import RelocationSection


class Examiner:
    """Looks at the rows of one relocation section that the engine did not apply."""

    def __init__(
        self,
        payload: ObjectFile,
        group: RelocationSection,
        symbols: ResolvedSymbols,
        target: engine.Target,
        areas: AddressMap,
        findings: Findings,
        finders: dict[int, InstructionFinder],
    ) -> None:
        """`finders` are shared by all relocation sections of a payload; several may apply to one section."""
        self.payload = payload
        self.group = group
        self.symbols = symbols
        self.target = target
        self.areas = areas
        self.findings = findings
        self.section_name = group.target.text_name
        self.finders = finders

    def look_at(self, rows: list[int]) -> Counter[int]:
        """Turn refused rows into findings, and return how many there are of the types Xen does not apply."""
        unhandled: Counter[int] = Counter()
        meaningless = self._meaningless_rows()
        for row in sorted({*rows, *meaningless}):
            entry = self.group.entries[row]
            offset, number, index, addend = (int(entry[column]) for column in ("offset", "type", "symbol", "addend"))
            if number not in TYPES or not TYPES[number].applied:
                unhandled[number] += 1
            if not self._refuse_symbol(row, offset, number, index):
                continue
            if row in meaningless:
                self._warn_of_meaningless_value(row, offset, number, index)
            else:
                self._refuse_value(row, offset, number, index, addend)
        return unhandled

    def _meaningless_rows(self) -> frozenset[int]:
        """Return rows that Xen applies although their symbol has no address."""
        unplaced = self.symbols.unplaced & self.symbols.usable
        if not unplaced.any():
            return frozenset()
        index = self.group.entries["symbol"]
        inside = index < len(unplaced)
        wide = self.group.entries["type"] == R_X86_64_64
        return frozenset(np.flatnonzero(wide & inside & unplaced[np.where(inside, index, 0)]).tolist())

    def _refuse_symbol(self, row: int, offset: int, number: int, index: int) -> bool:
        """Test the symbol index as Xen does first; return whether the entry's type is worth looking at."""
        common: dict[str, Any] = {
            "section": self.section_name,
            "index": row,
            "offset": offset,
            "type": type_name(number),
        }
        relocations = self.group.section.text_name
        count = len(self.payload.symbols)
        checks = self.findings.release.checks_symbol_zero
        if not checks and index in (0, count) and number == R_X86_64_NONE:
            # The value of the slot is not used.
            return False
        if not checks and index in (0, count):
            self.findings.add(
                rules.UNFILLED_SYMBOL_SLOT,
                f"relocation {row} in {relocations} names symbol {index}, a slot that this release uses "
                "without having filled it",
                **common,
            )
            return False
        if index == 0:
            self.findings.add(
                rules.SYMBOL_ZERO,
                f"relocation {row} in {relocations} names symbol 0, the null symbol",
                hint="give the absolute address a symbol of its own, for example with ld --defsym",
                **common,
            )
            return False
        if index >= count:
            self.findings.add(
                rules.SYMBOL_PAST_END,
                f"relocation {row} in {relocations} names symbol {index}, but there are {count}",
                words={"index": index},
                **common,
            )
            return False
        if self.findings.release.refuses_ignored_symbols and self.symbols.unplaced[index]:
            symbol = self.payload.symbol_name(index)
            # Xen prints st_name; a section symbol's is empty.
            self.findings.add(
                rules.IGNORED_SYMBOL,
                f"relocation {row} in {relocations} refers to {symbol}, whose section is not loaded",
                words={"name": self.payload.symbols.name(index)},
                symbol=symbol,
                **common,
            )
            return False
        return True

    def _refuse_value(self, row: int, offset: int, number: int, index: int, addend: int) -> None:
        relocations = self.group.section.text_name
        symbol = self.payload.symbol_name(index)
        common: dict[str, Any] = {
            "section": self.section_name,
            "index": row,
            "offset": offset,
            "type": type_name(number),
            "symbol": symbol,
        }
        kind = TYPES.get(number)
        if kind is None or not kind.applied:
            formula = f" ({kind.formula})" if kind is not None else ""
            self.findings.add(
                rules.UNHANDLED_TYPE,
                f"relocation {row} in {relocations} is of type {number}, {type_name(number)}{formula}, which "
                "Xen does not apply",
                words={"number": number},
                hint=f"it is emitted by {kind.emitted_by}" if kind is not None and kind.emitted_by else None,
                **common,
            )
            return
        if not kind.width:
            return
        size = len(self.target.contents)
        if offset + kind.width // 8 > size:
            self.findings.add(
                rules.OFFSET_PAST_END,
                f"relocation {row} in {relocations} writes {kind.width // 8} bytes at offset {offset:#x} of "
                f"{self.section_name}, which has {size:#x}",
                words={"section": self.group.target.name},
                **common,
            )
            return
        if self.symbols.usable[index]:
            self._explain_overflow(row, offset, index, addend, common)

    def _explain_overflow(self, row: int, offset: int, index: int, addend: int, common: dict[str, Any]) -> None:
        symbol = self.payload.symbol_name(index)
        instruction = self._instructions().find(offset, symbol) if self.group.target.is_executable else None
        overflow = diagnose(
            int(self.symbols.values[index]),
            addend,
            (self.target.address + offset) % (1 << 64),
            never_placed=bool(self.symbols.unplaced[index]),
            is_absolute=int(self.payload.symbols.table["section"][index]) == elf.SHN_ABS,
            symbol=symbol,
            instruction=instruction,
            field=offset,
            areas=self.areas,
        )
        relocations = self.group.section.text_name
        self.findings.add(
            rules.OVERFLOW,
            f"relocation {row} in {relocations}: {symbol} is {size_text(overflow.value)} away, and 32 bits reach 2 GiB",
            words={"index": row, "relocations": self.group.section.name, "section": self.group.target.name},
            s=overflow.s,
            a=overflow.a,
            p=overflow.p,
            value=overflow.value,
            bits=overflow.bits,
            range=INT32,
            overrun=overflow.overrun,
            cause=overflow.cause,
            area=overflow.area,
            lands_at=overflow.lands_at,
            instruction=instruction.text if instruction is not None else None,
            hint=overflow.hint,
            **common,
        )

    def _warn_of_meaningless_value(self, row: int, offset: int, number: int, index: int) -> None:
        symbol = self.payload.symbol_name(index)
        self.findings.add(
            rules.MEANINGLESS_VALUE,
            f"relocation {row} in {self.group.section.text_name} stores the raw value of {symbol}, which was "
            "given no address",
            section=self.section_name,
            index=row,
            offset=offset,
            type=type_name(number),
            symbol=symbol,
        )

    def _instructions(self) -> InstructionFinder:
        target = self.group.target.index
        if target not in self.finders:
            self.finders[target] = finder_in(self.payload, target, self.target.contents, self.target.address)
        return self.finders[target]
