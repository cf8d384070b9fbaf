"""Symbol lists: Xen's `xen-syms.map`, and what `nm` prints in its BSD and System V forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.hypervisor.contents import FormError
from xsplice_loader.hypervisor.symbols import ListedSymbol, SymbolTable

if TYPE_CHECKING:
    from collections.abc import Iterator

# `0xffff82d040200000 T _stext` (map) or the same without 0x (nm).
_BSD = re.compile(rb"(?:0x)?([0-9a-f]{8,16})[ \t]+([A-Za-z?-])[ \t]+(\S+)[ \t]*\r?", re.IGNORECASE)
_BSD_UNDEFINED = re.compile(rb"[ \t]*[Uvw][ \t]+\S+[ \t]*\r?")
# `_stext |ffff82d040200000| T | NOTYPE| | |.text`
_SYSTEM_V_COLUMNS = 7
_ADDRESS = re.compile(rb"[0-9a-f]{8,16}", re.IGNORECASE)
_TYPE = re.compile(rb"[A-Za-z?-]")
_HEADING = re.compile(rb"(?:Symbols from .*|Name +Value +Class .*|\S+:)\r?")
_LEFT_OUT = b"UuNAavw-?"
"""Types that Xen's table does not keep: undefined, debugging, absolute and unknown ones (`spec/03 §7.4`)."""
_PROBE = 4096
_LONGEST_LINE = 4096


class SymbolList(NamedTuple):
    """The symbols of a list; `has_file_names`: whether local ones are named as Xen does, `file#name`."""

    symbols: SymbolTable
    has_file_names: bool


def looks_like_list(data: memoryview) -> bool:
    """Tell whether a file starts with a line of a symbol list."""
    lines = bytes(data[:_PROBE]).split(b"\n")
    first = next((line for line in lines if line.strip() and not _HEADING.fullmatch(line)), b"")
    return any(form.fullmatch(first) for form in (_BSD, _BSD_UNDEFINED)) or _system_v(first) is not None


def read_list(data: memoryview) -> SymbolList:
    """Read a symbol list.

    Local symbols that follow a FILE entry are named after it, as Xen's build does (`spec/03 §1.3`).

    Raises:
        FormError: a line is of another form, or there is no symbol.

    """
    symbols = SymbolTable.of_listed(_listed(data.tobytes()))
    if not len(symbols):
        raise FormError("is a symbol list without a single address")
    local = [name for name, letter in zip(symbols.names, symbols.types, strict=True) if letter.islower()]
    return SymbolList(symbols, not local or any(b"#" in name for name in local))


def _listed(text: bytes) -> Iterator[ListedSymbol]:
    file = b""
    for number, line in enumerate(text.split(b"\n"), 1):
        if len(line) > _LONGEST_LINE:
            raise FormError(f"line {number} of the symbol list has {len(line)} bytes, more than any symbol's")
        if match := _BSD.fullmatch(line):
            address, letter, name = match.groups()
            kind = b""
        elif columns := _system_v(line):
            name, address, letter, kind = columns
        elif not line.strip() or _BSD_UNDEFINED.fullmatch(line) or _HEADING.fullmatch(line):
            continue
        else:
            shown = line[:60].decode("ascii", "backslashreplace")
            raise FormError(f"line {number} of the symbol list should be `ADDRESS TYPE NAME`, not {shown!r}")
        if kind == b"FILE":
            file = name
        elif address.strip() and letter not in _LEFT_OUT and not name.startswith(b"$"):
            if file and letter.islower() and b"#" not in name:
                name = file + b"#" + name
            yield ListedSymbol(name, int(address, 16), letter.decode(), kind != b"NOTYPE")


def _system_v(line: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return a line of `nm --format=sysv`: name, address (empty for an undefined symbol), type letter, ELF type."""
    columns = [column.strip() for column in line.split(b"|", _SYSTEM_V_COLUMNS)]
    if len(columns) != _SYSTEM_V_COLUMNS:
        return None
    name, address, letter, kind = columns[:4]
    if not name or b" " in name or not _TYPE.fullmatch(letter) or (address and not _ADDRESS.fullmatch(address)):
        return None
    return name, address, letter, kind
