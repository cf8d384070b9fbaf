"""What is asked of every cell of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.host_state import MAX_SIZE

if TYPE_CHECKING:
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback


class Question(NamedTuple):
    """The same for all cells; the fields up to `cpu_features` are those of `Host`."""

    release: str | None = None
    vmap: str | VmapCallback = "xen"
    place: int | None = None
    arena: tuple[int, int] | None = None
    max_size: int = MAX_SIZE
    nops: NopTable = "p6"
    cpu_features: frozenset[int] = frozenset()
    hypervisor_path: tuple[str, ...] = ()
    """Where to look for the hypervisor that a payload names, if none was given."""
    require_hypervisor: bool = False
    among: tuple[str, ...] = ()
    """The files among which a payload's hypervisor has to be; none: any that can be found."""
    memory: tuple[tuple[str, str], ...] = ()
    """Core files with captured memory, each after its hypervisor: a file, or the build-id of one that is searched."""
    allow_assumed: bool = False
    """A symbol that is taken for granted is a warning, not an error."""
    stack: bool = False
    """The payloads stand on one another, in the order in which they are given here."""
    any_placement: bool = False
    window: bool = False
    policy: str = "xen"
    compare_policies: bool = False
