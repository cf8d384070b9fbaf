"""Which hypervisor payloads are loaded against when none was named (contract 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.findings import Findings
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.livepatch.prepare import BUILD_ID, DEPENDS, read_ids
from xsplice_loader.livepatch.sections import XEN_DEPENDS
from xsplice_loader.payload import read
from xsplice_loader.releases import NEWEST

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence


class ChoiceError(Exception):
    """No single hypervisor can be chosen; the message says why."""


def named_hypervisors(payloads: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the build-id of the Xen that each payload was made for; those that name none are absent.

    Payloads for releases before 4.14 have only `.livepatch.depends`, which may name one of the other payloads.
    """
    files = {file: read(data, Findings(NEWEST)) for file, data in payloads.items()}
    ids = {file: read_ids(payload) for file, payload in files.items() if payload is not None}
    own = {of_file[BUILD_ID] for of_file in ids.values()}
    named = {}
    for file, of_file in ids.items():
        depends = of_file[DEPENDS] if of_file[DEPENDS] not in own else None
        build_id = of_file[XEN_DEPENDS] if of_file[XEN_DEPENDS] is not None else depends
        if build_id is not None:
            named[file] = build_id
    return named


def choose_hypervisor(
    payloads: Mapping[str, bytes],
    *,
    directories: Sequence[str | os.PathLike[str]] = (),
    release: str | None = None,
    require: bool = False,
) -> Hypervisor:
    """Return the hypervisor that all of `payloads` (file names to contents) were made for.

    It is looked for in `directories` and the usual places; failing that it is the model, if they name that one or
    none at all, and otherwise an assumed one.

    Raises:
        ChoiceError: the payloads name different ones; or the one they name is not found and `require` is set.
        UnknownReleaseError: `release` is no release with live patching.
    """
    named = named_hypervisors(payloads)
    if len(set(named.values())) > 1:
        raise ChoiceError(
            "the payloads were made for different hypervisors: "
            + ", ".join(f"{file} for {build_id.hex()}" for file, build_id in named.items())
        )
    model = Hypervisor.model(release)
    if not named:
        return model
    build_id = next(iter(named.values()))
    if build_id == model.build_id:
        return model
    found = Hypervisor.find(build_id, directories, release)
    if found is not None:
        return found
    if require:
        raise ChoiceError(
            f"no file of the hypervisor with build-id {build_id.hex()} was found; name one with -x, or a "
            "directory with "
            "--hypervisor-path"
        )
    return model.assume()
