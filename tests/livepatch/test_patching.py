"""The bytes that patching writes (`spec/04 §2.1`, `§2.2`); a NOP of any length is one that a disassembler knows."""

from __future__ import annotations

from typing import Any

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from xsplice_loader.livepatch.patching import NOPS, NopTable, nops, patch_bytes, patch_offset
from xsplice_loader.releases import release

# spec/04 §2.2, row by row.
P6 = (
    "90",
    "66 90",
    "0f 1f 00",
    "0f 1f 40 00",
    "0f 1f 44 00 00",
    "66 0f 1f 44 00 00",
    "0f 1f 80 00 00 00 00",
    "0f 1f 84 00 00 00 00 00",
    "66 0f 1f 84 00 00 00 00 00",
)
K8 = (
    "90",
    "66 90",
    "66 66 90",
    "66 66 66 90",
    "66 66 90 66 90",
    "66 66 90 66 66 90",
    "66 66 66 90 66 66 90",
    "66 66 66 90 66 66 66 90",
    "66 66 90 66 66 90 66 66 90",
)
OLD, NEW = 0xFFFF82D040234B20, 0xFFFF82D0405B0000


@pytest.mark.parametrize(("table", "codes"), [("p6", P6), ("k8", K8)])
def test_the_table_of_nops(table: NopTable, codes: tuple[str, ...]) -> None:
    assert [code.hex(" ") for code in NOPS[table]] == list(codes)
    decoder: Any = Cs(CS_ARCH_X86, CS_MODE_64)  # type: ignore[no-untyped-call]
    for code in NOPS[table]:
        read = list(decoder.disasm(code, 0))
        assert sum(instruction.size for instruction in read) == len(code)
        assert {instruction.mnemonic for instruction in read} == {"nop"}


@pytest.mark.parametrize("table", ["p6", "k8"])
@pytest.mark.parametrize("longest", [8, 9])
def test_any_length_is_filled_greedily(table: NopTable, longest: int) -> None:
    for size in range(64):
        pieces = [longest] * (size // longest) + ([size % longest] if size % longest else [])
        assert nops(size, table, longest) == b"".join(NOPS[table][piece - 1] for piece in pieces)


def test_31_bytes() -> None:
    """The examples of `spec/04 §2.2`: 9 + 9 + 9 + 4, and up to 4.10 8 + 8 + 8 + 7; K8 as seen on 4.17.7."""
    assert nops(31, "p6", release("4.17.7").longest_nop).hex(" ") == " ".join([P6[8]] * 3 + [P6[3]])
    assert nops(31, "p6", release("4.10.0").longest_nop).hex(" ") == " ".join([P6[7]] * 3 + [P6[6]])
    assert nops(31, "k8", release("4.17.7").longest_nop).hex(" ") == " ".join(["66 66 90"] * 9 + ["66 66 66 90"])


def test_jumps_as_seen_on_a_running_hypervisor() -> None:
    """The two jumps of `spec/04 §2.2`."""
    rules = release("4.17.7")
    assert patch_bytes(OLD, NEW, 8, 0, "k8", rules).hex(" ") == "e9 db b4 37 00"
    assert patch_bytes(0xFFFF82D04028D320, NEW, 8, 4, "k8", rules).hex(" ") == "e9 d7 2c 32 00"


@pytest.mark.parametrize(
    ("name", "endbr64", "poison"),
    [("4.7.0", 0, 0), ("4.14.4", 0, 0), ("4.14.5", 4, 0), ("4.16.1", 4, 0), ("4.17.0", 4, 4), ("4.21.0", 4, 4)],
)
def test_where_the_new_bytes_begin(name: str, endbr64: int, poison: int) -> None:
    """`spec/04 §2.1`: behind an ENDBR64 from SET-A on, behind its poison from 4.17.0 on."""
    rules = release(name)
    assert patch_offset(bytes.fromhex("f30f1efa90"), rules) == endbr64
    assert patch_offset(bytes.fromhex("660f1f0190"), rules) == poison
    assert patch_offset(bytes.fromhex("f30f1efb90"), rules) == 0
    assert patch_offset(bytes.fromhex("f30f1e"), rules) == 0


def test_nops_on_an_endbr64_function_leave_it_alone() -> None:
    assert patch_bytes(OLD, 0, 9, 4, "p6", release("4.17.7")).hex(" ") == P6[4]
