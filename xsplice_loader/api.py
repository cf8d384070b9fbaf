"""`load`: one payload, one hypervisor, one result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xsplice_loader.host import Host
from xsplice_loader.host.choosing import choose_hypervisor
from xsplice_loader.host.files import name_of, unreadable
from xsplice_loader.host_state import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback
    from xsplice_loader.results import LoadResult


def load(
    payload: str | os.PathLike[str] | bytes,
    hypervisor: Hypervisor | None = None,
    *,
    name: str | None = None,
    vmap: str | VmapCallback = "xen",
    place: int | None = None,
    arena: tuple[int, int] | None = None,
    release: str | None = None,
    max_size: int = MAX_SIZE,
    nops: NopTable = "p6",
    cpu_features: Sequence[int] = (),
) -> LoadResult:
    """Upload a payload to a fresh host and return what comes of it. A bad payload is a result, not an exception.

    Args:
        payload: a path, or the file's bytes.
        hypervisor: what to load against; by default the one that the payload names, if it can be found, else the
            model (`choose_hypervisor`).
        name: the payload's name on the host; by default that of its file, `payload` for bytes.
        vmap: who finds its address: `xen`, `default`, or a callback `(mfns, pages) -> address | None`.
        place: a page address to put it at, whatever else lies there.
        arena: another range for payloads, as start and end address.
        release: whose rules apply, as X.Y.Z; by default the hypervisor's own.
        max_size: bytes of the file at most; 0 lifts the limit.
        nops: the NOP instructions of the simulated processor.
        cpu_features: numbers `word * 32 + bit` of the features that the simulated processor has, beside the one that
            every processor has.

    Raises:
        UnknownReleaseError: `release` is no release with live patching.
        UnknownVmapError: `vmap` is a name that nothing goes by.
    """
    file = "<bytes>" if isinstance(payload, bytes) else os.fspath(payload)
    if isinstance(payload, bytes):
        data = payload
    else:
        try:
            with open(payload, "rb") as stream:
                data = stream.read()
        except OSError as error:
            return unreadable(file, error)
    if hypervisor is None:
        hypervisor = choose_hypervisor({file: data}, release=release)
    host = Host(
        hypervisor,
        vmap=vmap,
        place=place,
        arena=arena,
        release=release,
        max_size=max_size,
        nops=nops,
        cpu_features=cpu_features,
    )
    default_name = "payload" if isinstance(payload, bytes) else name_of(file)
    return host.upload(name if name is not None else default_name, data, file=file)
