"""Which Xens there are, and Debian's packages of them by name."""

from __future__ import annotations

from typing import NamedTuple

OWN_SUITE = "bookworm"
"""The suite that the kernel and busybox are taken from when this machine runs no Debian that is known to work."""


class DebianXen(NamedTuple):
    """A release of Xen, and where Debian keeps it. The point release is whatever the mirror has today."""

    release: str
    """X.Y"""
    suite: str
    symbols_in_hypervisor_package: bool = False

    @property
    def hypervisor(self) -> str:
        """The package with Xen itself."""
        return f"xen-hypervisor-{self.release}-amd64"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages with Xen, its symbols and its tools; what libraries these need they say themselves."""
        symbols = () if self.symbols_in_hypervisor_package else (f"{self.hypervisor}-dbg",)
        return (self.hypervisor, *symbols, self.tools)

    @property
    def tools(self) -> str:
        """The package with `xen-livepatch` and `xl`."""
        return f"xen-utils-{self.release}"


XENS = {
    xen.release: xen
    for xen in (
        DebianXen("4.14", "bullseye", symbols_in_hypervisor_package=True),
        DebianXen("4.17", "bookworm"),
        DebianXen("4.20", "trixie"),
    )
}
DEFAULT = "4.17"

KERNEL = "linux-image-amd64"
"""Depends on the kernel of the day."""
BUSYBOX = "busybox-static"
EMULATOR = "qemu-system-x86"
