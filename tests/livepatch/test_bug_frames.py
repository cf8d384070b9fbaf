"""Bug frames, decoded: against GNU as, and from words put together by hand as in spec/04 5.3."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from forge_readback import require
from hypothesis import given
from hypothesis import strategies as st

from xsplice_loader.livepatch.bug_frames import ASSERT, BUG, RUN_FUNCTION, WARN, BugFrame, BugTable

if TYPE_CHECKING:
    from pathlib import Path

BASE = 0xFFFF82D0405B0000
NEAR = st.integers(-(1 << 23), (1 << 23) - 1)


def words(location: int, file: int, line: int) -> bytes:
    """Return a frame as the assembler adds it up."""
    high, low = divmod(line, 128)
    return struct.pack("<II", (location + (high << 24)) % (1 << 32), (file + (low << 24)) % (1 << 32))


@given(NEAR, NEAR, st.integers(0, (1 << 14) - 1))
def test_distances_of_both_signs_leave_the_line_alone(location: int, file: int, line: int) -> None:
    (frame,) = BugTable(WARN, BASE, words(location, file, line)).frames()
    assert frame == BugFrame(WARN, BASE + location, BASE + file, line, None)


def test_frames_stand_one_after_the_other() -> None:
    table = BugTable(BUG, BASE, words(16, 32, 1) + words(-16, 32, 2))
    assert [(frame.address, frame.file, frame.line) for frame in table.frames()] == [
        (BASE + 16, BASE + 32, 1),
        (BASE + 8 - 16, BASE + 8 + 32, 2),
    ]


def test_an_assertion_has_its_text() -> None:
    entry = words(-4, -8, 300) + struct.pack("<Ii", 0, -12)
    (frame,) = BugTable(ASSERT, BASE, entry).frames()
    assert frame == BugFrame(ASSERT, BASE - 4, BASE - 8, 300, BASE - 12)


def test_the_first_frame_of_an_instruction_counts() -> None:
    table = BugTable(WARN, BASE, words(100, 0, 1) + words(92, 0, 2))
    found = table.frame_of(BASE + 100)
    assert found is not None
    assert found.line == 1
    assert table.frame_of(BASE + 101) is None


def test_addresses_wrap() -> None:
    (frame,) = BugTable(WARN, 8, words(-16, 0, 0)).frames()
    assert frame.address == (1 << 64) - 8


@given(st.sampled_from([RUN_FUNCTION, WARN, BUG, ASSERT]), st.binary(max_size=64))
def test_any_bytes_can_be_decoded(kind: int, contents: bytes) -> None:
    size = 16 if kind == ASSERT else 8
    assert len(list(BugTable(kind, BASE, contents).frames())) == len(contents) // size


@pytest.mark.parametrize("line", [0, 1, 127, 128, 300, 16383])
def test_what_gnu_as_and_ld_make(line: int, tmp_path: Path) -> None:
    source = f"""
        .section .rodata
        file: .asciz "a.c"
        .section .text
        nop
        site: ud2
        .section .bug_frames.1, "a"
        frame: .long site - frame + {line >> 7} * (1 << 24), file - frame + {line & 127} * (1 << 24)
    """
    for tool, arguments in (
        ("as", ["-o", "frame.o", "-"]),
        ("ld", ["-o", "frame", "-e", "0", "-Ttext=0x10000", "--section-start=.bug_frames.1=0x20000", "frame.o"]),
        ("objcopy", ["-O", "binary", "-j", ".bug_frames.1", "frame", "frame.bin"]),
    ):
        subprocess.run([require(tool), *arguments], input=source.encode(), cwd=tmp_path, check=True)
    listing = subprocess.run([require("nm"), "frame"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    symbols = {name: int(address, 16) for address, _, name in map(str.split, listing.splitlines())}
    (frame,) = BugTable(WARN, symbols["frame"], (tmp_path / "frame.bin").read_bytes()).frames()
    assert frame == BugFrame(WARN, symbols["site"], symbols["file"], line, None)
