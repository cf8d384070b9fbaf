"""Where the program and the code of a real Xen without a boot may differ, beside what `legitimate` says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from real_xen.legitimate import ADDRESS, FINISHED, Rule
from xsplice_loader.releases import GIB
from xsplice_loader.rules.actions import HOOK_NOT_FOLLOWED, NOT_COMPARED, ODD_RETURN
from xsplice_loader.rules.observations import ASSUMED_SYMBOL, START_UNKNOWN, WILD_FUNCTION_NAME
from xsplice_loader.rules.tables import CONTENTS_UNKNOWN, WRITES_OUTSIDE_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from real_xen.loader_oracle import Verdict
    from real_xen.page_tables import PageTables
    from xsplice_loader import Host, Hypervisor
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.results import Finding

_LOGGED_ADDRESS = re.compile(r"\b[0-9a-f]{16}\b")
_CRASH_AT = re.compile(r" at 0x([0-9a-f]+)")
UNKNOWN = frozenset(
    rule.id
    for rule in (CONTENTS_UNKNOWN, NOT_COMPARED, START_UNKNOWN, ASSUMED_SYMBOL, HOOK_NOT_FOLLOWED, WILD_FUNCTION_NAME)
)
VMAP = range(0xFFFF82C000000000, 0xFFFF82D000000000)
"""xen/arch/x86/include/asm/config.h: VMAP_VIRT_START and what follows."""

MEMORY = Rule(
    "captured-memory",
    "what Xen's memory holds once it runs is in no file: with captured memory of this machine the program agrees",
)
MAPPED = Rule(
    "mapped-elsewhere",
    "a payload names an address outside of the GiB that Xen's image and payloads share, which the program takes to be "
    "unmapped, and which the running Xen has mapped",
)
UPLOAD_BUFFER = Rule(
    "upload-buffer",
    "a line shows an address in Xen's copy of the uploaded file, which is wherever there was room in the vmap area: "
    "such a line is not compared",
)
PATCHED_CODE = Rule(
    "patched-code",
    "Xen itself ran what was patched, or died in a payload or after the action had finished: the program does not run "
    "Xen's own callers, and here no exceptions are delivered",
)
ODD_HOOK = Rule(
    "odd-hook",
    "Xen died after a hook that returned neither 0 nor an errno (XSP224), as code does that is entered within an "
    "instruction: the program does not know what else such code spoils for its caller",
)
XEN_ALTERED = Rule(
    "xen-altered",
    "an alternative wrote to Xen's own image while the payload was loaded (XSP190), as releases without a bounds test "
    "let it: what Xen does after that is not simulated",
)
XEN_VARIABLES = Rule(
    "xen-variables",
    "a hook wrote to variables of Xen's own: what Xen does with these afterwards is not simulated",
)


def is_outside_text(finding: Finding) -> bool:
    """Tell whether the program says that an alternative writes outside the payload's text."""
    return finding.rule == WRITES_OUTSIDE_TEXT.id


def is_unknown(finding: Finding) -> bool:
    """Tell whether the program says that something of Xen's memory is unknown to it."""
    return finding.rule in UNKNOWN


def has_written_variables(host: Host) -> bool:
    """Tell whether something was written over what Xen itself changes while it runs."""
    section_at = host.hypervisor.at_run_time.section_at
    sections = (section_at(address) for address in host.state.memory.written)
    return any(section is not None and section.state != "constant" for section in sections)


def is_mapped_elsewhere(findings: Iterable[Finding], hypervisor: Hypervisor, tables: PageTables) -> bool:
    """Tell whether a fault is foretold for an address outside of that GiB that the running Xen has mapped."""
    faults = [finding for finding in findings if finding.crash or finding.rule == WILD_FUNCTION_NAME.id]
    named = [int(found, 16) for finding in faults for found in ADDRESS.findall(finding.message)]
    own = hypervisor.image_start // GIB
    return any(address // GIB != own and tables.find(address) is not None for address in named)


def without_upload_buffer(verdict: Verdict) -> Verdict:
    """Return what Xen said without lines that show an address in the vmap area, where it keeps the upload."""
    lines = verdict.console
    kept = (line for line in lines if not any(int(found, 16) in VMAP for found in _LOGGED_ADDRESS.findall(line)))
    return verdict._replace(console=tuple(kept))


def is_odd_result(finding: Finding) -> bool:
    """Tell whether the program says that a hook returned neither 0 nor a negative errno."""
    return finding.rule == ODD_RETURN.id


def has_hooks(payload: ObjectFile) -> bool:
    """Tell whether a payload has code that Xen runs on purpose."""
    return any(section.name.startswith(b".livepatch.hooks.") for section in payload.sections)


def is_crash_of_patched_code(real: Verdict, host: Host) -> bool:
    """Tell whether Xen ran what was patched and died of it: in a payload, or after an action had finished."""
    if real.crash is None:
        return False
    if any(FINISHED.search(line) for line in real.console):
        return True
    found = _CRASH_AT.search(real.crash)
    if found is None:
        return False
    address = int(found[1], 16)
    if any(payload.mapping.start <= address < payload.mapping.end for payload in host.payloads):
        return True
    # A function of NOPs is run through to its end: Xen needs some, as strlen, to say that it has finished.
    entries = [entry for payload in host.payloads for entry in payload.entries]
    return any(entry.old_addr <= address <= entry.old_addr + entry.old_size for entry in entries)
