"""The hooks of a loaded payload (`spec/04 §4`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.loaded import UnknownContentsError

if TYPE_CHECKING:
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release

POINTER_SIZE = 8
LOAD, UNLOAD = ".livepatch.hooks.load", ".livepatch.hooks.unload"
PREAPPLY, APPLY, POSTAPPLY = (f".livepatch.hooks.{name}" for name in ("preapply", "apply", "postapply"))
PREREVERT, REVERT, POSTREVERT = (f".livepatch.hooks.{name}" for name in ("prerevert", "revert", "postrevert"))
VETOING = (PREAPPLY, POSTAPPLY, PREREVERT, POSTREVERT)
"""The hooks that a payload must not have that takes part in a replacement."""


class Hooks:
    """Where a payload's tables of hooks stand; what they hold is read when it is needed, as Xen does."""

    def __init__(self, payload: ObjectFile, placement: Placement, release: Release) -> None:
        self._tables: dict[str, tuple[int | None, int]] = {}
        for name in (*release.hook_arrays, *release.single_hooks):
            section = payload.section_named(name)
            if section is not None and section.size:
                address = placement.addresses.get(section.index)
                # Of a table that was not loaded, a single hook is absent; an array is walked through a NULL pointer.
                if address is not None or release.passes_note_errors or name in release.hook_arrays:
                    self._tables[name] = address, section.size // POINTER_SIZE

    def pointers(self, name: str, memory: AddressSpace) -> list[int]:
        """Return the addresses in a table, in order; none where the payload has no such hooks.

        Raises:
            MemoryFault: the table is not mapped any more.
            UnknownContentsError: what it holds is unknown.
        """
        if name not in self._tables:
            return []
        address, count = self._tables[name]
        # A table that was left in the upload's buffer is gone; what stands at 0 faults as what is there now would.
        table = memory.read(address or 0, count * POINTER_SIZE)
        if table is None:
            raise UnknownContentsError(address or 0, count * POINTER_SIZE)
        return [
            int.from_bytes(table[start : start + POINTER_SIZE], "little")
            for start in range(0, len(table), POINTER_SIZE)
        ]

    def single(self, name: str, memory: AddressSpace) -> int | None:
        """Return the one hook of a kind; a NULL pointer is none.

        Raises:
            MemoryFault: its table is not mapped any more.
            UnknownContentsError: what it holds is unknown.
        """
        pointers = self.pointers(name, memory)
        return pointers[0] or None if pointers else None
