"""The designs of address allocation that go by a name, and what is known of each (contract 1.1, `spec/02 §7`)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_map import default_vmap, stub_page
from xsplice_loader.memory.mapping import Protection
from xsplice_loader.memory.vmap import Bitmap, Vmap, VmapCallback, XenVmap, furthest
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.memory.arena_map import Guards


class UnknownVmapError(ValueError):
    """No design has that name."""


class Design(NamedTuple):
    """How addresses are found, and what a reader should know about it."""

    make: Callable[[Hypervisor], Vmap]
    guards: Guards
    """Where an unmapped page is kept for each allocation."""
    has_bitmap: bool
    """The first pages of the range hold the design's own bitmap."""
    range_of: Callable[[Hypervisor], tuple[int, int]]
    weaknesses: tuple[str, ...] = ()
    """What was wrong with it as it was posted, a sentence each."""
    place: int | None = None
    """The one address that every payload is to stand at."""
    asks_user: bool = False
    """A callback of the user's is asked, which may count how often."""
    overshoots: bool = False
    """Of a short range for payloads, pages behind its end are given out, too (`spec/02 §6.2`)."""

    def around(self, hypervisor: Hypervisor) -> Around:
        """Return what there is of Xen's own in the range for payloads and behind it."""
        return _around(hypervisor, self.has_bitmap and self.range_of is _arena, self.overshoots)


class Around(NamedTuple):
    """What surrounds the addresses that payloads are given."""

    own_pages: tuple[Protection, ...]
    """Xen's pages: the first of its bitmap, and the boot processor's stubs."""
    end: int
    """The end of the last page that a payload can be given."""


@lru_cache(maxsize=1)
def _around(hypervisor: Hypervisor, has_bitmap: bool, overshoots: bool) -> Around:
    """Ask once for all the hosts that run one hypervisor."""
    start, end = _arena(hypervisor)
    stubs = stub_page(hypervisor.release, start)
    pages: tuple[Protection, ...] = (Protection(stubs, stubs + PAGE_SIZE, "r-x"),)
    if has_bitmap:
        pages = (Protection(start, start + PAGE_SIZE, "rw-"), *pages)
    return Around(pages, furthest(start, end) if overshoots else end)


EXACT_MATCH = (
    "This design recognises the exact first address of an allocation only; Xen's bitmap knows any address in its first "
    "page."
)
NO_GUARD = (
    "This design keeps no page free between allocations: an access past the end of one payload falls into the next one "
    "unnoticed, where Xen's guard page would fault."
)
QUADRATIC = (
    "This design walks all payloads for every payload it steps over: with n payloads, n squared steps for one address."
)
THREE_SEARCHES = "This design searches its list three times for every free, and does not keep the lock in between."
FULL_SCAN = "This design looks through one slot for every page of the range at each size and free, loaded or not."


def _arena(hypervisor: Hypervisor) -> tuple[int, int]:
    return hypervisor.arena_start, hypervisor.arena_end


def _default_range(hypervisor: Hypervisor) -> tuple[int, int]:
    return default_vmap(hypervisor.release)


def _default_bitmap(hypervisor: Hypervisor) -> Bitmap:
    return Bitmap(*_default_range(hypervisor))


def _xen(hypervisor: Hypervisor) -> Vmap:
    arena = Bitmap(*_arena(hypervisor))
    return XenVmap(_default_bitmap(hypervisor), arena, chosen=arena)


def _default(hypervisor: Hypervisor) -> Vmap:
    default = _default_bitmap(hypervisor)
    return XenVmap(default, Bitmap(*_arena(hypervisor)), chosen=default)


def _callback(hypervisor: Hypervisor) -> Vmap:
    from xsplice_loader.memory.vmap.callback import NextFitVmap  # noqa: PLC0415 - only for who asks for it

    return NextFitVmap(_default_bitmap(hypervisor), *_arena(hypervisor))


def _slots(hypervisor: Hypervisor) -> Vmap:
    from xsplice_loader.memory.vmap.slots import SlotsVmap  # noqa: PLC0415 - as above

    return SlotsVmap(*_arena(hypervisor))


def _tree(hypervisor: Hypervisor) -> Vmap:
    from xsplice_loader.memory.vmap.tree import TreeVmap  # noqa: PLC0415 - as above

    return TreeVmap(*_arena(hypervisor))


def _loader(hypervisor: Hypervisor) -> Vmap:
    from xsplice_loader.memory.vmap.loader import LoaderVmap  # noqa: PLC0415 - as above

    return LoaderVmap(*_arena(hypervisor))


def _of_callback(callback: VmapCallback) -> Callable[[Hypervisor], Vmap]:
    from xsplice_loader.memory.vmap.callback import CallbackVmap  # noqa: PLC0415 - as above

    return lambda hypervisor: CallbackVmap(_default_bitmap(hypervisor), callback)


DESIGNS: dict[str, Design] = {
    "xen": Design(_xen, "before", True, _arena, overshoots=True),
    "default": Design(_default, "before", True, _default_range),
    "callback": Design(_callback, "none", False, _arena, (EXACT_MATCH, NO_GUARD, THREE_SEARCHES)),
    "slots": Design(_slots, "before", True, _arena, (EXACT_MATCH, FULL_SCAN)),
    "tree": Design(_tree, "behind", False, _arena),
    "loader": Design(_loader, "none", False, _arena, (EXACT_MATCH, NO_GUARD, QUADRATIC)),
}
"""Xen's two ranges, and what was discussed in 2016 for the second."""


def design_of(vmap: str | VmapCallback, place: int | None) -> Design:
    """Return the design that a user asks for: by name, by a callback, or by an address.

    Raises:
        UnknownVmapError: nothing goes by that name.
    """
    if place is not None:
        return Design(_of_callback(lambda _mfns, _pages: place), "none", False, _arena, place=place)
    if not isinstance(vmap, str):
        return Design(_of_callback(vmap), "none", False, _arena, asks_user=True)
    if vmap not in DESIGNS:
        raise UnknownVmapError(f"no finder of addresses is called {vmap!r}; there are {', '.join(DESIGNS)}")
    return DESIGNS[vmap]
