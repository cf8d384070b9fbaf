"""What may be written on a host while Xen patches (`spec/04 §2`, `§6.3`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.applying import WriteAccess

if TYPE_CHECKING:
    from xsplice_loader.host_state import HostState


def write_access(host: HostState) -> WriteAccess:
    """Return what Xen may write to now: beside data, what the release makes writable of its own and active payloads."""
    active = [(host.hypervisor.image_start, host.hypervisor.image_end)]
    active += [(loaded.mapping.start, loaded.mapping.end) for loaded in host.payloads if host.is_active(loaded)]
    return WriteAccess(host.memory, host.release, active)
