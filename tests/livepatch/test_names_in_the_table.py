"""A function's name that is part of the function table itself, which Xen writes old addresses into as it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from known_hypervisors import Package

# The second entry's name begins at the second byte of the first entry's old address.
SOURCE = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        ret
        .size replacement, . - replacement
        .section .rodata.str, "a", @progbits
name:   .asciz "xen_minor_version"
        .section .livepatch.funcs, "aw", @progbits
        .balign 8
first:  .quad name, replacement, 0
        .long 1, 16
        .byte 2
        .zero 71
        .quad first + 17, replacement, 0
        .long 1, 16
        .byte 2
        .zero 71
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
"""


def test_it_is_read_as_changed_by_then(package: Package) -> None:
    # Such payloads were seen on 4.17.7: the log line shows the address that was looked up for the entry before.
    xen = Hypervisor.open(package.xen_syms)
    address = xen.symbols.address_of(b"xen_minor_version")
    assert address is not None
    result = Host(xen).upload("a", forge(SOURCE, xen_build_id=xen.build_id))
    name = address.to_bytes(8, "little")[1:] + b"\1"
    assert (result.verdict, result.errno_name, result.rule) == ("refused", "ENOENT", "XSP125")
    assert result.xen_message == f"Could not resolve old address of {name.decode('utf-8', 'backslashreplace')}"
