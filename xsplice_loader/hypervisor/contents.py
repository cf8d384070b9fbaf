"""A hypervisor file's bytes, and the pieces of Xen's image that they are."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from xsplice_loader.streams import standard_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNPACKED_LIMIT = 256 << 20
"""Bytes that a gzipped or piped file may come to; `xen-syms` with debug information is a tenth of it."""
_TOO_LARGE = f"is larger than {UNPACKED_LIMIT >> 20} MiB; no hypervisor is"
_UNPACKS_TOO_LARGE = f"unpacks to more than {UNPACKED_LIMIT >> 20} MiB; no hypervisor is that large"
GZIP_MAGIC = b"\x1f\x8b"
_FIRST_STEP = 1 << 12
_STEP = 1 << 20
"""Bytes unpacked at a time. The first steps are short, so that a file of many tiny members costs no more."""

Form = Literal["xen-syms", "boot image", "xen.efi"]


class HypervisorFileError(ValueError):
    """A file cannot serve as hypervisor; the message names it and says why."""


class FormError(ValueError):
    """What is wrong with a file's content. Whoever opened the file adds its name."""


class Piece(NamedTuple):
    """Bytes of the image at consecutive offsets from XEN_VIRT_START: `data`, then zeros up to `size`."""

    offset: int
    size: int
    data: memoryview

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.size


class Pieces:
    """The bytes of an image that are known, by offset from XEN_VIRT_START."""

    __slots__ = ("_offsets", "end", "pieces")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = tuple(sorted((piece for piece in pieces if piece.size), key=lambda piece: piece.offset))
        self._offsets = [piece.offset for piece in self.pieces]
        self.end = self.pieces[-1].end if self.pieces else 0
        """The offset behind the last byte that is known."""
        for below, above in zip(self.pieces, self.pieces[1:], strict=False):
            if below.end > above.offset:
                raise FormError(f"damaged: two parts of the image both claim the bytes at +{above.offset:#x}")

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def read(self, offset: int, size: int) -> bytes | None:
        """Return `size` bytes at `offset`; None unless all of them are known."""
        if size < 0 or not self.pieces:
            return None
        parts = []
        index = bisect_right(self._offsets, offset) - 1
        first = self.pieces[index]
        if index >= 0 and offset - first.offset + size <= len(first.data):
            return first.data[offset - first.offset : offset - first.offset + size].tobytes()
        while size > 0:
            if not 0 <= index < len(self.pieces):
                return None
            piece = self.pieces[index]
            skip = offset - piece.offset
            length = min(size, piece.size - skip)
            if skip < 0 or length <= 0:
                return None
            parts.append(piece.data[skip : skip + length].tobytes().ljust(length, b"\0"))
            offset, size, index = offset + length, size - length, index + 1
        return b"".join(parts)

    def available(self, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield those of `size` bytes at `offset` that are known: the offset of each run, and its bytes."""
        for index in range(max(bisect_right(self._offsets, offset) - 1, 0), len(self.pieces)):
            piece = self.pieces[index]
            if piece.offset >= offset + size:
                return
            start, end = max(piece.offset, offset), min(piece.end, offset + size)
            if start < end:
                skip = start - piece.offset
                yield start, piece.data[skip : end - piece.offset].tobytes().ljust(end - start, b"\0")


def read_contents(path: str | os.PathLike[str]) -> memoryview:
    """Return a file's content, unpacked if it is gzipped; `-` is standard input.

    All of it is read at once: whatever becomes of the file meanwhile, what was read stays as it was.

    Raises:
        FormError: the file is empty, or too large.
        OSError: it cannot be opened or read.

    """
    if os.fspath(path) == "-":
        return stream_contents(standard_input())
    with open(path, "rb") as file:
        return stream_contents(file)


def stream_contents(stream: BinaryIO, too_large: str | None = None) -> memoryview:
    """Return what a stream holds, unpacked if it is gzipped; `too_large`: the message if that exceeds the limit.

    Raises:
        FormError: it is empty, or too large.
        OSError: it cannot be read.
    """
    size = 0
    with suppress(OSError, ValueError):  # What has no file descriptor has no size either.
        size = os.fstat(stream.fileno()).st_size
    data = stream.read(UNPACKED_LIMIT + 1) if size <= UNPACKED_LIMIT else b""
    if max(size, len(data)) > UNPACKED_LIMIT:
        raise FormError(too_large or _TOO_LARGE)
    if not data:
        raise FormError("is empty")
    return _unpacked(memoryview(data), too_large or _UNPACKS_TOO_LARGE)


def part(data: memoryview, offset: int, size: int, what: str) -> memoryview:
    """Return `size` bytes at `offset` of a file.

    Raises:
        FormError: the file ends before; `what` tells what should have been there.

    """
    if offset < 0 or size < 0 or offset + size > len(data):
        raise FormError(
            f"truncated or damaged: {what} should be {size} bytes at offset {offset:#x},"
            f" but the file has {len(data)} bytes"
        )
    return data[offset : offset + size]


def _unpacked(data: memoryview, too_large: str) -> memoryview:
    if data[:2] != GZIP_MAGIC:
        return data
    unpacked = bytearray()
    position = 0
    while data[position : position + 2] == GZIP_MAGIC:
        position = _append_member(data, position, unpacked, too_large)
    if not unpacked:
        raise FormError("is a gzip file of nothing")
    return memoryview(unpacked).toreadonly()


def _append_member(packed: memoryview, position: int, unpacked: bytearray, too_large: str) -> int:
    """Append what the gzip member at `position` holds; return the position behind it."""
    inflate = zlib.decompressobj(wbits=31)
    step = _FIRST_STEP
    pending = b""
    while not inflate.eof:
        if not pending:
            pending = bytes(packed[position : position + step])
            position += len(pending)
            step = min(2 * step, _STEP)
            if not pending:
                raise FormError("truncated: the gzip data end too early; fetch the file again")
        try:
            unpacked += inflate.decompress(pending, _STEP)
        except zlib.error as error:
            raise FormError(f"damaged: gzip data that cannot be unpacked ({error}); fetch it again") from None
        if len(unpacked) > UNPACKED_LIMIT:
            raise FormError(too_large)
        pending = inflate.unconsumed_tail
    return position - len(inflate.unused_data)
