"""One relocation, taken apart: where each number comes from, what is stored, and what that reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from xsplice_loader.livepatch.bug_frames import frame_word
from xsplice_loader.memory.address_space import ADDRESS_LIMIT
from xsplice_loader.numbers import INT32, overrun, signed
from xsplice_loader.payload import elf
from xsplice_loader.relocation.instructions import disassemble, finder_in
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import TYPES, type_name
from xsplice_loader.teaching.places import hexadecimal, what_lies_at
from xsplice_loader.teaching.scene import silent
from xsplice_loader.teaching.walk_addresses import finder_of

if TYPE_CHECKING:
    from xsplice_loader.livepatch.bug_frames import FrameWord
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.relocation.instructions import Instruction
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.relocation.types import RelocationType
    from xsplice_loader.teaching.scene import Scene

Outcome = Literal["fits", "overflows", "whole", "nothing", "refused"]
"""`whole`: all 64 bits are stored; `nothing`: the type stores nothing; `refused`: Xen does not apply it."""
CONTEXT = 8
"""Bytes that are shown where there is no instruction."""


class NoSuchRelocationError(Exception):
    """There is no relocation of that name; the message says which there are."""


class NeverPlacedError(Exception):
    """The payload was refused before it had an address, so no relocation of it has a value."""


@dataclass(frozen=True, slots=True)
class Term:
    """A number of the formula, and where it comes from."""

    value: int
    origin: str


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One relocation. Addresses are unsigned, `a` and `value` signed."""

    section: str
    """The section that is changed."""
    table: str
    """The one that says so."""
    index: int
    of: int
    """How many entries the table has."""
    offset: int
    type: str
    formula: str
    symbol: str
    s: Term
    a: Term
    p: Term
    value: int | None
    """What the formula gives, read as a signed 64-bit number; None where the type has no such formula."""
    width: int
    """Bits of the field."""
    outcome: Outcome
    start: int
    """The address of the bytes that are shown."""
    before: bytes
    """As they are in the file: the whole instruction, or the field where it is in none."""
    after: bytes
    """As they are in memory once all of the payload is loaded."""
    before_text: str
    after_text: str
    field: int
    """Where in those bytes the field begins."""
    changed_later: bool
    """A later step of the load changed the field again."""
    target: int | None
    """Where the field, as it is meant, leads."""
    target_lies: str
    overrun: int
    """Bytes by which the value lies outside what fits; 0 where it fits."""
    headroom: int | None
    """Bytes that are left to the nearer end of what fits."""
    cut_target: int | None
    """Where it would lead if the value were cut to the field."""
    cut_target_lies: str
    frame_word: FrameWord | None = None
    """What the field is where it is a word of a bug frame: its 32 bits are not one distance."""


def anatomy(scene: Scene, section: str, index: int) -> Anatomy:
    """Return relocation `index`, counted from 0, of a section, which may be named by its relocations' name too.

    Raises:
        NoSuchRelocationError: there is none.
        NeverPlacedError: the payload was refused before it got an address.
    """
    payload = scene.payload
    if payload is None:
        raise NeverPlacedError("its form is wrong, so nobody knows where its relocations are")
    group = _group(payload, scene, section, index)
    if scene.trace is None:
        raise NeverPlacedError("it was refused before it had an address, so its relocations have no values")
    address = scene.trace.placement.addresses.get(group.target.index)
    if address is None:
        raise NeverPlacedError(f"{group.target.text_name} is given no address, and nothing is relocated in it")
    return _Relocation(scene, scene.trace, group, index, address).anatomy()


def _group(payload: ObjectFile, scene: Scene, section: str, index: int) -> RelocationSection:
    groups = list(relocation_sections(payload, silent(scene.release)))
    named = [group for group in groups if section in (group.target.text_name, group.section.text_name)]
    if not named:
        there = ", ".join(f"{group.target.text_name} ({len(group.entries)})" for group in groups[:20])
        raise NoSuchRelocationError(
            f"no section {section} has relocations that Xen applies; there are {there or 'none at all'}"
        )
    if index >= len(named[0].entries):
        count = len(named[0].entries)
        raise NoSuchRelocationError(
            f"{section} has {count} relocation{'' if count == 1 else 's'}, numbered from 0 to {count - 1}; "
            f"there is no number {index}"
        )
    return named[0]


