"""Small functions in a payload on the model hypervisor, for running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import Limits, Run, run
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.host.hooks import HookRunner

SOURCE = """
        .text
        .globl tested
        .type tested, @function
tested:
        {code}
        .size tested, . - tested
        .globl minor
        .type minor, @function
minor:  mov     $77, %eax
        ret
        .size minor, . - minor
        .data
        .globl numbers
        .type numbers, @object
numbers: .quad 1, 2, 3, 4
        .size numbers, 32
        .section .rodata, "a", @progbits
        .globl constant
        .type constant, @object
constant: .asciz "constant"
        .size constant, 9
        {more}
        .livepatch_func "xen_minor_version", minor, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""


def host_with(
    code: str,
    more: str = "",
    *,
    release: str | None = None,
    hypervisor: Hypervisor | None = None,
    runner: HookRunner | None = None,
) -> Host:
    """Return a host with a payload `snippet` whose function `tested` is `code`; `more` follows in the source."""
    xen = hypervisor or Hypervisor.model()
    host = Host(xen, release=release, hook_runner=runner)
    data = forge(SOURCE.format(code="\n        ".join(code.split("; ")), more=more), xen_build_id=xen.build_id)
    result = host.upload("snippet", data)
    assert result.accepted, result.findings
    return host


def outcome_of(code: str, *arguments: int, more: str = "", limits: Limits | None = None) -> Run:
    """Run `tested` on a fresh host."""
    return run_on(host_with(code, more), arguments, limits)


def run_on(host: Host, arguments: Sequence[int] = (), limits: Limits | None = None) -> Run:
    """Run `tested`."""
    return run(host.state, "tested", arguments, limits=limits or Limits())


def address_of(host: Host, name: str) -> int:
    """Return where a symbol lies."""
    address = host.state.address_of(name.encode())
    assert address is not None
    return address
