"""What `printk` makes of its format and arguments.

Xen's formats are those of C, with extensions behind `%p`. The ones that need a structure of Xen's (`%pv`, `%pd`,
`%pp`, bitmaps) are shown as the pointer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_LIMIT = 1023
"""Bytes that Xen formats for one call at most."""
_WIDTH_LIMIT = LINE_LIMIT
_POINTER_DIGITS = 16
_DIRECTIVE = re.compile(
    rb"%(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?(?P<length>ll|[hlLzZ]?)(?P<conversion>.|$)",
    re.DOTALL,
)
_EXTENSIONS = re.compile(rb"h[CDN]?|bl?|[dpvsS]")
_MARKS = re.compile(rb"(?:<[^\0]>)+", re.DOTALL)
_BITS = {b"h": 16, b"": 32}
_BASES = {b"d": 10, b"i": 10, b"u": 10, b"o": 8, b"x": 16, b"X": 16}
_HEX_SEPARATORS = {b"h": b" ", b"hC": b":", b"hD": b"-", b"hN": b""}


class Sources(NamedTuple):
    """Where what is printed comes from."""

    arguments: Iterator[int]
    """64 bits each, without end."""
    string_at: Callable[[int, int], bytes]
    """`string_at(address, limit)`: the string there without its NUL, cut at `limit` bytes."""
    bytes_at: Callable[[int, int], bytes]
    symbolic: Callable[[int, bool], str]
    """An address as Xen prints it where it wants a symbol; whether even with the offset 0."""


class _Field(NamedTuple):
    flags: bytes
    width: int
    precision: int | None

    def padded(self, text: bytes) -> bytes:
        return text.ljust(self.width) if b"-" in self.flags else text.rjust(self.width)


class UnsupportedFormatError(Exception):
    """A format that asks for more than text; the message is a clause that says what."""


class Console:
    """Lines put together from what is printed piece by piece.

    A line may begin with marks that say how important it is (`<0>` to `<3>`) and who caused it (`<G>`). Xen takes
    them off, whatever stands in them, but only where a line begins.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._unfinished = b""

    def write(self, text: bytes) -> None:
        """Take what one call printed."""
        first, *others = text.split(b"\n")
        pieces = [
            self._unfinished + (first if self._unfinished else _without_marks(first)),
            *map(_without_marks, others),
        ]
        *whole, self._unfinished = pieces
        self.lines += [line.decode("utf-8", "backslashreplace") for line in whole]
        # Only a program that never ends a line gets here.
        self._unfinished = self._unfinished[: LINE_LIMIT * 16]

    def flush(self) -> None:
        """End the line that was begun, if any."""
        if self._unfinished:
            self.write(b"\n")


def _without_marks(line: bytes) -> bytes:
    return line[found.end() :] if (found := _MARKS.match(line)) else line


def formatted(template: bytes, sources: Sources) -> bytes:
    """Return what a format and its arguments give, cut where Xen cuts it.

    Raises:
        UnsupportedFormatError: it asks for more than text.
    """
    out = bytearray()
    place = 0
    while len(out) < LINE_LIMIT:
        start = template.find(b"%", place)
        if start < 0:
            out += template[place:]
            break
        out += template[place:start]
        text, place = _one(template, start, sources)
        out += text
    return bytes(out[:LINE_LIMIT])


def _one(template: bytes, start: int, sources: Sources) -> tuple[bytes, int]:
    """Return what the directive at `start` gives, and where it ends."""
    found = _DIRECTIVE.match(template, start)
    assert found is not None, "a percent sign begins a directive"
    field = _field(found, sources)
    conversion, end = found["conversion"], found.end()
    if conversion == b"p":
        extension = _EXTENSIONS.match(template, end)
        name = extension[0] if extension is not None else b""
        return _pointer(next(sources.arguments), name, field, sources), end + len(name)
    if conversion == b"c":
        return field.padded(bytes([next(sources.arguments) & 0xFF])), end
    if conversion == b"s":
        return _string(next(sources.arguments), field, sources), end
    if conversion == b"n":
        raise UnsupportedFormatError("asks printk to store how much it has written (%n)")
    if conversion in _BASES:
        bits = _BITS.get(found["length"], 64)
        return _number(next(sources.arguments), conversion, bits, field), end
    return (b"%" if conversion == b"%" else b"%" + conversion), end


def _field(found: re.Match[bytes], sources: Sources) -> _Field:
    flags, width = found["flags"], found["width"]
    if width == b"*":
        wanted = _signed(next(sources.arguments), 32)
        flags += b"-" if wanted < 0 else b""
        size = abs(wanted)
    else:
        size = int(width or b"0")
    precision = found["precision"]
    if precision == b"*":
        digits: int | None = max(_signed(next(sources.arguments), 32), 0)
    else:
        digits = None if precision is None else int(precision or b"0")
    return _Field(flags, min(size, _WIDTH_LIMIT), None if digits is None else min(digits, _WIDTH_LIMIT))


def _number(argument: int, conversion: bytes, bits: int, field: _Field) -> bytes:
    value = _signed(argument, bits) if conversion in b"di" else argument & ((1 << bits) - 1)
    sign = b""
    if conversion in b"di":
        sign = b"-" if value < 0 else b"+" if b"+" in field.flags else b" " if b" " in field.flags else b""
    digits = {10: b"%d", 8: b"%o", 16: b"%x"}[_BASES[conversion]] % abs(value)
    if conversion == b"X":
        digits = digits.upper()
    if b"#" in field.flags and value:
        sign += {8: b"0", 16: b"0" + conversion}.get(_BASES[conversion], b"")
    digits = digits.rjust(field.precision or 0, b"0")
    if b"0" in field.flags and b"-" not in field.flags:
        digits = digits.rjust(field.width - len(sign), b"0")
    return field.padded(sign + digits)


def _string(address: int, field: _Field, sources: Sources) -> bytes:
    if address < PAGE_SIZE:
        text = b"<NULL>"
    else:
        text = sources.string_at(address, LINE_LIMIT if field.precision is None else field.precision)
    return field.padded(text if field.precision is None else text[: field.precision])


def _pointer(address: int, extension: bytes, field: _Field, sources: Sources) -> bytes:
    if extension in (b"s", b"S"):
        return field.padded(sources.symbolic(address, extension == b"S").encode())
    if extension in _HEX_SEPARATORS:
        # The width counts bytes here, 64 of them at most.
        shown = sources.bytes_at(address, min(field.width, 64))
        return _HEX_SEPARATORS[extension].join(b"%02x" % byte for byte in shown)
    if not field.width:
        field = field._replace(width=_POINTER_DIGITS, flags=field.flags + b"0")
    return _number(address, b"x", 64, field)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
