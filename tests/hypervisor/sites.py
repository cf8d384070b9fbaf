"""Which bytes of Xen's text boot changes, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsplice_loader.hypervisor.boot_sites import BootSites


def changed_bytes(sites: BootSites, address: int, size: int) -> set[int]:
    """Return the addresses of those of `size` bytes that boot may change."""
    near = (sites.starts < address + size) & (sites.ends > address)
    return {
        place
        for start, end in zip(sites.starts[near].tolist(), sites.ends[near].tolist(), strict=True)
        for place in range(max(start, address), min(end, address + size))
    }
