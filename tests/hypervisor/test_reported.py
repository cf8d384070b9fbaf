"""What Xen's code says about itself, over instructions as compilers write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.hypervisor.contents import Piece, Pieces
from xsplice_loader.hypervisor.reported import reported_arena_end, reported_release
from xsplice_loader.releases import NEWEST

if TYPE_CHECKING:
    from pathlib import Path

ENDBR64 = "f3 0f 1e fa"
FRAME = "55 48 89 e5"
FOUR = "b8 04 00 00 00 c3"
LABELS = {
    b"xen_major_version": 0x1000,
    b"xen_minor_version": 0x1100,
    b"xen_extra_version": 0x1200,
    b"arch_livepatch_init": 0x1300,
}


def image(
    *, minor: str = FOUR, extra: str = "48 8d 05 f9 01 00 00 c3", text: bytes = b".7\0", init: str = ""
) -> Pieces:
    """An image whose version string lies at 0x1400."""
    data = bytearray(b"\xcc" * 0x500)
    code = ((0, bytes.fromhex(FOUR)), (0x100, bytes.fromhex(minor)), (0x200, bytes.fromhex(extra)))
    for position, content in (*code, (0x300, bytes.fromhex(init)), (0x400, text)):
        data[position : position + len(content)] = content
    return Pieces([Piece(0x1000, len(data), memoryview(bytes(data)))])


@pytest.mark.parametrize(
    ("minor", "number"),
    [
        (FOUR, 4),
        (f"{ENDBR64} b8 0e 00 00 00 c3", 14),
        (f"66 0f 1f 01 {FRAME} b8 11 00 00 00 5d c3", 17),
        ("31 c0 c3", 0),
        (f"{ENDBR64} 31 c0 c3", 0),
        # Not among the usual patterns: left to the disassembler.
        ("48 31 c0 c3", 0),
        ("48 c7 c0 13 00 00 00 c3", 19),
        ("90 90 b8 12 00 00 00 c3", 18),
    ],
)
def test_constants(minor: str, number: int) -> None:
    assert reported_release(image(minor=minor), LABELS.get) == f"4.{number}.7"


@pytest.mark.parametrize("minor", ["8b 05 00 00 00 00 c3", "6a 04 58 c3", "31 c8 c3", "06 06 06"])
def test_computed_results_are_not_guessed(minor: str) -> None:
    assert reported_release(image(minor=minor), LABELS.get) is None


@pytest.mark.parametrize(
    "extra",
    [
        "48 8d 05 f9 01 00 00 c3",
        f"{ENDBR64} 48 8d 05 f5 01 00 00 c3",
        "48 c7 c0 00 14 00 00 c3",
        "90 48 8d 05 f8 01 00 00 c3",
    ],
)
def test_string(extra: str) -> None:
    assert reported_release(image(extra=extra), LABELS.get) == "4.4.7"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b".4-pre\0", "4.4.4-pre"),
        (b".0\0", "4.4.0"),
        (b"-unstable\0", "4.4.0-unstable"),
        (b".0-rc\0", "4.4.0-rc"),
        (b".5-9.39\0", "4.4.5-9.39"),
        (b"\x80\x81\0", None),
        (b"x" * 64, None),
    ],
)
def test_spellings(text: bytes, name: str | None) -> None:
    assert reported_release(image(text=text), LABELS.get) == name


def test_missing_functions() -> None:
    assert reported_release(image(), lambda _: None) is None
    assert reported_arena_end(image(), lambda _: None) is None
    assert reported_release(Pieces(()), LABELS.get) is None


@pytest.mark.parametrize(
    ("init", "end"),
    [
        # movabs $0xffff82d07fefefff,%rax; movabs $0xffff82d07feff000,%rdx, as in Debian's 4.17
        ("48 b8 ff ef ef 7f d0 82 ff ff 48 ba 00 f0 ef 7f d0 82 ff ff", 0xFFFF82D07FEFF000),
        ("48 ba ff ef ef 7f d0 82 ff ff 48 ba 00 00 f0 bf d0 82 ff ff", 0xFFFF82D0BFF00000),
        ("48 ba 00 00 00 00 00 00 00 00 0f 0b", None),
        ("0f 0b", None),
    ],
)
def test_arena_end(init: str, end: int | None) -> None:
    assert reported_arena_end(image(init=init), LABELS.get) == end


def test_a_branch_newer_than_all_known_takes_the_newest_rules(unpacked: bytes, tmp_path: Path) -> None:
    minor = b"\xb8\x11\x00\x00\x00"  # mov $17, %eax, in xen_minor_version
    assert unpacked.count(minor) == 1
    image = tmp_path / "xen-syms"
    image.write_bytes(unpacked.replace(minor, b"\xb8\x1e\x00\x00\x00"))
    hypervisor = Hypervisor.open(image)
    assert hypervisor.release.name == "4.30.7"
    assert hypervisor.release.version == NEWEST.version
    assert any("4.30.7" in assumption for assumption in hypervisor.assumptions)
