"""What Xen's own code says about itself: its release, and where its payload range ends.

`xen_major_version` and `xen_minor_version` return constants, `xen_extra_version` a pointer to a string;
`arch_livepatch_init` passes the end of the payload range on in a register. Their first instructions
are nearly always the same few bytes; capstone is asked only about others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xsplice_loader.releases import ENDBR64, ENDBR64_POISON, GIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.hypervisor.contents import Pieces

    AddressOf = Callable[[bytes], int | None]
    """From a symbol's name to its offset from XEN_VIRT_START."""

VERSION_CODE_SIZE = 16
EXTRA_VERSION_SIZE = 32
"""Bytes that the string behind major and minor version may take, with its NUL."""
ARENA_CODE_SIZE = 64

_PROLOGUE = rb"(?:%b|%b)?(?:\x55\x48\x89\xe5)?" % (re.escape(ENDBR64), re.escape(ENDBR64_POISON))
_RETURNS_CONSTANT = re.compile(_PROLOGUE + rb"(?:\xb8(?P<constant>.{4})|\x31\xc0)", re.DOTALL)
_RETURNS_RELATIVE = re.compile(_PROLOGUE + rb"\x48\x8d\x05(?P<displacement>.{4})", re.DOTALL)
_RETURNS_ABSOLUTE = re.compile(_PROLOGUE + rb"\x48\xc7\xc0(?P<address>.{4})", re.DOTALL)
_END_INTO_RDX = re.compile(rb"\x48\xba(.{8})", re.DOTALL)
_EXTRA_VERSION = re.compile(rb"([ -~]*)\0")
_POINT_RELEASE = re.compile(r"\.\d")
_INSTRUCTIONS = 8


def reported_release(pieces: Pieces, offset_of: AddressOf) -> str | None:
    """Return the release that the image reports, for example `4.20.4-pre`; None if illegible."""
    major = _constant(pieces, offset_of(b"xen_major_version"))
    minor = _constant(pieces, offset_of(b"xen_minor_version"))
    extra = _extra_version(pieces, offset_of(b"xen_extra_version"))
    if major is None or minor is None or extra is None:
        return None
    # A development branch says `-unstable` or `-rc` where a release has its third number.
    return f"{major}.{minor}{extra}" if _POINT_RELEASE.match(extra) else f"{major}.{minor}.0{extra}"


def reported_arena_end(pieces: Pieces, offset_of: AddressOf) -> int | None:
    """Return the address at which `arch_livepatch_init` has the payload range end; None if illegible."""
    start = offset_of(b"arch_livepatch_init")
    code = None if start is None else pieces.read(start, ARENA_CODE_SIZE)
    for match in _END_INTO_RDX.finditer(code or b""):
        end = int.from_bytes(match[1], "little")
        # The range test beforehand loads the same address less one, which is no page address.
        if end % 4096 == 0 and end >> 40 == 0xFFFF82:
            return end
    return None


def extra_version_offset(pieces: Pieces, offset: int | None) -> int | None:
    """Return where the string that `xen_extra_version` returns lies, as offset from XEN_VIRT_START."""
    code = None if offset is None else pieces.read(offset, VERSION_CODE_SIZE)
    if code is None or offset is None:
        return None
    if match := _RETURNS_RELATIVE.match(code):
        return offset + match.end() + int.from_bytes(match["displacement"], "little", signed=True)
    if match := _RETURNS_ABSOLUTE.match(code):
        return int.from_bytes(match["address"], "little") % GIB
    return _decoded_result(code, offset)


def _constant(pieces: Pieces, offset: int | None) -> int | None:
    code = None if offset is None else pieces.read(offset, VERSION_CODE_SIZE)
    if code is None:
        return None
    if match := _RETURNS_CONSTANT.match(code):
        return int.from_bytes(match["constant"] or b"", "little")
    return _decoded_result(code, 0)


def _extra_version(pieces: Pieces, offset: int | None) -> str | None:
    string = extra_version_offset(pieces, offset)
    if string is None:
        return None
    # Near the end of what is known the string may be all that there is.
    for size in range(EXTRA_VERSION_SIZE, 0, -1):
        if (data := pieces.read(string, size)) is not None:
            match = _EXTRA_VERSION.match(data)
            return match[1].decode() if match else None
    return None


def _decoded_result(code: bytes, offset: int) -> int | None:
    """Return what the first instruction that sets RAX sets it to, if it is plain; else None."""
    import capstone  # noqa: PLC0415  (only for code of an unusual shape)
    from capstone import x86  # noqa: PLC0415

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    for instruction in decoder.disasm(code, offset, _INSTRUCTIONS):  # type: ignore[no-untyped-call]
        operands = instruction.operands
        if not operands or operands[0].type != x86.X86_OP_REG:
            continue
        if operands[0].reg not in (x86.X86_REG_EAX, x86.X86_REG_RAX):
            continue
        if instruction.mnemonic == "mov" and operands[1].type == x86.X86_OP_IMM:
            return int(operands[1].imm)
        if instruction.mnemonic == "xor" and operands[1].type == x86.X86_OP_REG:
            return 0 if operands[0].reg == operands[1].reg else None
        if instruction.mnemonic == "lea" and operands[1].mem.base == x86.X86_REG_RIP:
            return int(instruction.address + instruction.size + operands[1].mem.disp)
        return None
    return None
