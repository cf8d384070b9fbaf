"""A running hypervisor's live patching."""

from xsplice_loader.host.designs import DESIGNS, UnknownVmapError
from xsplice_loader.host.host import Host

__all__ = ["DESIGNS", "Host", "UnknownVmapError"]
