"""Making an indirect branch direct, by what its pointer holds when the payload is loaded (`spec/04 §5.1.1`, `§5.2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.loaded import UnknownContentsError
from xsplice_loader.releases import ENDBR64
from xsplice_loader.rules import tables as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.loaded import RunningXen

INDIRECT_SIZE = 6
"""Bytes of `call *pointer(%rip)` and `jmp *pointer(%rip)`."""
INDIRECT_CALL = b"\xff\x15"
INDIRECT_JUMP = b"\xff\x25"


def pointer_of(branch: bytes, address: int, xen: RunningXen) -> int:
    """Return the pointer that the indirect branch at `address` reads.

    Raises:
        MemoryFault: it is not mapped.
        UnknownContentsError: it is not known.
    """
    displacement = int.from_bytes(branch[2:INDIRECT_SIZE], "little", signed=True)
    return int.from_bytes(xen.read(address + INDIRECT_SIZE + displacement, 8), "little")


def direct_target(target: int, site: int, section: str, xen: RunningXen, findings: Findings) -> int:
    """Return where a direct branch leads in place of the one at `site`: behind the ENDBR64 of builds that have it.

    A target without ENDBR64 is told on Xen's console.

    Raises:
        MemoryFault: nothing is mapped at `target`.
    """
    if not findings.release.built_for_ibt:
        return target
    try:
        start = xen.read(target, len(ENDBR64))
    except UnknownContentsError as unknown:
        findings.add(
            rules.CONTENTS_UNKNOWN,
            f"the target of the branch at {site:#018x} is taken to start with ENDBR64: {unknown}",
            section=section,
        )
        return target + len(ENDBR64)
    if start == ENDBR64:
        return target + len(ENDBR64)
    findings.log(f"altcall {xen.symbolic(site)} dest {xen.symbolic(target)} has no endbr64")
    findings.add(
        rules.TARGET_WITHOUT_ENDBR64,
        f"the branch at {site:#018x} leads to {target:#018x}, which does not start with ENDBR64",
        section=section,
    )
    return target


def wraps(displacement: int) -> bool:
    """Tell whether a displacement does not fit the 32 bits that a branch has for it."""
    return not -(1 << 31) <= displacement < 1 << 31


def displacement_bytes(displacement: int) -> bytes:
    """Return the low 32 bits of a displacement, as they stand in the instruction."""
    return (displacement & 0xFFFF_FFFF).to_bytes(4, "little")
