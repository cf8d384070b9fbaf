"""ELF core files: memory by its virtual addresses, and the build-id of what runs there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096
ET_CORE, EM_X86_64, EV_CURRENT = 4, 62, 1
PT_LOAD, PT_NOTE = 1, 4
PF_R = 4
NT_GNU_BUILD_ID = 3
_IDENT = b"\x7fELF" + bytes((2, 1, EV_CURRENT)) + bytes(9)
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class Run(NamedTuple):
    """Consecutive mapped pages."""

    address: int
    """Virtual, of the first page."""
    contents: bytes

    @property
    def end(self) -> int:
        """The address after the last page."""
        return self.address + len(self.contents)


def core_file(runs: Sequence[Run], build_id: bytes) -> bytes:
    """Return a core file with a PT_LOAD segment for each run, and one PT_NOTE segment with the build-id.

    Physical addresses are left 0, as in a core file of a process. The page tables' permissions are not recorded.
    """
    note = struct.pack("<III4s", 4, len(build_id), NT_GNU_BUILD_ID, b"GNU\0") + build_id + bytes(-len(build_id) % 4)
    count = 1 + len(runs)
    note_offset = _HEADER.size + count * _PROGRAM_HEADER.size
    headers = [_PROGRAM_HEADER.pack(PT_NOTE, PF_R, note_offset, 0, 0, len(note), 0, 4)]
    offset = _next_page(note_offset + len(note))
    first = offset
    for run in runs:
        size = len(run.contents)
        headers.append(_PROGRAM_HEADER.pack(PT_LOAD, PF_R, offset, run.address, 0, size, size, PAGE))
        offset = _next_page(offset + size)
    header = _HEADER.pack(
        *(_IDENT, ET_CORE, EM_X86_64, EV_CURRENT, 0, _HEADER.size, 0, 0),
        *(_HEADER.size, _PROGRAM_HEADER.size, count, 0, 0, 0),
    )
    start = (header + b"".join(headers) + note).ljust(first, b"\0")
    return start + b"".join(run.contents.ljust(_next_page(len(run.contents)), b"\0") for run in runs)


def runs_of(core: bytes) -> tuple[Run, ...]:
    """Return the runs that a core file of this module's holds."""
    (count,) = struct.unpack_from("<H", core, _HEADER.size - 8)
    headers = (_PROGRAM_HEADER.unpack_from(core, _HEADER.size + index * _PROGRAM_HEADER.size) for index in range(count))
    return tuple(
        Run(address, core[offset : offset + size])
        for kind, _, offset, address, _, size, _, _ in headers
        if kind == PT_LOAD
    )


def _next_page(size: int) -> int:
    return -(-size // PAGE) * PAGE
