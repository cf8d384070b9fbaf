"""Examples for the rules on tables that Xen carries out: alternatives, alternative calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import tables
from xsplice_loader.teaching.examples.recipe import Recipe, payload

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

ALWAYS = 93
"""The feature that every processor has, 2*32+29."""
_ONLY_NOPS = '        .livepatch_func "strlen", 0, 16, 0, 5\n'


def _alternative(old: str, new: str, feature: int = ALWAYS) -> str:
    return f'        .text\n        .xen_alternative "{old}", "{new}", {feature}\n'


def _entry(site: str, replacement: str, lengths: str = "5, 2, 0, 0") -> str:
    """Return an entry written by hand, for what the directive would not do."""
    return f"""
        .text
site:
        .zero   5, 0x90
        .section .rodata, "a", @progbits
constant:
        .quad   1
        .section .altinstr_replacement, "ax", @progbits
other:
        xor     %eax, %eax
        .section .altinstructions, "a", @progbits
        .long   {site} - ., {replacement} - .
        .short  {ALWAYS}
        .byte   {lengths}
"""


def _calls(sites: str, target: str = "landing") -> str:
    """Return a call through a pointer, and a table that names a place."""
    return f"""
        .text
caller:
        .byte   0xff, 0x15
        .long   pointer - 4 - .
        ret
landing:
        .byte   0xf3, 0x0f, 0x1e, 0xfa
plain:
        ret
        .data
pointer:
        .quad   {target}
        .section .alt_call_sites, "a", @progbits
        .long   {sites}
"""


EXAMPLES: dict[Rule, Recipe] = {
    tables.ALTERNATIVES_WITHOUT_TEXT: Recipe(
        shows="It only puts NOPs and has no code; and yet other instructions for it.",
        source=payload(
            '        .section .altinstr_replacement, "a", @progbits\n        .zero 2\n'
            '        .section .altinstructions, "a", @progbits\n        .zero 14\n',
            replacement=_ONLY_NOPS,
        ),
    ),
    tables.ALTERNATIVES_WITHOUT_REPLACEMENTS: Recipe(
        shows="It names other instructions that it does not bring along.",
        source=payload('        .section .altinstructions, "a", @progbits\n        .zero 14\n'),
    ),
    tables.SITE_OUTSIDE_TEXT: Recipe(
        shows="An alternative is for a constant instead of code.", source=payload(_entry("constant", "other"))
    ),
    tables.REPLACEMENT_OUTSIDE_SECTION: Recipe(
        shows="An alternative's other instructions are in the code itself.", source=payload(_entry("site", "site"))
    ),
    tables.REPLACEMENT_TOO_LONG: Recipe(
        shows="A call of 5 bytes is to take the place of a NOP of 1.",
        source=payload(_alternative("nop", "call strlen")),
        release="4.20.3",
    ),
    tables.SITE_TOO_LONG: Recipe(
        shows="The place has 255 bytes.", source=payload(_alternative(".zero 255, 0x90", "nop")), release="4.20.3"
    ),
    tables.FEATURE_OUT_OF_RANGE: Recipe(
        shows="It asks for feature 100*32, of a processor that is not built yet.",
        source=payload(_alternative("nop", "nop", 100 * 32)),
        release="4.20.3",
    ),
    tables.ALTERNATIVES_BUG: Recipe(
        shows="A call of 5 bytes is to take the place of a NOP of 1.",
        source=payload(_alternative("nop", "call strlen")),
    ),
    tables.WILD_ALTERNATIVE: Recipe(
        shows="An alternative is for a place a gigabyte away, under the rules of a release that does not ask.",
        source=payload(_entry("0x40000000 + .", "other")),
        release="4.17.0",
    ),
    tables.TABLE_IN_UPLOAD: Recipe(
        shows="The table of alternatives is not to be loaded.",
        source=payload(_alternative("nop", "nop"), "section .altinstructions flags 0"),
        release="4.20.3",
    ),
    tables.WRITES_OUTSIDE_TEXT: Recipe(
        shows="An alternative's padding of 200 bytes reaches behind the end of the code.",
        source=payload(_entry("site", "other", "5, 2, 200, 0")),
    ),
    tables.TARGET_WITHOUT_ENDBR64: Recipe(
        shows="The pointer leads to a function that does not begin with ENDBR64.",
        source=payload(_calls("caller - .", "plain")),
        release="4.21.0",
    ),
    tables.BRANCH_WRAPS: Recipe(
        shows="A call in the other instructions leads as far as a call can, and is moved away from there.",
        source=payload(
            _entry("site", "other", "5, 5, 0, 0").replace(
                "xor     %eax, %eax", ".byte   0xe8\n        .long   0x7fffffff"
            )
        ),
    ),
    tables.CONTENTS_UNKNOWN: Recipe(
        shows="Where a call leads through a pointer of Xen's is not known from a list of symbols.",
        source=payload(
            _entry("site", "other", "6, 5, 0, 0")
            .replace(".zero   5, 0x90", ".byte   0xff, 0x15\n        .long   nmi_handler - 4 - .")
            .replace("xor     %eax, %eax", ".byte   0xe8, 0xfb, 0xff, 0xff, 0xff")
        ),
        hypervisor="symbol list",
    ),
    tables.CALLS_WITHOUT_TEXT: Recipe(
        shows="It only puts NOPs and has no code; and yet calls in it.",
        source=payload('        .section .alt_call_sites, "a", @progbits\n        .long 0\n', replacement=_ONLY_NOPS),
        release="4.21.0",
    ),
    tables.CALL_OUTSIDE_TEXT: Recipe(
        shows="A call is said to stand among the data.", source=payload(_calls("pointer - .")), release="4.21.0"
    ),
    tables.NO_INDIRECT_CALL: Recipe(
        shows="A call is said to stand in the middle of an instruction.",
        source=payload(_calls("caller + 1 - .")),
        release="4.21.0",
    ),
}
WITHOUT: dict[Rule, str] = {
    tables.TARGET_FREED: "it takes a pointer that a real Xen set while it booted; nothing boots the model",
}
