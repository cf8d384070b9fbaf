"""The bytes that applying a function entry writes over the old function (`spec/04 §2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.releases import Release

JUMP_SIZE = 5
JUMP_OPCODE = b"\xe9"
ENDBR64_SIZE = 4

NopTable = Literal["p6", "k8"]
# The longest NOP of each length from 1 byte on, by processor family (spec/04 §2.2).
NOPS: dict[NopTable, tuple[bytes, ...]] = {
    "p6": tuple(
        bytes.fromhex(code)
        for code in (
            "90",
            "6690",
            "0f1f00",
            "0f1f4000",
            "0f1f440000",
            "660f1f440000",
            "0f1f8000000000",
            "0f1f840000000000",
            "660f1f840000000000",
        )
    ),
    "k8": tuple(
        bytes.fromhex(code)
        for code in (
            "90",
            "6690",
            "666690",
            "66666690",
            "6666906690",
            "666690666690",
            "66666690666690",
            "6666669066666690",
            "666690666690666690",
        )
    ),
}


def nops(size: int, table: NopTable, longest: int) -> bytes:
    """Return `size` bytes of NOPs, the longest first (`spec/04 §2.2`)."""
    codes: Sequence[bytes] = NOPS[table]
    full, rest = divmod(max(size, 0), longest)
    return codes[longest - 1] * full + (codes[rest - 1] if rest else b"")


def patch_offset(old: bytes, release: Release) -> int:
    """Return where in the old function the new bytes begin: behind an ENDBR64, which must stay (`spec/04 §2.1`)."""
    return ENDBR64_SIZE if old[:ENDBR64_SIZE] in release.endbr64_forms else 0


def known_patch_offset(old_addr: int, memory: AddressSpace, release: Release) -> int | None:
    """Return where in the function at an address its new bytes begin; None where that is unknown.

    Raises:
        MemoryFault: the function is not mapped.
    """
    if not release.endbr64_forms:
        return 0
    whole = memory.read(old_addr, ENDBR64_SIZE)
    if whole is not None:
        return patch_offset(whole, release)
    start = memory.read_entry(old_addr, ENDBR64_SIZE)
    if not any(start.may_be(form) for form in release.endbr64_forms):
        return 0
    return ENDBR64_SIZE if start.is_known else None


def patch_bytes(old_addr: int, new_addr: int, new_size: int, offset: int, table: NopTable, release: Release) -> bytes:
    """Return what is written at `old_addr + offset`: a jump to `new_addr`, or NOPs where that is 0."""
    if not new_addr:
        return nops(new_size - offset, table, release.longest_nop)
    return JUMP_OPCODE + (jump_displacement(old_addr, new_addr, offset) & 0xFFFF_FFFF).to_bytes(4, "little")


def jump_displacement(old_addr: int, new_addr: int, offset: int) -> int:
    """Return the true way from behind the jump to the new function, which 32 signed bits must hold."""
    return new_addr - (old_addr + offset + JUMP_SIZE)
