"""Making an indirect branch direct, by what its pointer holds when the payload is loaded (`spec/04 §5.1.1`, `§5.2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.loaded import UnknownContentsError
from xsplice_loader.livepatch.moved_branches import MovedBranch
from xsplice_loader.memory.address_space import ADDRESS_MASK, MemoryFault
from xsplice_loader.releases import ENDBR64
from xsplice_loader.rules import tables as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.loaded import LoadedSections, RunningXen
    from xsplice_loader.relocation.window import Limit

CAPTURE_HINT = "give captured memory of the running hypervisor: --memory FILE"
INDIRECT_SIZE = 6
"""Bytes of `call *pointer(%rip)` and `jmp *pointer(%rip)`."""
POINTER_SIZE = 8
INDIRECT_CALL = b"\xff\x15"
INDIRECT_JUMP = b"\xff\x25"


class UnknownTargetError(Exception):
    """Where a branch would lead is unknown; the message is a clause: what the branch does, and what is unknown."""


def pointer_of(branch: bytes, address: int, xen: RunningXen) -> int:
    """Return the pointer that the indirect branch at `address` reads.

    Raises:
        MemoryFault: it is not mapped.
        UnknownTargetError: it is unknown.
    """
    displacement = int.from_bytes(branch[2:INDIRECT_SIZE], "little", signed=True)
    place = (address + INDIRECT_SIZE + displacement) & ADDRESS_MASK
    try:
        return int.from_bytes(xen.read(place, POINTER_SIZE), "little")
    except MemoryFault as fault:
        raise MemoryFault(place, f"a read of the pointer {_described(place, xen)}") from fault
    except UnknownContentsError:
        raise UnknownTargetError(f"branches through {_described(place, xen)}: that pointer is unknown") from None


def direct_target(target: int, site: int, section: str, xen: RunningXen, findings: Findings) -> int:
    """Return the target of a direct branch in place of the one at `site`: after the ENDBR64, in builds that have it.

    A target without ENDBR64 is reported on Xen's console.

    Raises:
        MemoryFault: nothing is mapped at `target`.
        UnknownTargetError: whether it starts with ENDBR64 is unknown.
    """
    if not findings.release.direct_calls_skip_endbr64:
        _warn_of_freed(target, site, section, xen, findings)
        return target
    try:
        start = xen.memory.read_entry(target, len(ENDBR64))
    except MemoryFault as fault:
        raise MemoryFault(target, f"a read of the target {_described(target, xen)}") from fault
    if start.may_be(ENDBR64):
        if not start.is_known:
            raise UnknownTargetError(f"branches to {_described(target, xen)}, whose first bytes are unknown")
        if xen.memory.may_lose_endbr64(target):
            raise UnknownTargetError(
                f"branches to {_described(target, xen)}, whose ENDBR64 boot removes on processors that track indirect "
                "branches (CET-IBT)"
            )
        return target + len(ENDBR64)
    findings.log(f"{findings.release.altcall_word} {xen.symbolic(site)} dest {xen.symbolic(target)} has no endbr64")
    findings.add(
        rules.TARGET_WITHOUT_ENDBR64,
        f"the branch at {site:#018x} leads to {target:#018x}, which does not start with ENDBR64",
        section=section,
    )
    return target


def _warn_of_freed(target: int, site: int, section: str, xen: RunningXen, findings: Findings) -> None:
    try:
        xen.memory.fetch(target, 1)
    except MemoryFault:
        findings.add(
            rules.TARGET_FREED,
            f"the branch at {site:#018x} is made to lead to {_described(target, xen)}",
            section=section,
        )


def leave_unknown(
    limit: Limit, site: int, size: int, end: int, unknown: UnknownTargetError, sections: LoadedSections, xen: RunningXen
) -> str:
    """Note that what becomes of a branch is unknown; return the clause that says so.

    Its bytes stay as they were. The window counts it as one that leads anywhere in Xen's image.

    Args:
        limit: what asked for a direct branch.
        site: the address of the branch.
        size: bytes that Xen writes there.
        end: the address after the direct branch.
        unknown: why.
        sections: the payload.
        xen: the hypervisor around it.
    """
    sections.mark_unknown(site, size, str(unknown))
    for target in xen.image:
        sections.branches.append(MovedBranch(limit, end, target))
    return f"{unknown}; the {size} bytes at {site:#018x} are left as they were"


def leave_rest_unknown(limit: Limit, sections: LoadedSections, xen: RunningXen) -> str:
    """Note that what becomes of the branches of all entries after one is unknown; return the clause that says so.

    Each unknown branch costs a finding and a range. Payloads that were built have some hundred at most.
    """
    text = sections.placement.regions[0]
    sections.mark_unknown(text.address, text.size, "is not examined: too much before it is unknown")
    for end in (text.address, text.address + text.size):
        sections.branches.extend(MovedBranch(limit, end, target) for target in xen.image)
    return "there are too many unknown ones; all of the payload's text counts as unknown"


def _described(address: int, xen: RunningXen) -> str:
    low, high = xen.image
    return xen.described(address) if low <= address < high else f"at {address:#018x}, which is not in Xen's image"


def wraps(displacement: int) -> bool:
    """Tell whether a displacement does not fit the 32 bits that a branch has for it."""
    return not -(1 << 31) <= displacement < 1 << 31


def displacement_bytes(displacement: int) -> bytes:
    """Return the low 32 bits of a displacement, as they stand in the instruction."""
    return (displacement & 0xFFFF_FFFF).to_bytes(4, "little")
