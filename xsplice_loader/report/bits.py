"""A 64-bit value as bits, beside what a field keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.numbers import signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.report.paint import Paint

WIDTH = 64


def bit_lines(value: int, kept: int, paint: Paint) -> Iterator[str]:
    """Yield the bits of `value`, the highest first, and marks under them.

    Under those that a field of `kept` bits discards: `.` where the field's sign bit brings it back, `x` where it is
    lost. `s` marks the sign bit itself.
    """
    bits = f"{value & (1 << WIDTH) - 1:064b}"
    discarded = WIDTH - kept
    yield paint("bit  " + " ".join(f"{position:<8}" for position in range(WIDTH - 1, 0, -8)).rstrip(), "quiet")
    yield f"     {_grouped(bits)}"
    if not discarded:
        return
    halves = (f" discarded, bits 63-{kept} ", f" kept, bits {kept - 1}-0 ")
    lengths = (discarded + discarded // 8 - 1, kept + kept // 8 - 1)
    yield "     " + " ".join(f"<{text:-^{length - 2}}>" for text, length in zip(halves, lengths, strict=True))
    sign = bits[discarded]
    marks = "".join("." if bit == sign else "x" for bit in bits[:discarded]) + "s"
    yield f"     {paint(_grouped(marks.ljust(WIDTH)).rstrip(), 'strong')}"
    lost = bits[:discarded].count("1" if sign == "0" else "0")
    if lost:
        yield f"     x: {lost} discarded bit{'' if lost == 1 else 's'} that the sign bit s does not bring back"
        yield f"     kept {signed(value, kept):#x} instead of {value:#x}"
    else:
        yield f"     .: all {discarded} discarded bits are what the sign bit s says; nothing is lost"


def _grouped(bits: str) -> str:
    return " ".join(bits[start : start + 8] for start in range(0, WIDTH, 8))
