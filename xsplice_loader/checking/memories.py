"""Captured memory for some of the hypervisors of a run: which core file is of which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError
from xsplice_loader.hypervisor.captured import noted_build_id
from xsplice_loader.hypervisor.contents import FormError
from xsplice_loader.hypervisor.forms import build_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def assigned(cores: Iterable[str], hypervisors: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the hypervisor that each core file is of, and that core file.

    Without `hypervisors` it is the build-id in hexadecimal: hypervisors will be looked for.

    Raises:
        HypervisorFileError: a core file cannot be read, is of none of the hypervisors, or two are of the same.
    """
    found: dict[str, str] = {}
    for core in dict.fromkeys(cores):
        build_id = noted_build_id(core)
        if hypervisors:
            files = [file for file in hypervisors if _is_of(core, build_id, file, alone=len(hypervisors) == 1)]
            if not files:
                kind = "has no build-id" if build_id is None else f"is of the build {build_id.hex()}"
                raise HypervisorFileError(f"captured memory {core}: {kind}, and is of none of the hypervisors")
        elif build_id is None:
            raise HypervisorFileError(f"captured memory {core}: has no build-id; name its hypervisor with -x")
        else:
            files = [build_id.hex()]
        for file in files:
            if file in found:
                raise HypervisorFileError(f"captured memory {core}: is of the same build as {found[file]}")
            found[file] = core
    return tuple(found.items())


def _is_of(core: str, build_id: bytes | None, file: str, *, alone: bool) -> bool:
    try:
        own = build_id_of(file)[0]
        if build_id is not None and own is not None:
            return own == build_id
        # A symbol list has no build-id, and would take the memory of any.
        if own is None and not alone:
            return False
        Hypervisor.open(file, memory=core)
    except HypervisorFileError:
        # Memory without a build-id of its own is compared with every hypervisor.
        if alone:
            raise
        return False
    except (FormError, OSError):
        # Why it is no hypervisor is said of its checks.
        return False
    return True


def unused(memory: Iterable[tuple[str, str]], build_ids: Iterable[str | None]) -> str | None:
    """Say which core file was of no hypervisor that was found; None if there is none."""
    known = set(build_ids)
    for build_id, core in memory:
        if build_id not in known:
            return f"captured memory {core}: is of the build {build_id}, and is of none of the hypervisors"
    return None
