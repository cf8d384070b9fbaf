"""Alternative calls (4.21): no hypervisor at hand has them, so a disassembler reads the bytes (`spec/04 §5.2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import capstone
import pytest

from xsplice_loader import Hypervisor, load
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from xsplice_loader import LoadResult

SOURCE = """
        .text
        .globl replacement
        .type replacement, @function
replacement:
        {call}
        .byte   0xff, 0x15
        .long   pointer - 4 - .
        ret
        .size replacement, . - replacement
        .balign 16
endbr:
        .byte   0xf3, 0x0f, 0x1e, 0xfa
        ret
plain:
        ret
        .section .data, "aw", @progbits
pointer:
        .quad   {target}
        .section .alt_call_sites, "{flags}", @progbits
        {sites}
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""
FIRST, SECOND, ENDBR, PLAIN = 0, 6, 16, 21


def upload(
    target: str,
    sites: str = ".long replacement + 6 - .",
    *,
    release: str = "4.21.0",
    call: str = ".byte 0xff, 0x15, 0, 0, 0, 0",
    flags: str = "a",
) -> LoadResult:
    source = SOURCE.format(target=target, sites=sites, call=call, flags=flags)
    return load(forge(source), Hypervisor.model(), release=release)


def calls(result: LoadResult, offset: int) -> str:
    """Return what the 6 bytes at an offset of the text are, addresses relative to it."""
    assert result.accepted, result.findings
    assert result.image is not None
    disassembler: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    found = [*disassembler.disasm(result.image[offset : offset + 6], offset)]
    assert sum(instruction.size for instruction in found) == 6
    return "; ".join(f"{instruction.mnemonic} {instruction.op_str}".strip() for instruction in found)


def test_behind_endbr64() -> None:
    result = upload("endbr")
    assert calls(result, SECOND) == f"call {ENDBR + 4:#x}"
    # A prefix that means nothing for a call fills its six bytes.
    assert (result.image or b"")[SECOND : SECOND + 2] == b"\x2e\xe8"
    assert not result.findings


def test_without_endbr64() -> None:
    result = upload("plain")
    assert calls(result, SECOND) == f"call {PLAIN:#x}"
    assert [finding.rule for finding in result.findings] == ["XSP191"]


def test_no_target() -> None:
    assert calls(upload("0"), SECOND) == "ud2; ud2; ud2"


def test_every_entry() -> None:
    pointer = ".byte 0xff, 0x15\n.long pointer - 4 - ."
    result = upload("endbr", ".long replacement - ., replacement + 6 - .", call=pointer)
    assert [calls(result, offset) for offset in (FIRST, SECOND)] == [f"call {ENDBR + 4:#x}"] * 2


def test_ignored_before() -> None:
    result = upload("endbr", release="4.20.0")
    assert (result.image or b"")[SECOND : SECOND + 2] == b"\xff\x15"


@pytest.mark.parametrize(
    ("sites", "flags", "rule"),
    [
        (".byte 1, 2, 3", "a", "XSP110"),
        (".long pointer - .", "a", "XSP196"),
        (".long replacement - 1 - .", "a", "XSP196"),
        (".long replacement + 17 - .", "a", "XSP196"),
        (".long replacement + 1 - .", "a", "XSP197"),
        (".long 0", "", "XSP189"),
    ],
)
def test_refused(sites: str, flags: str, rule: str) -> None:
    result = upload("endbr", sites, flags=flags)
    assert (result.verdict, result.errno_name, result.stage, result.rule) == ("refused", "EINVAL", "prepare", rule)


def test_the_last_place_in_the_text() -> None:
    # The text has 22 bytes: the last six are inside, though no call.
    assert upload("endbr", ".long replacement + 16 - .").rule == "XSP197"


def test_a_pointer_that_leads_nowhere() -> None:
    call = ".byte 0xff, 0x15\n.long replacement + 0x100000 - ."
    assert upload("endbr", ".long replacement - .", call=call).rule == "XSP188"


def test_empty() -> None:
    result = upload("endbr", "")
    assert result.accepted
    assert (result.image or b"")[SECOND : SECOND + 2] == b"\xff\x15"


def test_without_text() -> None:
    source = """
        .section .livepatch.hooks.load, "a", @progbits
        .quad   0
        .section .alt_call_sites, "a", @progbits
        .long   0
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
    """
    assert load(forge(source), Hypervisor.model(), release="4.21.0").rule == "XSP195"
