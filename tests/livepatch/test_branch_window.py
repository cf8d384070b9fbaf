"""Branches that Xen writes while it loads bound the window too; `--place` is the judge (contract 4)."""

from __future__ import annotations

import pytest

from xsplice_loader import Hypervisor, LoadResult, load
from xsplice_loader.forge import forge
from xsplice_loader.rules import observations, tables

MODEL = Hypervisor.model()
PAGE = 4096
ENDING = """
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""
CALL = """
        .text
        .globl  replacement
        .type   replacement, @function
replacement:
        .byte   0xff, 0x15
        .long   pointer - 4 - .
        ret
        .size   replacement, . - replacement
        .section .data, "aw", @progbits
pointer:
        .quad   system_state
        .section .alt_call_sites, "a", @progbits
        .long   replacement - .
"""
# The replacement stands pages above the site, so that its own relocation bounds less than the moved branch.
ALTERNATIVE = """
        .text
        .globl  replacement
        .type   replacement, @function
replacement:
        .xen_alternative ".byte 0x90, 0x90, 0x90, 0x90, 0x90", "call system_state", 2*32+29
        ret
        .zero   8192
        .size   replacement, . - replacement
"""
WRAPS = {tables.BRANCH_WRAPS.id, observations.JUMP_WRAPS.id}


def is_clean(result: LoadResult) -> bool:
    return result.accepted and not WRAPS & {finding.rule for finding in result.findings}


@pytest.mark.parametrize(
    ("source", "release", "kind"),
    [
        (CALL, "4.21.0", "alternative call"),
        (ALTERNATIVE, "4.17.7", "alternative"),
        (ALTERNATIVE, "4.20.3", "alternative"),
    ],
)
def test_the_ends_by_trying(source: str, release: str, kind: str) -> None:
    data = forge(source + ENDING)
    window = load(data, MODEL, release=release).window
    assert window is not None
    assert window.lowest is not None
    assert window.highest is not None
    assert kind in {edge.limit.kind for edge in window.tightest}
    for base in (window.lowest, window.highest):
        assert is_clean(load(data, MODEL, release=release, place=base)), hex(base)
    for base in (window.lowest - PAGE, window.highest + PAGE):
        assert not is_clean(load(data, MODEL, release=release, place=base)), hex(base)
