"""The named areas of Xen's part of the x86-64 address space.

Which areas there are is the same in all releases; where Xen's own gigabyte lies, and how its top is divided,
is not (`spec/02 §8`). The map serves explanations: in which area does an address lie that cannot be reached?
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.releases import GIB

if TYPE_CHECKING:
    from xsplice_loader.releases import Release

# Ranges that no release moved (`spec/02 §8.1`).
MACHINE_TO_PHYS = (0xFFFF828000000000, 0xFFFF82C000000000)
VMAP = (0xFFFF82C000000000, 0xFFFF82D000000000)
COMPAT_MACHINE_TO_PHYS = (0xFFFF82D000000000, 0xFFFF82D040000000)
HIGH_COMPAT_MACHINE_TO_PHYS = (0xFFFF82D040000000, 0xFFFF82D080000000)
FRAME_TABLE = (0xFFFF82E000000000, 0xFFFF830000000000)
DIRECTMAP = (0xFFFF830000000000, 0xFFFF880000000000)

NR_CPUS = 256
"""Xen's default; each processor has one page of stubs at the top of Xen's range (`spec/02 §8.2`)."""
FIXADDR_X_SIZE = 0x1000
"""The executable fixmap without Hyper-V guest support (`spec/02 §8.2`)."""


class Area(NamedTuple):
    """A named range of addresses, half open."""

    name: str
    start: int
    end: int


class AddressMap(NamedTuple):
    """Areas in ascending order that do not overlap; addresses between them belong to none."""

    areas: tuple[Area, ...]

    def area_of(self, address: int) -> Area | None:
        """Return the area that holds `address`, or None."""
        index = bisect_right(self.areas, address, key=lambda area: area.start) - 1
        if index < 0 or address >= self.areas[index].end:
            return None
        return self.areas[index]

    def named(self, name: str) -> Area:
        """Return the (lowest) area called `name`.

        Raises:
            KeyError: there is none.

        """
        for area in self.areas:
            if area.name == name:
                return area
        raise KeyError(name)


def address_map(release: Release, *, text_start: int, image_end: int, arena_start: int, arena_end: int) -> AddressMap:
    """Return the areas around an image whose text starts at `text_start`.

    Where areas overlap, because an arena of the user's own was asked for, the arena and then the image win:
    the other one is cut, into two areas of one name if need be.
    """
    xen_virt_start = text_start & -GIB
    by_precedence = [
        Area("payload arena", arena_start, arena_end),
        Area("xen", text_start, image_end),
        Area("stubs", default_arena_end(release, xen_virt_start), xen_virt_start + GIB),
        Area("machine-to-phys table", *MACHINE_TO_PHYS),
        Area("vmap", *default_vmap(release)),
        Area("compat machine-to-phys table", *COMPAT_MACHINE_TO_PHYS),
        Area("frame table", *FRAME_TABLE),
        Area("directmap", *DIRECTMAP),
    ]
    if xen_virt_start >= HIGH_COMPAT_MACHINE_TO_PHYS[1]:
        by_precedence.append(Area("high compat machine-to-phys table", *HIGH_COMPAT_MACHINE_TO_PHYS))
    areas: list[Area] = []
    for area in by_precedence:
        areas += _outside(area, areas)
    return AddressMap(tuple(sorted(areas, key=lambda area: area.start)))


def default_vmap(release: Release) -> tuple[int, int]:
    """Return start and end of Xen's ordinary vmap range, the same in every release (`spec/02 §8.1`)."""
    del release
    return VMAP


def default_arena_end(release: Release, xen_virt_start: int) -> int:
    """Return where the payload range of a default build ends: 256 processors, no Hyper-V (`spec/02 §8.2`)."""
    return _end_of_stubs(release, xen_virt_start) - NR_CPUS * 4096


def stub_page(release: Release, address: int) -> int:
    """Return the page of the boot processor's system call stubs, in the gigabyte of Xen that an address lies in."""
    return _end_of_stubs(release, address & -GIB) - 4096


def _end_of_stubs(release: Release, xen_virt_start: int) -> int:
    return xen_virt_start + GIB - (FIXADDR_X_SIZE if release.has_executable_fixmap else 0)


def _outside(area: Area, taken: list[Area]) -> list[Area]:
    """Return the parts of `area` that no area of `taken` covers."""
    parts = [area]
    for other in taken:
        parts = [
            Area(area.name, start, end)
            for part in parts
            for start, end in (
                (part.start, min(part.end, other.start)),
                (max(part.start, other.end), part.end),
            )
            if start < end
        ]
    return parts
