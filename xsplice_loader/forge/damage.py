"""Named ways to spoil a finished object file.

A damage says what it changes by name, so that it survives any change to the sample around it:

    section NAME FIELD VALUE            a field of a section header: section .text addralign 3
    section [INDEX] FIELD VALUE         the same by index
    header FIELD VALUE                  a field of the ELF header: header machine 183
    symbol NAME FIELD VALUE             a field of a symbol, or symbol [INDEX] …
    rela SECTION INDEX FIELD VALUE      a field of a RELA entry: rela .rela.text 0 symbol 0
    bytes SECTION OFFSET HEX            content of a section: bytes .strtab 0 41
    truncate SIZE                       keep SIZE bytes; negative: cut that many off the end

Fields have the names of the ELF specification, with or without `e_`, `sh_`, `st_`, `r_`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsplice_loader.forge import elf
from xsplice_loader.forge.errors import ForgeError

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = {
    "type": (16, "H"), "machine": (18, "H"), "version": (20, "I"), "entry": (24, "Q"), "phoff": (32, "Q"),
    "shoff": (40, "Q"), "flags": (48, "I"), "ehsize": (52, "H"), "phentsize": (54, "H"), "phnum": (56, "H"),
    "shentsize": (58, "H"), "shnum": (60, "H"), "shstrndx": (62, "H"), "ei_mag": (0, "I"),
    "ei_class": (4, "B"), "ei_data": (5, "B"), "ei_version": (6, "B"), "ei_osabi": (7, "B"),
    "ei_abiversion": (8, "B"),
}  # fmt: skip
_SECTION = {
    "name": (0, "I"), "type": (4, "I"), "flags": (8, "Q"), "addr": (16, "Q"), "offset": (24, "Q"),
    "size": (32, "Q"), "link": (40, "I"), "info": (44, "I"), "addralign": (48, "Q"), "entsize": (56, "Q"),
}  # fmt: skip
_SYMBOL = {
    "name": (0, "I"), "info": (4, "B"), "other": (5, "B"), "shndx": (6, "H"),
    "value": (8, "Q"), "size": (16, "Q"),
}  # fmt: skip
_RELA = {"offset": (0, "Q"), "info": (8, "Q"), "type": (8, "I"), "symbol": (12, "I"), "addend": (16, "Q")}


@dataclass(frozen=True, slots=True)
class Damage:
    """One change to a file, read from line `line`."""

    words: tuple[str, ...]
    line: int = 0

    def apply(self, data: bytes) -> bytes:
        """Return `data` with the change made.

        Raises:
            ForgeError: what should be changed is not there, or the value does not fit.

        """
        try:
            action, count = _ACTIONS[self.words[0]]
        except (KeyError, IndexError):
            raise self.error(f"expected one of {', '.join(_ACTIONS)}") from None
        if len(self.words) != count + 1:
            raise self.error(f"`{self.words[0]}` takes {count} words")
        return action(self, data, *self.words[1:])

    def error(self, message: str) -> ForgeError:
        """Return an error that names this damage's line."""
        return ForgeError(message, self.line, "damage: " + " ".join(self.words))

    def number(self, text: str) -> int:
        """Return the number in `text`.

        Raises:
            ForgeError: it is none.

        """
        try:
            return int(text, 0)
        except ValueError:
            raise self.error(f"{text!r} is not a number") from None

    def put(self, data: bytes, start: int, fields: dict[str, tuple[int, str]], name: str, value: str) -> bytes:
        """Return `data` with field `name` of the record at `start` set; a negative value wraps."""
        short = name
        for prefix in ("e_", "sh_", "st_", "r_"):
            short = short.removeprefix(prefix)
        if short not in fields:
            raise self.error(f"there is no field {name}; known are {', '.join(fields)}")
        offset, form = fields[short]
        bits = 8 * struct.calcsize("<" + form)
        number = self.number(value)
        if not -(1 << bits - 1) <= number < 1 << bits:
            raise self.error(f"{value} does not fit the {bits} bits of {name}")
        new = (number & (1 << bits) - 1).to_bytes(bits // 8, "little")
        return self.replaced(data, start + offset, new)

    def replaced(self, data: bytes, start: int, new: bytes) -> bytes:
        """Return `data` with `new` at `start`.

        Raises:
            ForgeError: that is not inside the file.

        """
        if not 0 <= start <= len(data) - len(new):
            raise self.error(f"offset {start} is outside the file of {len(data)} bytes")
        return data[:start] + new + data[start + len(new) :]


def parse_damage(text: str, line: int = 0) -> Damage:
    """Return the damage that `text` describes; it is tested when it is applied."""
    return Damage(tuple(text.split()), line)


def _headers(damage: Damage, data: bytes) -> list[tuple[int, int, int]]:
    """Return place of the header, offset and size of every section.

    Raises:
        ForgeError: an earlier damage left no section table.

    """
    try:
        values = elf.HEADER.unpack_from(data)
        shoff, count = values[6], values[12]
        places = [shoff + i * elf.SECTION_HEADER.size for i in range(count)]
        return [(place, *elf.SECTION_HEADER.unpack_from(data, place)[4:6]) for place in places]
    except (struct.error, OverflowError):
        raise damage.error("the file has no section table any more; put this damage first") from None


def _find(damage: Damage, data: bytes, name: str) -> tuple[int, int, int]:
    headers = _headers(damage, data)
    if name[:1] == "[" and name[-1:] == "]":
        index = damage.number(name[1:-1])
        if 0 <= index < len(headers):
            return headers[index]
        raise damage.error(f"there are {len(headers)} sections")
    # The last section is .shstrtab: the forge wrote this file.
    strings = headers[-1][1]
    for header in headers:
        start = strings + int.from_bytes(data[header[0] : header[0] + 4], "little")
        if data[start : data.find(b"\0", start)] == name.encode():
            return header
    raise damage.error(f"there is no section {name}")


def _section(damage: Damage, data: bytes, name: str, field: str, value: str) -> bytes:
    return damage.put(data, _find(damage, data, name)[0], _SECTION, field, value)


def _header(damage: Damage, data: bytes, field: str, value: str) -> bytes:
    return damage.put(data, 0, _HEADER, field, value)


def _symbol(damage: Damage, data: bytes, name: str, field: str, value: str) -> bytes:
    _, table, size = _find(damage, data, ".symtab")
    _, strings, _ = _find(damage, data, ".strtab")
    for index in range(size // elf.SYMBOL.size):
        place = table + index * elf.SYMBOL.size
        start = strings + int.from_bytes(data[place : place + 4], "little")
        if name in (data[start : data.find(b"\0", start)].decode("latin-1") or None, f"[{index}]"):
            return damage.put(data, place, _SYMBOL, field, value)
    raise damage.error(f"there is no symbol {name}")


def _rela(damage: Damage, data: bytes, *words: str) -> bytes:
    name, number, field, value = words
    _, table, size = _find(damage, data, name)
    index = damage.number(number)
    if not 0 <= index < size // elf.RELA.size:
        raise damage.error(f"{name} has {size // elf.RELA.size} entries")
    return damage.put(data, table + index * elf.RELA.size, _RELA, field, value)


def _bytes(damage: Damage, data: bytes, name: str, number: str, content: str) -> bytes:
    _, start, size = _find(damage, data, name)
    offset = damage.number(number)
    try:
        new = bytes.fromhex(content)
    except ValueError:
        raise damage.error("expected bytes in hexadecimal digits, two for each") from None
    if not 0 <= offset <= size - len(new):
        raise damage.error(f"{name} has {size} bytes")
    return damage.replaced(data, start + offset, new)


def _truncate(damage: Damage, data: bytes, size: str) -> bytes:
    count = damage.number(size)
    if not -len(data) <= count <= len(data):
        raise damage.error(f"the file has {len(data)} bytes")
    return data[:count]


_ACTIONS: dict[str, tuple[Callable[..., bytes], int]] = {
    "header": (_header, 2),
    "section": (_section, 3),
    "symbol": (_symbol, 3),
    "rela": (_rela, 4),
    "bytes": (_bytes, 3),
    "truncate": (_truncate, 1),
}
