"""Words of bug frames: 24 bits of distance and a part of the line number in one PC32 field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from command_line import explain, explained
from records import DATA

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.livepatch.bug_frames import BugTable, frame_word

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = forge((DATA / "cases" / "lp-03-bug-frame-line-bits.s").read_text())
SITE = 0xB
"""Where the trapping instruction is in `.text`."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "frame.livepatch"
    path.write_bytes(PAYLOAD)
    return path


def relocation(file: Path, name: str) -> dict[str, Any]:
    (entry,) = [entry for entry in explained("--reloc", name, file) if entry["kind"] == "relocation"]
    return entry


def test_the_first_word_leads_to_the_trapping_instruction(file: Path) -> None:
    result = Host(Hypervisor.model()).upload("frame", PAYLOAD)
    assert result.accepted
    address = {section.name: section.address for section in result.sections}
    found = relocation(file, ".bug_frames.2:0")
    assert int(found["target"]["address"], 16) == address[".text"] + SITE
    assert "section .text+0xb" in found["target"]["lies"]
    text = " ".join(explain("--reloc", ".bug_frames.2:0", file).stdout.split())
    distance = address[".text"] + SITE - address[".bug_frames.2"]
    assert f"signed distance from the frame to the trapping instruction, {distance:#x} ({distance})" in text
    # What the addend has, and what xen/include/asm-x86/bug.h takes for it although the distance borrowed one.
    assert "upper bits of the line number, 0x5c" in text
    assert "of what 32 bits reach" not in text
    assert "nothing that Xen uses" not in text


def test_the_second_word_leads_to_the_file_name(file: Path) -> None:
    result = Host(Hypervisor.model()).upload("frame", PAYLOAD)
    address = {section.name: section.address for section in result.sections}
    found = relocation(file, ".bug_frames.2:1")
    # The distance counts from the frame, the relocation from its field 4 bytes on; this addend leaves them out.
    assert int(found["target"]["address"], 16) == address[".rodata.str"] - 4
    text = " ".join(explain("--reloc", ".bug_frames.2:1", file).stdout.split())
    assert "second word of the bug frame" in text
    assert "lower bits of the line number, 0xc." in text


def test_the_longest_way_is_that_of_another_relocation(file: Path) -> None:
    text = " ".join(explain(file).stdout.split())
    assert "The longest way is that of .text:0 to printk: " in text


def test_a_word_leads_to_the_same_place_at_any_load_address(file: Path) -> None:
    text = " ".join(explain("--reloc", ".bug_frames.2:0", "--place", "0xffff82c000200000", file).stdout.split())
    # Both ends move with the payload.
    assert "first word of the bug frame at 0xffff82c0" in text
    assert "this payload's section .text+0xb" in text


@pytest.mark.parametrize(
    ("section", "offset", "is_word"),
    [
        *((".bug_frames.0", offset, True) for offset in (0, 4, 8, 12)),
        *((".bug_frames.3", offset, offset < 8) for offset in (0, 4, 8, 12)),
        (".bug_frames.3", 16, True),
        (".bug_frames.1", 2, False),
        (".bug_frames.4", 0, False),
        (".rodata", 0, False),
    ],
)
def test_which_fields_are_words_of_frames(section: str, offset: int, is_word: bool) -> None:
    assert (frame_word(section, offset, 0x1000 + offset, 0) is not None) is is_word


@pytest.mark.parametrize(
    ("stored", "distance", "line_bits"),
    [
        # A negative distance borrows one from the line's bits.
        (0x5BFFDFEB, -0x2015, 0x5C),
        (0x5C000010, 0x10, 0x5C),
        (0x00800000, -0x800000, 1),
        (0x7F7FFFFF, 0x7FFFFF, 0x7F),
    ],
)
def test_a_word_is_read_as_xen_reads_it(stored: int, distance: int, line_bits: int) -> None:
    word = frame_word(".bug_frames.2", 4, 0x2004, stored)
    assert word is not None
    assert (word.is_first, word.start, word.distance, word.line_bits) == (False, 0x2000, distance, line_bits)
    (frame,) = BugTable(2, 0x2000, bytes(4) + stored.to_bytes(4, "little")).frames()
    assert (frame.file, frame.line) == ((0x2000 + distance) % (1 << 64), line_bits)
