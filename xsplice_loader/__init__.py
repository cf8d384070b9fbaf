"""Xen's live-patch payload loader in user space: will this payload load, where, and if not, why not.

from xsplice_loader import Hypervisor, load

result = load("payload.o", Hypervisor.open("xen-syms"))
result.raise_for_verdict()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsplice_loader.api import load
    from xsplice_loader.host import Host, UnknownVmapError
    from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError
    from xsplice_loader.releases import Release, UnknownReleaseError
    from xsplice_loader.results import ActionError, ActionResult, Finding, ListedPayload, LoadError, LoadResult

__version__ = "0.1.0"

# Imported on first use, so that a command pays only for what it needs.
_HOMES = {
    "ActionError": "results",
    "ActionResult": "results",
    "Finding": "results",
    "Host": "host",
    "Hypervisor": "hypervisor",
    "HypervisorFileError": "hypervisor",
    "ListedPayload": "results",
    "LoadError": "results",
    "LoadResult": "results",
    "Release": "releases",
    "UnknownReleaseError": "releases",
    "UnknownVmapError": "host",
    "load": "api",
}

__all__ = [
    "ActionError",
    "ActionResult",
    "Finding",
    "Host",
    "Hypervisor",
    "HypervisorFileError",
    "ListedPayload",
    "LoadError",
    "LoadResult",
    "Release",
    "UnknownReleaseError",
    "UnknownVmapError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
