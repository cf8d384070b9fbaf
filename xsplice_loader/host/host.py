"""A running hypervisor, as far as payloads are concerned: its memory, its ranges of addresses, its payload list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.loading import MAX_SIZE, HostState, LoadedPayload, load_payload
from xsplice_loader.memory.address_map import default_vmap
from xsplice_loader.memory.address_space import AddressSpace
from xsplice_loader.memory.frames import DomainHeap
from xsplice_loader.memory.vmalloc import VirtualMemory
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
from xsplice_loader.releases import release as release_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.results import LoadResult


def _default_bitmap(hypervisor: Hypervisor) -> Bitmap:
    return Bitmap(*default_vmap(hypervisor.release))


def _xen(hypervisor: Hypervisor, *, in_default: bool) -> Vmap:
    default = _default_bitmap(hypervisor)
    arena = Bitmap(hypervisor.arena_start, hypervisor.arena_end)
    return XenVmap(default, arena, chosen=default if in_default else arena)


VMAPS: dict[str, Callable[[Hypervisor], Vmap]] = {
    "xen": lambda hypervisor: _xen(hypervisor, in_default=False),
    "default": lambda hypervisor: _xen(hypervisor, in_default=True),
    "callback": lambda hypervisor: NextFitVmap(
        _default_bitmap(hypervisor), hypervisor.arena_start, hypervisor.arena_end
    ),
    "slots": lambda hypervisor: SlotsVmap(hypervisor.arena_start, hypervisor.arena_end),
    "tree": lambda hypervisor: TreeVmap(hypervisor.arena_start, hypervisor.arena_end),
    "loader": lambda hypervisor: LoaderVmap(hypervisor.arena_start, hypervisor.arena_end),
}
"""The finders of addresses that go by a name: Xen's two ranges, and what was discussed in 2016 for the second."""


class UnknownVmapError(ValueError):
    """No finder of addresses has that name."""


class _UnknownContents:
    """The image of a hypervisor that is not at hand: addresses without bytes."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self.image_start = hypervisor.image_start
        self.image_end = hypervisor.image_end

    def read(self, address: int, size: int) -> bytes | None:
        """Return nothing: whatever stands at an address of another build says nothing about this one."""
        del address, size
        return None


class Host:
    """One simulated host. Uploads are kept in the order in which they were made."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        *,
        vmap: str | VmapCallback = "xen",
        place: int | None = None,
        arena: tuple[int, int] | None = None,
        release: str | None = None,
        max_size: int = MAX_SIZE,
        nops: NopTable = "p6",
        cpu_features: Iterable[int] = (),
    ) -> None:
        """Start a host that runs `hypervisor`.

        Args:
            hypervisor: what payloads are loaded against.
            vmap: who finds addresses: a name of `VMAPS`, or a callback `(mfns, pages) -> address | None`.
            place: a page address at which every payload is to stand, whatever else lies there.
            arena: another range for payloads, as start and end address.
            release: whose rules apply, as X.Y.Z; by default the hypervisor's own.
            max_size: bytes of a payload's file at most; 0 lifts the limit.
            nops: the NOP instructions of the simulated processor.
            cpu_features: numbers `word * 32 + bit` of the features that the simulated processor has, beside the one
                that every processor has.

        Raises:
            UnknownVmapError: `vmap` is a name that nothing goes by.
            UnknownReleaseError: `release` is no release with live patching.
        """
        if arena is not None:
            hypervisor = hypervisor.with_arena(*arena)
        self.hypervisor = hypervisor
        self.state = HostState(
            hypervisor=hypervisor,
            virtual=VirtualMemory(
                DomainHeap(),
                AddressSpace(_UnknownContents(hypervisor) if hypervisor.assumed else hypervisor),
                _vmap(hypervisor, vmap, place),
                anywhere=place is not None,
            ),
            release=release_named(release) if release is not None else hypervisor.release,
            nops=nops,
            cpu_features=frozenset(cpu_features),
            max_size=max_size,
        )

    def upload(self, name: str, data: bytes, *, file: str | None = None) -> LoadResult:
        """Upload a payload under `name`; one that is refused leaves the host as it was."""
        return load_payload(data, self.state, name=name, file=file if file is not None else name)

    @property
    def payloads(self) -> tuple[LoadedPayload, ...]:
        """The loaded payloads, in the order of their uploads."""
        return tuple(self.state.payloads)


def _vmap(hypervisor: Hypervisor, vmap: str | VmapCallback, place: int | None) -> Vmap:
    if place is not None:
        return FixedVmap(_default_bitmap(hypervisor), place)
    if not isinstance(vmap, str):
        return CallbackVmap(_default_bitmap(hypervisor), vmap)
    if vmap not in VMAPS:
        raise UnknownVmapError(f"no finder of addresses is called {vmap!r}; there are {', '.join(VMAPS)}")
    return VMAPS[vmap](hypervisor)
