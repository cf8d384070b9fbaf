"""Lessons: each is told, in bounds, and says what is known from elsewhere."""

from __future__ import annotations

import re

import pytest
from command_line import explain, explained

from xsplice_loader.teaching.topics import TOPICS

# What must stand in a lesson, and who says so.
KNOWN = {
    # spec/02 §9: distances from the text, with the bits that they take.
    "vmap": (
        "-66.0010 (38) -2.0010 (33)",
        "-66.0020 (38) -2.0020 (33)",
        "-65.0020 (38) -1.0020 (32)",
        "0xffff82c000201000",
    ),
    # The psABI's signed 32 bits.
    "overflow": ("2,147,483,647 32 2,147,483,647 yes", "-2,147,483,649 33 2,147,483,647 no", "EOVERFLOW (75)"),
    # spec/05 §3.
    "history": ("2016-04-01", "2016-04-26", "2016-06-20", "xen: the first address yes, 0x800 bytes behind it yes"),
    # spec/02 §6.5 (exact refit) and §6.1.
    "allocators": ("########.###.##.", "sizes: 3 and 2", "sizes: 6 and 0", "two pages again: the same place"),
    # spec/04 §2: e9 and what is left from behind the jump.
    "trampoline": ("e9 9b cf 00 00", "0xffff82d04020d000 - (0xffff82d040200060 + 5) = 0xcf9b"),
    # spec/04 §2.1.
    "endbr": ("f3 0f 1e fa e9", "4 + 5 = 9", "4.14.5, 4.15.3, 4.16.1, 4.17.0", "[XSP230]"),
    # spec/04 §6: the top is reverted first, what a payload stands on is on top.
    "stack": (
        "apply top refused, EINVAL (-22) none",
        "revert base refused, EBUSY (-16) base, top",
        "replace all done all",
    ),
    # spec/01 §3: when the wish for a Xen is looked at.
    "release": ("4.18.3 refused, EOPNOTSUPP (95)", "4.18.4 refused, EINVAL (22) at build-id", "4.7.0 would crash Xen"),
    "refusal": ("Overflow in relocation 3 in .rela.text for .text", "absolute"),
    "symbols": ("common/kernel.c#pack_version", "duplicate new symbol: strlen", "the payload base, loaded before"),
    # spec/02 §1: the rule of 4.8 up to SET-A.
    "placement": ("4.14.4 accepted refused, EOVERFLOW (75)", "4.14.5 accepted accepted", "########gPPP"),
    "relocation": ("S + A - P = 0xffff82d040200070 - 0x4 - 0xffff82d04020d008 = -0xcf9c", "64 30 ff ff"),
    "window": ("All of the payload range lies inside",),
}


@pytest.mark.parametrize("name", TOPICS)
def test_a_lesson_says_what_is_known(name: str) -> None:
    result = explain(name)
    assert (result.exit_code, result.stderr) == (0, "")
    told = " ".join(result.stdout.split())
    assert [words for words in KNOWN[name] if words not in told] == []
    assert 20 <= result.stdout.count("\n") <= 120


def test_the_window_is_what_the_loader_says() -> None:
    """The lesson's own table: inside accepted, one page outside refused, by the loader placed there by hand."""
    (entry,) = explained("window")
    (rows,) = (
        block["rows"] for block in entry["told"] if block["block"] == "table" and block["head"][0] == "placed at"
    )
    bases = [int(base, 16) for base, _ in rows]
    assert [verdict.split(",")[0] for _, verdict in rows] == ["refused", "accepted", "accepted", "refused"]
    assert [bases[1] - bases[0], bases[3] - bases[2]] == [4096, 4096]
    # The call at +8 ends 4 bytes behind its field; strlen is at 0xffff82d040200070 in the model (nm).
    assert 0xFFFF82D040200070 - (bases[1] + 0xC) < 2**31 <= 0xFFFF82D040200070 - (bases[0] + 0xC)


def test_sums_are_right() -> None:
    """Every `S + A - P = a - b - c = d` that a lesson shows is one."""
    text = " ".join(explain("relocation").stdout.split()) + " ".join(explain("overflow").stdout.split())
    sums = re.findall(r"S \+ A - P = (0x\w+) ([+-]) (0x\w+) - (0x\w+) = (-?0x\w+)", text)
    assert sums
    for s, sign, a, p, value in sums:
        assert int(s, 16) + int(sign + a, 16) - int(p, 16) == int(value, 16)


def test_probes_grow_as_the_designs_do() -> None:
    """`spec/02 §7`: a word or two of the bitmap, a list once, nested walks with the square."""
    (entry,) = explained("allocators")
    (rows,) = (block["rows"] for block in entry["told"] if block["block"] == "table")
    probes = {row[0]: [int(cell) for cell in row[1:4]] for row in rows}
    assert probes["xen"][-1] <= 32
    assert probes["callback"] == [10, 100, 400]
    assert probes["loader"][2] == pytest.approx(400**2 / 2, rel=0.1)
    assert probes["loader"][1] == pytest.approx(100**2 / 2, rel=0.1)
