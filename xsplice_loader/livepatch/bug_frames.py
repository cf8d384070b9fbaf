"""Bug frames, `.bug_frames.N`: what Xen does about an invalid opcode in its own code (xen/common/bug.c: do_bug_frame).

A frame is two 32-bit words, each a signed distance of 24 bits from the frame's start and seven bits of a line
number. The assembler adds the shifted line number to the distance, so that a negative distance borrows one from the
line's bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_space import ADDRESS_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_FUNCTION, WARN, BUG, ASSERT = KINDS = range(4)
"""The kinds of frames, by the number in the section's name; Xen searches them in this order."""
_WORD = 4
_FRAME_SIZES = {RUN_FUNCTION: 8, WARN: 8, BUG: 8, ASSERT: 16}
_STEP = 8
_DISTANCE_BITS = 24
_DISTANCE_LIMIT = 1 << _DISTANCE_BITS
_LINE_LIMIT = 1 << 7
_SIZES_BY_SECTION = {f".bug_frames.{kind}": size for kind, size in _FRAME_SIZES.items()}


class BugFrame(NamedTuple):
    """One frame. Nothing in it was looked up, so each of the addresses may lead anywhere."""

    kind: int
    address: int
    """Of the instruction."""
    file: int
    """Address of the file's name; in a frame that runs a function, that function."""
    line: int
    """0 to 16383."""
    message: int | None
    """Address of what an assertion asserted; None for other kinds, and where that is not in the table."""


class BugTable(NamedTuple):
    """The frames of one kind, as they stand in memory."""

    kind: int
    address: int
    contents: bytes
    following: bytes = b""
    """What is in memory after the table; Xen reads on for the text of an assertion that begins too late."""

    def frames(self) -> Iterator[BugFrame]:
        """Decode the frames in order; what is left over at the end, because it is shorter than a frame, is none."""
        size = _FRAME_SIZES[self.kind]
        for offset in range(0, len(self.contents) - size + 1, size):
            yield self._frame(self.address + offset, self.contents[offset : offset + size])

    def frame_of(self, address: int) -> BugFrame | None:
        """Return the first frame for the instruction at `address`, as Xen finds it, or None.

        Xen takes steps of 8 bytes in the table of assertions too, so that it also takes their second halves for frames.
        """
        size = _FRAME_SIZES[self.kind]
        memory = self.contents + self.following
        for offset in range(0, len(self.contents) - _STEP + 1, _STEP):
            frame = self._frame(self.address + offset, memory[offset : offset + size])
            if frame.address == address:
                return frame
        return None

    def _frame(self, start: int, entry: bytes) -> BugFrame:
        words = [int.from_bytes(entry[place : place + _WORD], "little") for place in range(0, len(entry), _WORD)]
        location, high = _parts(words[0])
        file, low = _parts(words[1])
        return BugFrame(
            self.kind,
            (start + location) & ADDRESS_MASK,
            (start + file) & ADDRESS_MASK,
            high * _LINE_LIMIT + low,
            (start + _signed(words[3], 32)) & ADDRESS_MASK if self.kind == ASSERT and len(words) == _WORD else None,
        )


def _parts(word: int) -> tuple[int, int]:
    """Return the distance and the seven bits of the line in one word."""
    distance = _signed(word % _DISTANCE_LIMIT, _DISTANCE_BITS)
    return distance, ((word >> _DISTANCE_BITS) + (distance < 0)) % _LINE_LIMIT


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


class FrameWord(NamedTuple):
    """One of the two words of a frame that hold a distance and a part of the line number."""

    is_first: bool
    """It leads to the instruction, and has the upper part of the line; the second leads to the file's name."""
    start: int
    """Address of the frame, which the distance counts from."""
    distance: int
    """Signed, 24 bits."""
    line_bits: int
    """Seven bits."""

    @property
    def target(self) -> int:
        """The address that the word leads to."""
        return (self.start + self.distance) & ADDRESS_MASK


def frame_word(section: str, offset: int, address: int, stored: int) -> FrameWord | None:
    """Decode the 32 bits at `address`, `offset` bytes into a section; None where they are not such a word."""
    size = _SIZES_BY_SECTION.get(section)
    if size is None or offset % size not in (0, _WORD):
        return None
    distance, line_bits = _parts(stored % (1 << 32))
    return FrameWord(offset % size == 0, (address - offset % size) & ADDRESS_MASK, distance, line_bits)
