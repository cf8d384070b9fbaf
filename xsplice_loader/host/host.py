"""A running hypervisor, as far as payloads are concerned: its memory, its ranges of addresses, its payload list."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xsplice_loader.findings import visible
from xsplice_loader.host.designs import DESIGNS, design_of
from xsplice_loader.host_state import MAX_SIZE, HostState, LoadedPayload
from xsplice_loader.loading import load_payload
from xsplice_loader.memory.address_space import AddressSpace, MemoryFault
from xsplice_loader.memory.arena_map import ArenaMap, arena_map
from xsplice_loader.memory.frames import DomainHeap
from xsplice_loader.memory.partly_known import PartlyKnown
from xsplice_loader.memory.vmalloc import VirtualMemory
from xsplice_loader.memory.vmap import bitmap_pages
from xsplice_loader.payload import PayloadFile
from xsplice_loader.releases import release as release_named
from xsplice_loader.results import ListedPayload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsplice_loader.host.designs import Design
    from xsplice_loader.host.hooks import HookRunner
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback
    from xsplice_loader.results import ActionResult, LoadResult, Verb


MAPPABLE = frozenset({"xen", "vmap", "payload arena"})
"""Areas that payloads may be mapped in, as far as nothing is there; the image looks after itself."""


class _UnknownContents:
    """The image of a hypervisor that is not at hand: addresses without bytes."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self.image_start = hypervisor.image_start
        self.image_end = hypervisor.image_end
        self.protections = hypervisor.protections

    def read(self, address: int, size: int) -> bytes | None:
        """Return nothing: whatever stands at an address of another build says nothing about this one."""
        del address, size
        return None

    def described(self, address: int) -> str | None:
        """Return nothing: the names are another build's."""
        del address
        return None

    def may_lose_endbr64(self, address: int) -> bool:
        """Return that nothing is known of that."""
        del address
        return False

    def as_linked(self, address: int, size: int) -> bytes | None:
        """Return nothing either."""
        return self.read(address, size)

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        """Return bytes of which none is known."""
        del address
        return PartlyKnown(size)


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
        hook_runner: HookRunner | None = None,
    ) -> None:
        """Start a host that runs `hypervisor`.

        Args:
            hypervisor: what payloads are loaded against.
            vmap: who finds addresses: a name of `DESIGNS`, or a callback `(mfns, pages) -> address | None`.
            place: a page address at which every payload is to stand, whatever else lies there.
            arena: another range for payloads, as start and end address.
            release: whose rules apply, as X.Y.Z; by default the hypervisor's own.
            max_size: bytes of a payload's file at most; 0 lifts the limit.
            nops: the NOP instructions of the simulated processor.
            cpu_features: numbers `word * 32 + bit` of the features that the simulated processor has, beside the one
                that every processor has.
            hook_runner: runs payloads' hooks; without one they are taken to return 0.

        Raises:
            UnknownVmapError: `vmap` is a name that nothing goes by.
            UnknownReleaseError: `release` is no release with live patching.
        """
        if arena is not None:
            hypervisor = hypervisor.with_arena(*arena)
        self.hypervisor = hypervisor
        self.hook_runner = hook_runner
        self.design = design_of(vmap, place)
        around = self.design.around(hypervisor)
        virtual = VirtualMemory(
            DomainHeap(),
            AddressSpace(
                _UnknownContents(hypervisor) if hypervisor.assumed else hypervisor.at_run_time,
                [area for area in hypervisor.areas.areas if area.name not in MAPPABLE],
                around.own_pages,
            ),
            self.design.make(hypervisor),
            anywhere=place is not None,
        )
        self.state = HostState(
            hypervisor=hypervisor,
            virtual=virtual,
            arena_end=around.end,
            # Not a method: a host that refers to itself stays until somebody looks for such, and so does its Xen.
            stand_in=partial(_stand_in, virtual, self.design, hypervisor),
            place=self.design.place,
            range_end=None if _is_chosen_by_the_user(self.design) else self.design.range_of(hypervisor)[1],
            release=release_named(release) if release is not None else hypervisor.release,
            nops=nops,
            weaknesses=self.design.weaknesses,
            cpu_features=frozenset(cpu_features),
            max_size=max_size,
        )

    def upload(self, name: str, data: bytes | PayloadFile, *, file: str | None = None) -> LoadResult:
        """Upload a payload under `name`; one that is refused leaves the host as it was."""
        payload = data if isinstance(data, PayloadFile) else PayloadFile(data)
        return load_payload(payload, self.state, name=name, file=file if file is not None else name)

    def apply(self, name: str, *, nodeps: bool = False) -> ActionResult:
        """Apply a payload: patch the functions that it replaces.

        Args:
            name: the name that it was uploaded under.
            nodeps: do not compare what it depends on with what it comes to stand on (4.14 and later).
        """
        return self._act("apply", name, nodeps=nodeps)

    def revert(self, name: str) -> ActionResult:
        """Revert the payload that was applied last: restore the functions."""
        return self._act("revert", name)

    def replace(self, name: str) -> ActionResult:
        """Revert all applied payloads and apply this one, in one go."""
        return self._act("replace", name)

    def unload(self, name: str) -> ActionResult:
        """Remove a payload that is not applied."""
        return self._act("unload", name)

    def _act(self, verb: Verb, name: str, *, nodeps: bool = False) -> ActionResult:
        from xsplice_loader.host.actions import act  # noqa: PLC0415 - most commands upload only

        return act(self.state, verb, name, nodeps=nodeps, runner=self.hook_runner)

    def list(self) -> list[ListedPayload]:
        """Return the loaded payloads and their states, in the order of their uploads."""
        return [self._listed(loaded) for loaded in self.state.payloads]

    def _listed(self, loaded: LoadedPayload) -> ListedPayload:
        try:
            metadata: tuple[str, ...] | None = tuple(map(visible, loaded.metadata.strings(self.state.memory)))
        except MemoryFault:
            metadata = None
        return ListedPayload(loaded.shown_name, loaded.status.state, loaded.status.rc, metadata)

    def dump(self) -> tuple[str, ...]:
        """Return what Xen prints when its debug key `x` is pressed.

        Raises:
            MemoryFault: a payload refers to memory that is not mapped; Xen would not survive that.
        """
        from xsplice_loader.host.dump import dump  # noqa: PLC0415 - seldom asked for

        return tuple(dump(self.state))

    @property
    def arena(self) -> ArenaMap:
        """What lies where in the range that payloads are given addresses from."""
        start, end = self.design.range_of(self.hypervisor)
        return arena_map(
            start,
            end,
            self.state.memory.mappings,
            bitmap_pages=bitmap_pages(start, end) if self.design.has_bitmap else 0,
            guards=self.design.guards,
        )

    @property
    def payloads(self) -> tuple[LoadedPayload, ...]:
        """The loaded payloads, in the order of their uploads."""
        return tuple(self.state.payloads)


def _is_chosen_by_the_user(design: Design) -> bool:
    return design.asks_user or design.place is not None


def _stand_in(real: VirtualMemory, design: Design, hypervisor: Hypervisor) -> VirtualMemory:
    """Return a copy of the books to ask without consequences.

    A callback of the user's is not asked: Xen would not have asked it either, and it may count. In its place Xen's own
    design answers, whatever lies there.
    """
    vmap = DESIGNS["xen"].make(hypervisor) if design.asks_user else real.vmap.copy()
    return VirtualMemory(real.heap, real.space, vmap, anywhere=_is_chosen_by_the_user(design))
