"""The designs of address allocation that go by a name, and what is known of each (contract 1.1, `spec/02 §7`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_map import default_vmap
from xsplice_loader.memory.vmap import (
    Bitmap,
    CallbackVmap,
    FixedVmap,
    LoaderVmap,
    NextFitVmap,
    SlotsVmap,
    TreeVmap,
    Vmap,
    VmapCallback,
    XenVmap,
)

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


DESIGNS: dict[str, Design] = {
    "xen": Design(_xen, "before", True, _arena),
    "default": Design(_default, "before", True, _default_range),
    "callback": Design(
        lambda hypervisor: NextFitVmap(_default_bitmap(hypervisor), *_arena(hypervisor)),
        "none",
        False,
        _arena,
        (EXACT_MATCH, NO_GUARD, THREE_SEARCHES),
    ),
    "slots": Design(
        lambda hypervisor: SlotsVmap(*_arena(hypervisor)), "before", True, _arena, (EXACT_MATCH, FULL_SCAN)
    ),
    "tree": Design(lambda hypervisor: TreeVmap(*_arena(hypervisor)), "behind", False, _arena),
    "loader": Design(
        lambda hypervisor: LoaderVmap(*_arena(hypervisor)), "none", False, _arena, (EXACT_MATCH, NO_GUARD, QUADRATIC)
    ),
}
"""Xen's two ranges, and what was discussed in 2016 for the second."""


def design_of(vmap: str | VmapCallback, place: int | None) -> Design:
    """Return the design that a user asks for: by name, by a callback, or by an address.

    Raises:
        UnknownVmapError: nothing goes by that name.
    """
    if place is not None:
        return Design(lambda hypervisor: FixedVmap(_default_bitmap(hypervisor), place), "none", False, _arena)
    if not isinstance(vmap, str):
        return Design(lambda hypervisor: CallbackVmap(_default_bitmap(hypervisor), vmap), "none", False, _arena)
    if vmap not in DESIGNS:
        raise UnknownVmapError(f"no finder of addresses is called {vmap!r}; there are {', '.join(DESIGNS)}")
    return DESIGNS[vmap]
