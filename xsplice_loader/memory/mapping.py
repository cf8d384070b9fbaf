"""Mapped pages: their frames, contents and permissions, and which of their bytes are unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.partly_known import UnknownRange
from xsplice_loader.memory.sparse import zeros
from xsplice_loader.releases import PAGE_SIZE, Permissions

if TYPE_CHECKING:
    from collections.abc import Sequence


PAGE_HYPERVISOR: Permissions = "rw-"
"""What freshly mapped pages may be used for, until `modify_mappings` says otherwise."""


class Protection(NamedTuple):
    """What a run of pages may be used for."""

    start: int
    end: int
    permissions: Permissions


class Mapping:
    """A run of pages, their machine frames, and their contents."""

    __slots__ = ("contents", "end", "mfns", "protections", "start", "unknown")

    def __init__(self, start: int, mfns: Sequence[int]) -> None:
        self.start = start
        self.end = start + len(mfns) * PAGE_SIZE
        """The address after the last page."""
        self.mfns = mfns
        self.contents = zeros(len(mfns) * PAGE_SIZE)
        """The bytes, as uint8. Fresh pages are taken to be zero."""
        self.protections = [Protection(start, self.end, PAGE_HYPERVISOR)]
        self.unknown: tuple[UnknownRange, ...] = ()
        """Which bytes are unknown, ascending and apart; `contents` has them as they were before."""

    def mark_unknown(self, unknown: UnknownRange) -> None:
        """Note that bytes of the mapping are unknown from now on."""
        self.mark_known(unknown.address, unknown.size)
        merged: list[UnknownRange] = []
        for part in sorted((*self.unknown, unknown)):
            if merged and merged[-1].end == part.address and merged[-1].why == part.why:
                merged[-1] = merged[-1]._replace(size=merged[-1].size + part.size)
            else:
                merged.append(part)
        self.unknown = tuple(merged)

    def mark_known(self, address: int, size: int) -> None:
        """Note that bytes were written."""
        if not self.unknown:
            return
        end = address + size
        kept = []
        for old in self.unknown:
            if old.address < address:
                kept.append(old._replace(size=min(old.end, address) - old.address))
            if old.end > end:
                start = max(old.address, end)
                kept.append(UnknownRange(start, old.end - start, old.why))
        self.unknown = tuple(kept)

    def has_unknown(self, address: int, size: int) -> bool:
        """Tell whether one of some bytes is unknown."""
        return any(old.address < address + size and address < old.end for old in self.unknown)
