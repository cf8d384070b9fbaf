"""Build-id notes (`spec/01 §13`)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_space import MemoryFault

if TYPE_CHECKING:
    from xsplice_loader.memory.address_space import AddressSpace

NOTE_HEADER = Struct("<III")
NT_GNU_BUILD_ID = 3
_OWNER = b"GNU"


class BrokenNote(NamedTuple):
    """Why a note is not a build-id, and the errno's name that Xen's parser gives for it."""

    errno: str | None
    """None: Xen meets a page fault while it looks."""
    reason: str


class NotedId(NamedTuple):
    """A build-id, and where in its note it stands."""

    offset: int
    contents: bytes
    """Without what is not in mapped memory."""
    size: int


class LiveId(NamedTuple):
    """A build-id of a loaded payload. Xen keeps a pointer to it, and whatever changes the note changes the id."""

    address: int | None
    """None: it was left in the upload's buffer, which is gone."""
    contents: bytes
    """As it was when the payload was loaded."""

    def now(self, memory: AddressSpace) -> bytes:
        """Return the id as it is now."""
        try:
            found = None if self.address is None else memory.read(self.address, len(self.contents))
        except MemoryFault:
            found = None
        return self.contents if found is None else found


def parse_build_id(memory: bytes, size: int) -> NotedId | BrokenNote:
    """Return the build-id in a note of `size` bytes.

    `memory` begins at the note and may go on after it: padding of the name is not part of Xen's size test, so an id
    can run up to 3 bytes past the section (xen/common/version.c: xen_build_id_check). Where `memory` is shorter than
    that, it ends where mapped memory does.
    """
    if size <= NOTE_HEADER.size:
        return BrokenNote("EINVAL", f"it has {size} bytes; the header of a note alone takes {NOTE_HEADER.size}")
    if len(memory) < NOTE_HEADER.size:
        return BrokenNote(None, "its header is not in mapped memory")
    name_size, id_size, kind = NOTE_HEADER.unpack_from(memory)
    if kind != NT_GNU_BUILD_ID:
        return BrokenNote("ENODATA", f"its type is {kind}, expected {NT_GNU_BUILD_ID} (build-id)")
    if name_size + id_size > 0xFFFF_FFFF:
        return BrokenNote(
            "EINVAL", f"its name size {name_size} and content size {id_size} add up to more than 32 bits hold"
        )
    if name_size < 4:
        return BrokenNote("EINVAL", f"its name has {name_size} bytes, expected 4 (GNU and a NUL)")
    if name_size + id_size > size - NOTE_HEADER.size:
        return BrokenNote("EINVAL", f"name ({name_size} bytes) and content ({id_size}) do not fit its {size} bytes")
    # Compared as strings, over at most namesz bytes: what stands behind the NUL does not count.
    owner = memory[NOTE_HEADER.size : NOTE_HEADER.size + name_size].split(b"\0", 1)[0]
    if len(memory) < NOTE_HEADER.size + len(_OWNER) + 1 and _OWNER.startswith(owner):
        return BrokenNote(None, "its owner runs on into unmapped memory")
    if owner != _OWNER:
        return BrokenNote("ENODATA", f"its owner is {owner[:16]!r}, expected GNU")
    if id_size == 0:
        return BrokenNote("EINVAL", "its build-id is empty")
    start = NOTE_HEADER.size + -(-name_size // 4) * 4
    return NotedId(start, memory[start : start + id_size], id_size)
