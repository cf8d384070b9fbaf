"""Examples for the rules on what a payload is and does: ids, functions, hooks, tables, names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import content
from xsplice_loader.teaching.examples.recipe import (
    DEPENDS,
    IDENTITY,
    OLD_REPLACEMENT,
    REPLACEMENT,
    XEN_DEPENDS,
    Recipe,
    payload,
)

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

_NOTE_TYPE = 8
"""Where in a note its type stands."""
_OTHER = IDENTITY.replace(XEN_DEPENDS, "        .livepatch_xen_depends 00112233445566778899aabbccddeeff00112233\n")
_WITHOUT_XEN = IDENTITY.replace(XEN_DEPENDS, "")
_BROKEN_XEN_DEPENDS = payload("", f"bytes .livepatch.xen_depends {_NOTE_TYPE} 04")
_NO_REPLACEMENT = REPLACEMENT[: REPLACEMENT.index("        .livepatch_func")]


def _function(arguments: str) -> str:
    """Return a replacement whose entry in the table has other arguments."""
    return f"{_NO_REPLACEMENT}        .livepatch_func {arguments}\n"


def _spoilt(shows: str, *damages: str, body: str = "") -> Recipe:
    return Recipe(shows=shows, source=payload(body, *damages))


def _entry(shows: str, arguments: str) -> Recipe:
    return Recipe(shows=shows, source=payload(replacement=_function(arguments)))


EXAMPLES: dict[Rule, Recipe] = {
    content.NO_XEN_DEPENDS: Recipe(
        shows="It does not say which Xen it is for.", source=payload(identity=_WITHOUT_XEN), release="4.20.3"
    ),
    content.XEN_DEPENDS_MALFORMED: Recipe(
        shows="What says which Xen it is for is a note of another type.", source=_BROKEN_XEN_DEPENDS, release="4.20.3"
    ),
    content.XEN_WITHOUT_BUILD_ID: Recipe(
        shows="The hypervisor was linked without a build-id.",
        source=payload(),
        release="4.20.3",
        hypervisor="no build-id",
    ),
    content.OTHER_XEN: Recipe(
        shows="It was made for another build.", source=payload(identity=_OTHER), release="4.20.3"
    ),
    content.SECTION_MISSING: Recipe(
        shows="It does not say what it stands on.", source=payload(identity=IDENTITY.replace(DEPENDS, ""))
    ),
    content.SECTION_EMPTY: _spoilt("What says what it stands on is empty.", "section .livepatch.depends size 0"),
    content.PATCHING_SECTION_EMPTY: _spoilt(
        "It has a table of hooks with no hook in it.",
        body='        .section .livepatch.hooks.load, "a", @progbits\n',
    ),
    content.NOTHING_TO_PATCH: Recipe(
        shows="It brings a function along and does not say for which other.",
        source=payload(replacement=_NO_REPLACEMENT),
    ),
    content.WRONG_TABLE_SIZE: _spoilt("The function table is one byte short.", "section .livepatch.funcs size 103"),
    content.WRONG_VERSION: Recipe(
        shows="Its function table is of version 1, as up to 4.13, padded to the size of version 2.",
        source=payload("", "bytes .livepatch.funcs 32 01"),
    ),
    content.ZERO_FIELDS: _entry("It does not say how long the old function is.", '"xen_minor_version", replacement, 0'),
    content.OLD_FUNCTION_TOO_SMALL: _entry(
        "The old function has 4 bytes, and a jump takes 5.", '"xen_minor_version", replacement, 4'
    ),
    content.NOP_TOO_LONG: _entry("It is to put 32 bytes of NOPs.", '"strlen", 0, 64, 0, 32'),
    content.NOP_LONGER_THAN_FUNCTION: _entry(
        "It is to put 7 bytes of NOPs on a function of 6.", '"xen_minor_version", 0, 6, 0, 7'
    ),
    content.UNKNOWN_FUNCTION: _entry("The function that it is for is misspelt.", '"xen_minro_version", replacement, 6'),
    content.TOO_FAR_TO_JUMP: Recipe(
        shows="The new function needs nothing of Xen's, but a jump has to reach it in the ordinary vmap area.",
        source=payload(),
        vmap="default",
    ),
    content.FUNCTIONS_NOT_LOADED: _spoilt(
        "The function table is not to be loaded.", "section .livepatch.funcs flags 0"
    ),
    content.WILD_NAME: _spoilt(
        "The function's name is looked for 256 MiB further on.", "rela .rela.livepatch.funcs 0 addend 0x10000000"
    ),
    content.WILD_OLD_ADDRESS: _entry(
        "The old function is said to stand where nothing is mapped.", '"xen_minor_version", replacement, 6, 0x1000'
    ),
    content.SINGLE_HOOK_SIZE: _spoilt(
        "It has two hooks of a kind of which there is one.",
        body='        .section .livepatch.hooks.preapply, "a", @progbits\n        .quad replacement, replacement\n',
    ),
    content.OWN_ID_MALFORMED: _spoilt(
        "Its own build-id is in a note of another type.", f"bytes .note.gnu.build-id {_NOTE_TYPE} 04"
    ),
    content.SAME_ID_LOADED: Recipe(
        shows="The same payload is loaded already, under another name.",
        source=payload(),
        below=(("first", payload()),),
    ),
    content.DEPENDS_MALFORMED: _spoilt(
        "What it stands on is in a note of another type.", f"bytes .livepatch.depends {_NOTE_TYPE} 04"
    ),
    content.NOTE_NOT_LOADED: _spoilt("Its own build-id is not to be loaded.", "section .note.gnu.build-id flags 0"),
    content.NOTE_DANGLES: Recipe(
        shows="Its own build-id is not to be loaded.",
        source=payload("", "section .note.gnu.build-id flags 0"),
        release="4.20.3",
    ),
    content.EMPTY_EXCEPTION_TABLE: Recipe(
        shows="It has an exception table with nothing in it.",
        source=payload('        .section .ex_table, "a", @progbits\n', replacement=OLD_REPLACEMENT),
        release="4.9.0",
    ),
    content.TABLE_NOT_LOADED: _spoilt(
        "Its exception table is not to be loaded.",
        body='        .section .ex_table, "", @progbits\n        .long 0, 0\n',
    ),
    content.METADATA_FORM: _spoilt(
        "Its metadata do not end with NUL.",
        body='        .section .modinfo, "a", @progbits\n        .ascii "author=me"\n',
    ),
    content.METADATA_EMPTY: _spoilt(
        "Its section of metadata is empty.", body='        .section .modinfo, "a", @progbits\n'
    ),
    content.DATA_DANGLES: Recipe(
        shows="Its hook's table is not to be loaded.",
        source=payload('        .section .livepatch.hooks.preapply, "", @progbits\n        .quad 0\n'),
        release="4.20.3",
    ),
    content.XEN_DEPENDS_LATE_MALFORMED: Recipe(
        shows="What says which Xen it is for is a note of another type.", source=_BROKEN_XEN_DEPENDS
    ),
    content.OTHER_XEN_LATE: Recipe(shows="It was made for another build.", source=payload(identity=_OTHER)),
    content.XEN_WITHOUT_BUILD_ID_LATE: Recipe(
        shows="The hypervisor was linked without a build-id.", source=payload(), hypervisor="no build-id"
    ),
    content.DUPLICATE_SYMBOL: _spoilt(
        "It brings along a helper that Xen has a function of the same name for.",
        body="        .text\n        .globl strlen\nstrlen:\n        xor %eax, %eax\n        ret\n",
    ),
}
WITHOUT: dict[Rule, str] = {}
