"""Examples for what Xen does not test and the checker asks beyond an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import checking, observations
from xsplice_loader.teaching.examples.recipe import REPLACEMENT, Recipe, payload

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

_MATRIX = "it is about a whole run of xsplice-check: "
_SMALL_ARENA = (0xFFFF82D040800000, 0xFFFF82D040803000)
_EDGE = 0xFFFF82CFC0200000
"""2 GiB below the start of the model's text."""

EXAMPLES: dict[Rule, Recipe] = {
    observations.ASSUMED_HYPERVISOR: Recipe(
        shows="The hypervisor that it is for is not at hand.", source=payload(), hypervisor="unknown"
    ),
    observations.ASSUMED_SYMBOL: Recipe(
        shows="It calls a function that only the hypervisor that is not at hand can have.",
        source=payload("        .text\ncaller:\n        call no_such_function\n        ret\n"),
        hypervisor="unknown",
    ),
    observations.ASSUMED_PROPERTY: Recipe(
        shows="The hypervisor is a list of symbols.", source=payload(), hypervisor="symbol list"
    ),
    observations.PLACED_BY_HAND: Recipe(
        shows="It is put on Xen's own text.", source=payload(), place=0xFFFF82D040200000
    ),
    observations.JUMP_WRAPS: Recipe(
        shows="It is put so that the new function is 4 bytes less than 2 GiB below the old one. Xen's test lets that "
        "pass; the jump, which counts from its own end, would have to go 5 bytes further.",
        # In the model xen_minor_version stands 0x50 bytes behind the start of the text.
        source=payload(
            replacement="        .text\n        .zero 0x54, 0x90\n" + REPLACEMENT.replace("        .balign 16\n", "")
        ),
        place=_EDGE,
    ),
    observations.SHORT_NOP_ON_ENDBR64: Recipe(
        shows="It puts 3 bytes of NOPs on a function that begins with the 4 of an ENDBR64.",
        source=payload(replacement='        .livepatch_func "do_nmi_op", 0, 41, 0, 3\n'),
    ),
    observations.NOTHING_LOADABLE: Recipe(
        shows="Nothing of it is to be loaded.",
        source='        .section .remarks, "", @progbits\n        .globl remark\nremark:\n        .quad 1\n',
    ),
    observations.WILD_FUNCTION_NAME: Recipe(
        shows="The pointer to the function's name is a small number, where nothing is mapped.",
        source=payload(
            replacement="        .text\nreplacement:\n        ret\n"
            '        .section .livepatch.funcs, "aw", @progbits\n'
            "        .quad 0x1234, replacement, xen_extra_version\n"
            "        .long 1, 16\n        .byte 2\n        .zero 71\n"
        ),
    ),
    observations.BEYOND_ARENA: Recipe(
        shows="The range for payloads has three pages; the bitmap, which begins with room for 128 MiB, does not mind.",
        source=payload(),
        arena=_SMALL_ARENA,
    ),
    observations.DRAFT: Recipe(
        shows="The address comes from the draft of April 2016.", source=payload(), vmap="callback"
    ),
    observations.START_UNKNOWN: Recipe(
        shows="The hypervisor is a symbol list, and the old function has 6 bytes: enough for a jump, but not after an "
        "ENDBR64.",
        source=payload(),
        hypervisor="symbol list",
    ),
    checking.NOT_EVERYWHERE: Recipe(
        shows="The range for payloads goes from 1 GiB to 3 GiB above Xen's text. The first page of it would do, the "
        "last would not, and all of it is asked for.",
        source=payload(),
        arena=(0xFFFF82D080000000, 0xFFFF82D100000000),
        any_placement=True,
    ),
    checking.POLICY_TYPE: Recipe(
        shows="It is judged as Linux's loader of modules would, which does not know fields of 16 bits.",
        source=payload(
            '        .section .rodata, "a", @progbits\n        .quad 0\n        .reloc 0, 13, replacement\n'
        ),
        policy="linux",
    ),
    checking.POLICY_RANGE: Recipe(
        shows="It is judged as bfd would: an address of Xen's does not fit the 32 bits of R_X86_64_32.",
        source=payload('        .section .rodata, "a", @progbits\n        .long 0\n        .reloc 0, 10, strlen\n'),
        policy="bfd",
    ),
}
WITHOUT: dict[Rule, str] = {
    checking.UNREADABLE_HYPERVISOR: _MATRIX + "a hypervisor's file, not a payload's, is what breaks it",
    checking.CELL_DIED: _MATRIX + "a process dies, which no payload is known to do to it",
    checking.NO_HYPERVISOR: _MATRIX + "which hypervisors were given decides, not the payload",
}