class _Relocation:
    """One entry of a table, with all that its numbers depend on."""

    def __init__(self, scene: Scene, trace: LoadTrace, group: RelocationSection, index: int, address: int) -> None:
        entry = group.entries[index]
        self.scene = scene
        self.trace = trace
        self.group = group
        self.index = index
        self.address = address
        self.offset, self.number, self.symbol, self.a = (
            int(entry[column]) for column in ("offset", "type", "symbol", "addend")
        )
        self.kind: RelocationType | None = TYPES.get(self.number)
        self.p = (address + self.offset) % ADDRESS_LIMIT
        known = 0 < self.symbol < len(trace.payload.symbols)
        self.is_usable = known and bool(trace.symbols.usable[self.symbol])
        self.s = int(trace.symbols.values[self.symbol]) if self.is_usable else 0
        self.name = trace.payload.symbol_name(self.symbol) if known else f"symbol {self.symbol}"
        self.is_known = known

    def anatomy(self) -> Anatomy:
        """Put everything together."""
        kind, target = self.kind, self.group.target
        width = kind.width if kind is not None else 0
        value = self._value()
        instruction = self._instruction()
        start, size = self._extent(instruction, width // 8)
        before, after = self._bytes(target, start, size)
        outcome = self._outcome(value)
        word = self._frame_word(outcome, value)
        leads_to = word.target if word is not None else self._target(instruction, width // 8)
        cut_target = None
        if outcome == "overflows" and value is not None and leads_to is not None:
            cut_target = (leads_to + signed(value, 32) - value) % ADDRESS_LIMIT
        return Anatomy(
            section=target.text_name,
            table=self.group.section.text_name,
            index=self.index,
            of=len(self.group.entries),
            offset=self.offset,
            type=type_name(self.number),
            formula=kind.formula if kind is not None else "not in the psABI",
            symbol=self.name,
            s=Term(self.s, self._origin_of_s()),
            a=Term(self.a, self._origin_of_a(instruction)),
            p=Term(self.p, self._origin_of_p()),
            value=value,
            width=width,
            outcome=outcome,
            start=(self.address + start) % ADDRESS_LIMIT,
            before=before,
            after=after,
            before_text=_text(before, self.address + start) if instruction is not None else "",
            after_text=_text(after, self.address + start) if instruction is not None else "",
            field=self.offset - start,
            changed_later=self._was_changed(outcome, value, after[self.offset - start :], width // 8),
            target=leads_to,
            target_lies=self._lies(leads_to),
            overrun=overrun(value, *INT32) if outcome in ("fits", "overflows") and value is not None else 0,
            headroom=min(value - INT32[0], INT32[1] - 1 - value) if outcome == "fits" and value is not None else None,
            cut_target=cut_target,
            cut_target_lies=self._lies(cut_target),
            frame_word=word,
        )

    def _value(self) -> int | None:
        if self.kind is None or not self.kind.width or not self.is_usable:
            return None
        if self.kind.formula == "S + A - P":
            return signed(self.s + self.a - self.p)
        return signed(self.s + self.a) if self.kind.formula == "S + A" else None

    def _outcome(self, value: int | None) -> Outcome:
        kind = self.kind
        if kind is not None and kind.applied and not kind.width:
            return "nothing"
        is_inside = kind is not None and self.offset + kind.width // 8 <= self.group.target.size
        if kind is None or not kind.applied or value is None or not is_inside:
            return "refused"
        if kind.range is None:
            return "whole"
        low, high = kind.range
        return "fits" if low <= value < high else "overflows"

    def _frame_word(self, outcome: Outcome, value: int | None) -> FrameWord | None:
        if outcome != "fits" or value is None:
            return None
        return frame_word(self.group.target.text_name, self.offset, self.p, value)

    def _instruction(self) -> Instruction | None:
        target = self.group.target
        if not target.is_executable or self.offset >= target.size:
            return None
        # Decoded from the file's bytes: alternatives may have put others in their place since.
        contents = _column(self.trace.payload, target)
        return finder_in(self.trace.payload, target.index, contents, self.address).find(self.offset, self.name)

    def _extent(self, instruction: Instruction | None, width: int) -> tuple[int, int]:
        if instruction is not None:
            return instruction.offset, instruction.size
        return self.offset, width or CONTEXT

    def _bytes(self, target: Section, start: int, size: int) -> tuple[bytes, bytes]:
        end = min(start + size, target.size)
        image_start = self.address - self.trace.placement.base + start
        before = self.trace.payload.bytes_of(target)[start:end]
        return before, self.trace.image[image_start : image_start + len(before)].tobytes()

    def _was_changed(self, outcome: Outcome, value: int | None, stored: bytes, width: int) -> bool:
        if outcome not in ("fits", "whole") or value is None:
            return False
        return stored[:width] != (value & (1 << 8 * width) - 1).to_bytes(width, "little")

    def _target(self, instruction: Instruction | None, width: int) -> int | None:
        """Return where the field leads: an instruction counts from its end, a number in data from itself."""
        if not self.is_usable or not width:
            return None
        behind = 0
        if instruction is not None and self.kind is not None and self.kind.is_relative:
            behind = -instruction.natural_addend(self.offset)
        return (self.s + self.a + behind) % ADDRESS_LIMIT

    def _lies(self, address: int | None) -> str:
        if address is None:
            return ""
        return what_lies_at(address, self.scene.host.hypervisor, self.scene.below, self.trace.placement)

    def _origin_of_s(self) -> str:
        payload = self.trace.payload
        if not self.symbol:
            return "symbol 0 is the null symbol, which stands for nothing"
        if not self.is_known:
            return f"symbol {self.symbol} is none of the {len(payload.symbols)} in the table"
        where = int(payload.symbols.table["section"][self.symbol])
        raw = int(payload.symbols.table["value"][self.symbol])
        if where == elf.SHN_ABS:
            return f"{self.name} is absolute: it has this value wherever it is used"
        if where == elf.SHN_UNDEF:
            name = payload.symbols.name(self.symbol)
            assumed = bool(self.trace.symbols.assumed[self.symbol])
            finder = finder_of(name, self.scene.host.hypervisor, self.scene.below, assumed=assumed)
            return f"{self.name} is not the payload's own; found in {finder}"
        if where >= payload.header.section_count:
            return f"{self.name} has the section index {where:#x}, which is no section"
        section = payload.section(where)
        if where not in self.trace.placement.addresses:
            return f"{self.name} stands in {section.text_name}, which is given no address: its raw value"
        itself = not payload.symbols.name(self.symbol)
        start = hexadecimal(self.trace.placement.addresses[where])
        if itself:
            return f"the section {section.text_name} itself, placed at {start}"
        return f"{self.name} stands in {section.text_name}, placed at {start}, at offset {raw:#x}"

    def _origin_of_a(self, instruction: Instruction | None) -> str:
        stands = f"r_addend in entry {self.index} of {self.group.section.text_name}"
        if instruction is None or self.kind is None or not self.kind.is_relative:
            return stands
        natural = instruction.natural_addend(self.offset)
        counts = f"{stands}; {natural} because the processor counts from the instruction's end, {-natural} bytes on"
        rest = self.a - natural
        if not rest:
            return counts
        return f"{counts}, and {rest:+d} into what the symbol names"

    def _origin_of_p(self) -> str:
        return (
            f"{self.group.target.text_name} was placed at {hexadecimal(self.address)}, and the field is at offset "
            f"{self.offset:#x} of it (r_offset)"
        )


def _column(payload: ObjectFile, section: Section) -> np.ndarray:
    return np.frombuffer(payload.bytes_of(section), np.uint8)


def _text(code: bytes, address: int) -> str:
    found = disassemble(code, address)
    return found[0] if found is not None else "no instruction"
