"""Where the two may differ, and why: one narrow rule each. Everything else is a disagreement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from real_xen.machine import FELL
from xsplice_loader.releases import GIB
from xsplice_loader.rules.actions import HOOK_NOT_FOLLOWED, NOT_WRITABLE
from xsplice_loader.rules.content import WILD_OLD_ADDRESS
from xsplice_loader.rules.tables import CONTENTS_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from real_xen.foretelling import Foretold
    from real_xen.observation import Observed
    from xsplice_loader import Hypervisor
    from xsplice_loader.results import Finding

_RIP = re.compile(r"RIP: +[0-9a-f]{4}:\[<([0-9a-f]{16})>\]")
ADDRESS = re.compile(r"\b0x[0-9a-f]{16}\b")
FINISHED = re.compile(r" finished (APPLY|REVERT|REPLACE) with rc=0$")
_NO_ENDBR64 = re.compile(r"[Aa]ltcall .+ dest .+ has no endbr64")
TOO_EARLY = "Operation didn't complete."


class Rule(NamedTuple):
    """A difference that is none."""

    id: str
    reason: str


UNKNOWN = Rule(
    "unknown",
    "without captured memory the program does not know what Xen filled in while it booted: bytes that it lists as "
    "unknown are not compared, nor is whether Xen misses an ENDBR64 at, or crashes on, a target that is unknown",
)
ELSEWHERE = Rule(
    "elsewhere",
    "a payload names an old address outside of the GiB that Xen's image and payloads share: what a running Xen has "
    "mapped there is in no file, so if there is something, nothing is compared from that step on but what was said",
)
REGISTERS = Rule(
    "registers",
    "the registers and stack that follow a warning are not foretold; the line with the warning is compared",
)
SERIAL_PORT = Rule(
    "serial-port",
    "Xen says when its serial port is slow (`uart interrupt taking more than 4ms`), which an emulated one may be at "
    "any time: that line is left out",
)
LATE = Rule(
    "too-early",
    "the tool looks at the outcome 60 ms after its request, which an emulated machine can exceed: such a case is tried "
    "again, up to three times",
)
DOMAIN = Rule(
    "domain-fell",
    "the domain's kernel, not Xen, can fall under emulation: such a case is tried again, up to three times",
)
PATCHED_CODE = Rule(
    "patched-code",
    "the machine died when Xen itself ran what was patched: after the action had finished, or with the program counter "
    "in a payload or in a patched function; the program does not run Xen's own callers",
)
NOT_FOLLOWED = Rule(
    "not-followed",
    "the program itself says that it cannot follow a hook to its end (XSP241): from that step on nothing is compared",
)
TOOL_FAULT = Rule("tool-fault", "`load ''` makes the tool itself die of a NULL pointer")
RULES = (
    UNKNOWN,
    ELSEWHERE,
    REGISTERS,
    SERIAL_PORT,
    LATE,
    DOMAIN,
    PATCHED_CODE,
    NOT_FOLLOWED,
    TOOL_FAULT,
)
"""All of them; those that end a comparison are shown with the case."""


def depends_on_unknown(foretold: Foretold) -> bool:
    """Tell whether the program could not tell what Xen makes of a branch, as it does not know where that leads."""
    return any(finding.rule == CONTENTS_UNKNOWN.id for finding in foretold.step.findings)


def is_about_unknown(line: str) -> bool:
    """Tell whether a line of Xen's is about the target of a branch that it makes direct."""
    return _NO_ENDBR64.fullmatch(line) is not None


def lies_elsewhere(observed: Observed, hypervisor: Hypervisor) -> bool:
    """Tell whether a payload is to patch something that the running Xen mapped for itself."""
    own = hypervisor.image_start // GIB
    return any(contents and address // GIB != own for address, contents in observed.sites.items())


def is_thought_unmapped(foretold: Foretold, hypervisor: Hypervisor) -> bool:
    """Tell whether the program foretells a death for want of anything mapped at such an address."""
    if foretold.step.crash not in (WILD_OLD_ADDRESS.id, NOT_WRITABLE.id):
        return False
    named = [int(found, 16) for finding in foretold.step.findings for found in ADDRESS.findall(finding.message)]
    return any(address // GIB != hypervisor.image_start // GIB for address in named)


def is_given_up(foretold: Foretold) -> bool:
    """Tell whether the program does not know what a hook does."""
    return any(map(is_not_followed, foretold.step.findings))


def is_not_followed(finding: Finding) -> bool:
    """Tell whether the program says that it does not know what a hook does."""
    return finding.rule == HOOK_NOT_FOLLOWED.id


def came_too_early(observed: Observed, foretold: Foretold) -> bool:
    """Tell whether the tool gave up on something that was on its way."""
    return observed.rc == 2 and foretold.step.rc != 2 and TOO_EARLY in observed.err


def is_fall_of_domain(observed: Observed, foretold: Foretold) -> bool:
    """Tell whether the domain's kernel fell, and nothing was to fall."""
    return foretold.step.crash is None and observed.died is not None and observed.died.reason == FELL


def is_fault_of_machine(observed: Observed, foretold: Foretold) -> bool:
    """Tell whether a step came out as it did because the machine is an emulated one."""
    return came_too_early(observed, foretold) or is_fall_of_domain(observed, foretold)


def is_of_patched_code(observed: Observed, applied: Iterable[range]) -> bool:
    """Tell whether a machine died of running what was patched; `applied` are payloads and patched functions."""
    if observed.died is None:
        return False
    if any(FINISHED.search(line) for line in observed.xen):
        return True
    found = next((match for line in observed.died.report if (match := _RIP.search(line))), None)
    return found is not None and any(int(found[1], 16) in place for place in applied)


def is_fault_of_tool(observed: Observed) -> bool:
    """Tell whether the tool itself died."""
    return observed.command.words[0] == "load" and observed.command.words[1:] == ("",)
