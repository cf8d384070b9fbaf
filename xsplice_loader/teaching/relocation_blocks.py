"""One relocation in words and pictures: from the bytes in the file to what the stored value reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.address_space import ADDRESS_LIMIT
from xsplice_loader.numbers import INT32, signed_bits, size_text
from xsplice_loader.teaching.blocks import Bits, Change, Found, Heading, Paragraph, Reach, Table
from xsplice_loader.teaching.outcomes import upload_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.livepatch.bug_frames import FrameWord
    from xsplice_loader.results import LoadResult
    from xsplice_loader.teaching.anatomy import Anatomy
    from xsplice_loader.teaching.blocks import Block


def relocation_blocks(found: Anatomy) -> Iterator[Block]:
    """Yield the relocation from the bytes in the file to what the stored value reaches."""
    yield Heading(f"{found.section}:{found.index}  {found.type} against {found.symbol}")
    yield Paragraph(
        f"Entry {found.index} of {found.of} in {found.table}; it changes {found.section}+{found.offset:#x}."
    )
    yield from _bytes(found)
    yield Heading(f"Where the numbers come from: {found.formula}")
    yield Table(
        ("", "value", "origin"),
        (
            ("S", f"{found.s.value:#018x}", found.s.origin),
            ("A", f"{found.a.value:#x} ({found.a.value})", found.a.origin),
            ("P", f"{found.p.value:#018x}", found.p.origin),
        ),
    )
    if found.value is not None:
        yield Paragraph(_sum(found))
        yield Bits(found.value, found.width)
    yield Heading("What comes of it")
    yield from _OUTCOMES[found.outcome](found)


def never_placed_blocks(result: LoadResult, reason: str) -> Iterator[Block]:
    """Yield why there are no numbers."""
    yield from upload_outcome(result)
    yield Paragraph(f"There is nothing to calculate: {reason}.")
    yield Found(result.findings)


def _bytes(found: Anatomy) -> Iterator[Block]:
    yield Heading("The bytes, in the file and in memory")
    yield Change(found.start, found.before, found.after, found.before_text, found.after_text)
    if found.width:
        last = found.field + found.width // 8 - 1
        yield Paragraph(
            f"The field is bytes {found.field} to {last} of these, the lowest first."
            + (" A later step changed them again." if found.changed_later else "")
        )


def _sum(found: Anatomy) -> str:
    s, a, p = found.s.value, found.a.value, found.p.value
    sign, addend = ("+", a) if a >= 0 else ("-", -a)
    if found.formula.endswith("- P"):
        return f"{found.formula} = {s:#x} {sign} {addend:#x} - {p:#x} = {found.value:#x}"
    return f"{found.formula} = {s:#x} {sign} {addend:#x} = {(found.value or 0) % ADDRESS_LIMIT:#x}"


def _target(found: Anatomy) -> Iterator[Block]:
    if found.target is not None:
        yield Paragraph(f"It leads to {found.target:#018x}: {found.target_lies}.")


def _frame_word(word: FrameWord, found: Anatomy) -> Iterator[Block]:
    number, part, role = (
        ("first", "upper", "the trapping instruction")
        if word.is_first
        else ("second", "lower", "the file name or function")
    )
    yield Paragraph(
        f"The sum fits the 32 bits of the field, but it is not one distance: this is the {number} "
        f"word of the bug frame at {word.start:#018x}. Bits 0 to 23 are the signed distance from the frame to {role}, "
        f"{word.distance:#x} ({word.distance}); bits 24 to 30 are the {part} bits of the line number, "
        f"{word.line_bits:#x}. The assembler puts these into the addend, so the sum runs over both."
    )
    yield from _target(found)


def _fits(found: Anatomy) -> Iterator[Block]:
    if found.frame_word is not None:
        yield from _frame_word(found.frame_word, found)
        return
    yield from _distance(found)
    yield Paragraph(
        f"It fits: {signed_bits(found.value or 0)} signed bits are needed, the field has {found.width}. "
        f"{size_text(found.headroom or 0)} are left to the nearer end of its reach."
    )
    yield from _target(found)


def _overflows(found: Anatomy) -> Iterator[Block]:
    yield from _distance(found)
    yield Paragraph(
        f"It does not fit: {signed_bits(found.value or 0)} signed bits are needed, the field has {found.width}. The "
        f"value lies {size_text(found.overrun)} outside of what the field holds, {INT32[0]} to {INT32[1] - 1}. Xen "
        "refuses the payload and leaves the field alone."
    )
    yield from _target(found)
    if found.cut_target is not None:
        yield Paragraph(
            f"Cut to {found.width} bits it would lead to {found.cut_target:#018x} instead: {found.cut_target_lies}. No "
            "error would show; the processor would go there, or read from there."
        )


def _distance(found: Anatomy) -> Iterator[Block]:
    if found.formula.endswith("- P"):
        yield Reach(found.value or 0)


def _whole(found: Anatomy) -> Iterator[Block]:
    yield Paragraph("The field has all 64 bits: nothing is cut off, and the target may lie anywhere.")
    yield from _target(found)


def _nothing(found: Anatomy) -> Iterator[Block]:
    del found
    yield Paragraph("This type stores nothing.")


def _refused(found: Anatomy) -> Iterator[Block]:
    del found
    yield Paragraph("Xen does not apply it, and the field stays as it is. The walk through the load says why.")


_OUTCOMES = {"fits": _fits, "overflows": _overflows, "whole": _whole, "nothing": _nothing, "refused": _refused}
