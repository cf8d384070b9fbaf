"""What a host remembers of payloads: the ones that are loaded, and what an upload or an action finds and changes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.payload import text_of
from xsplice_loader.payload.elf import SHN_UNDEF

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.host.structures import Structures
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.function_states import PayloadStatus
    from xsplice_loader.livepatch.functions import FunctionEntry
    from xsplice_loader.livepatch.hooks import Hooks
    from xsplice_loader.livepatch.live_functions import LiveTable
    from xsplice_loader.livepatch.metadata import Metadata
    from xsplice_loader.livepatch.notes import LiveId
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.livepatch.symbol_table import PayloadSymbol
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.mapping import Mapping
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.memory.vmalloc import VirtualMemory
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.resolution import ResolvedSymbols

MAX_SIZE = 2 << 20
"""Bytes of a payload's file at most (LIVEPATCH_MAX_SIZE)."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPayload:
    """A loaded payload, as later uploads and actions see it."""

    name: str
    payload: ObjectFile
    placement: Placement
    resolved: ResolvedSymbols
    entries: tuple[FunctionEntry, ...]
    symbols: tuple[PayloadSymbol, ...]
    exports: dict[bytes, int]
    """The symbols that later payloads may link to; of equal names the first."""
    build_id: LiveId | None
    depends: LiveId | None
    xen_depends: LiveId | None
    mapping: Mapping
    may_be_reapplied: bool
    """It has no variables that its code may have changed."""
    table: LiveTable
    hooks: Hooks
    metadata: Metadata
    status: PayloadStatus

    @property
    def shown_name(self) -> str:
        """The name as text."""
        return text_of(os.fsencode(self.name))

    @property
    def is_safe_to_reapply(self) -> bool:
        """Whether it may be applied once more after a revert; its own hooks may have the last word."""
        changed = self.status.may_be_reapplied
        return self.may_be_reapplied if changed is None else changed

    def has_lost(self, note: str) -> bool:
        """Tell whether a note was left in the upload's buffer, which is gone (`spec/01 §14.5`)."""
        section = self.payload.section_named(note)
        return section is not None and section.size > 0 and section.index not in self.placement.addresses

    def links_into(self, mapping: Mapping) -> bool:
        """Tell whether it refers to symbols that lie in the pages of another payload."""
        undefined = self.payload.symbols.table["section"] == SHN_UNDEF
        addresses = self.resolved.values[undefined]
        return bool(((addresses >= np.uint64(mapping.start)) & (addresses < np.uint64(mapping.end))).any())


@dataclass(slots=True, eq=False)
class HostState:
    """What an upload finds on the host, and changes."""

    hypervisor: Hypervisor
    virtual: VirtualMemory
    release: Release
    arena_end: int
    """The end of the last page that the range for payloads can give."""
    stand_in: Callable[[], VirtualMemory]
    """Makes something to place a payload with that Xen refused before placing it, so that the rest can be looked at."""
    nops: NopTable = "p6"
    cpu_features: frozenset[int] = frozenset()
    """The processor's, as numbers `word * 32 + bit`; the one that every processor has need not be among them."""
    max_size: int = MAX_SIZE
    """0: no limit."""
    keeps_lock: bool = False
    """The payload lock was never given back, so that every later request waits without end."""
    place: int | None = None
    """The address that every payload is to stand at, where it was given by hand."""
    range_end: int | None = None
    """The end of the range that addresses are taken from; None where they are somebody else's choice."""
    weaknesses: tuple[str, ...] = ()
    """What is wrong with the design that finds addresses, a sentence each."""
    payloads: list[LoadedPayload] = field(default_factory=list)
    """In the order of their uploads."""
    applied: list[LoadedPayload] = field(default_factory=list)
    """Those that are applied, in that order."""
    patched: dict[int, None] = field(default_factory=dict)
    """The old addresses of all functions that were ever patched, in that order."""

    structures: Structures | None = None
    """Xen's own data on payloads in memory; None until a hook is run."""

    @property
    def memory(self) -> AddressSpace:
        """The host's mapped memory."""
        return self.virtual.space

    def payload_named(self, name: str) -> LoadedPayload | None:
        """Return the loaded payload of a name."""
        return next((loaded for loaded in self.payloads if loaded.name == name), None)

    def is_active(self, loaded: LoadedPayload) -> bool:
        """Tell whether a payload's code counts as Xen's (`spec/04 §6.3`)."""
        return self.release.text_active_from_load or loaded.status.is_applied

    def unload(self, loaded: LoadedPayload) -> None:
        """Forget a payload and give its memory back."""
        self.payloads.remove(loaded)
        if self.structures is not None:
            self.structures.free(loaded, self.memory)
        self.virtual.vfree(loaded.mapping)

    def address_of(self, name: bytes) -> int | None:
        """Look a symbol up as Xen does: in its own table first, then in the loaded payloads (`spec/03 §1`)."""
        address = self.hypervisor.symbols.address_of(name)
        return address if address is not None else self.address_in_payloads(name)

    def address_in_payloads(self, name: bytes) -> int | None:
        """Look a symbol up among those that loaded payloads offer, in the order of their uploads."""
        for loaded in self.payloads:
            if name in loaded.exports:
                return loaded.exports[name] or None
        return None
