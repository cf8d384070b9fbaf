"""ELF core files for tests: memory of a running hypervisor by its virtual addresses."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE, NT_GNU_BUILD_ID = 4, 62, 1, 4, 3


def core(memory: Mapping[int, bytes], build_id: bytes | None) -> bytes:
    """Return a core file with a segment for each run of memory, and a note with the build-id if one is given."""
    note = b"" if build_id is None else struct.pack("<III4s", 4, len(build_id), NT_GNU_BUILD_ID, b"GNU\0") + build_id
    parts = [(PT_NOTE, 0, note)] if note else []
    parts += [(PT_LOAD, address, contents) for address, contents in sorted(memory.items())]
    offset = HEADER.size + len(parts) * SEGMENT.size
    headers = contents = b""
    for kind, address, part in parts:
        headers += SEGMENT.pack(kind, 4, offset + len(contents), address, 0, len(part), len(part), 1)
        contents += part
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = HEADER.pack(
        ident, ET_CORE, EM_X86_64, 1, 0, HEADER.size, 0, 0, HEADER.size, SEGMENT.size, len(parts), 0, 0, 0
    )
    return header + headers + contents
