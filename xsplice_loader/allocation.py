"""The pages that a payload gets while it is loaded (xen/common/livepatch.c: move_payload, secure_payload)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.address_space import UPPER_HALF
from xsplice_loader.memory.vmalloc import OutOfMemoryError
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.rules import observations, placing

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.host_state import HostState
    from xsplice_loader.memory.mapping import Mapping
    from xsplice_loader.memory.placement import Layout, Placement


class Allocation:
    """The payload's mapped pages: taken, and given back where the payload is refused."""

    def __init__(self, host: HostState, layout: Layout, *, for_real: bool) -> None:
        """`for_real` is false where Xen refused before placing: then the design's own books are left alone."""
        self.host = host
        self.pages = layout.pages
        self.place = host.place if for_real else None
        self.virtual = host.virtual if for_real else host.stand_in()

    def allocate(self, findings: Findings) -> Mapping | None:
        """Take frames and an address for them, and return them mapped (xen/common/livepatch.c: move_payload)."""
        if not self.pages:
            findings.add(
                observations.NOTHING_LOADABLE, "no section of the payload is loaded; it gets a range of no pages"
            )
        try:
            if self.place is not None:
                self._warn_of_place(self.place, findings)
            mapping = self.virtual.vmalloc(self.pages)
        except OutOfMemoryError as error:
            findings.add(placing.NO_MEMORY, str(error))
            return None
        if self.host.range_end is not None and mapping.end > self.host.range_end:
            findings.add(
                observations.BEYOND_ARENA,
                f"the payload's pages {mapping.start:#018x}-{mapping.end:#018x} lie beyond the end of the range for "
                f"payloads, {self.host.range_end:#018x}",
            )
        return mapping

    def _warn_of_place(self, base: int, findings: Findings) -> None:
        occupant = self.host.memory.occupant(base, self.pages)
        if occupant is not None:
            findings.add(observations.PLACED_BY_HAND, f"at {base:#018x} there is {occupant}")
        elif base < UPPER_HALF:
            findings.add(
                observations.PLACED_BY_HAND,
                f"{base:#018x} is not in the upper half of the address space, where Xen lives",
            )

    def secure(self, placement: Placement) -> None:
        """Set the permissions of the three regions, the load's last step (xen/common/livepatch.c: secure_payload)."""
        for region in placement.regions:
            if pages := region.pages:
                end = region.address + pages * PAGE_SIZE
                self.host.memory.modify_mappings(region.address, end, region.permissions)

    def release(self, mapping: Mapping) -> None:
        """Give everything back."""
        self.virtual.vfree(mapping)
