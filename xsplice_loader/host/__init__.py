"""A running hypervisor's live patching."""

from xsplice_loader.host.host import VMAPS, Host, UnknownVmapError

__all__ = ["VMAPS", "Host", "UnknownVmapError"]
