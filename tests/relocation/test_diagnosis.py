"""What is said of an overflow: numbers from spec/02 §9, causes in the order of the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsplice_loader.memory.address_map import address_map
from xsplice_loader.numbers import overrun, signed_bits, size_text
from xsplice_loader.releases import release
from xsplice_loader.relocation.diagnosis import Overflow, diagnose
from xsplice_loader.relocation.instructions import Instruction
from xsplice_loader.report.reach import reach_bar

XEN = 0xFFFF82D040200000
ARENA = 0xFFFF82D0405B0000
MAP = address_map(
    release("4.17.7"),
    text_start=XEN,
    image_end=0xFFFF82D0405A7000,
    arena_start=0xFFFF82D0405A7000,
    arena_end=0xFFFF82D07FEFF000,
)


def explain(s: int, a: int, p: int, **facts: object) -> Overflow:
    known: dict[str, object] = {
        "never_placed": False,
        "is_absolute": False,
        "symbol": "far",
        "instruction": None,
        "field": 3,
        "areas": MAP,
    }
    return diagnose(s, a, p, **{**known, **facts})  # type: ignore[arg-type]


def test_the_demo_of_4_7() -> None:
    # spec/02 §9: place 0xffff82c000000000, target _start of 4.7: the branch would land at 0xffff82bf80100000.
    found = explain(0xFFFF82D080100000, 0, 0xFFFF82C000000000)
    assert found.value == 0x1080100000
    assert found.lands_at == 0xFFFF82BF80100000
    assert found.bits == 38  # 66.001 GiB


@pytest.mark.parametrize(
    ("value", "bits"),
    # Distances from _start in spec/02 §9.
    [
        (-66 << 30, 38),
        ((-2 << 30) - (1 << 20), 33),
        ((-1 << 30) - (2 << 20), 32),
        ((1 << 30) - (1 << 20), 31),
        (190 << 30, 39),
    ],
)
def test_signed_bits(value: int, bits: int) -> None:
    assert signed_bits(value) == bits


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_bits_are_what_to_bytes_needs(value: int) -> None:
    bits = signed_bits(value)
    assert -(1 << bits - 1) <= value < 1 << bits - 1
    assert bits == 1 or not -(1 << bits - 2) <= value < 1 << bits - 2


def test_overrun_counts_from_the_first_value_that_does_not_fit() -> None:
    low, high = -(2**31), 2**31
    assert [overrun(v, low, high) for v in (low, high - 1, low - 1, high)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        ("never-placed", explain(0, -4, ARENA, never_placed=True)),
        ("never-placed", explain(0, -4, ARENA, never_placed=True, is_absolute=True)),
        ("addend", explain(XEN, 2**31 + 2**30, ARENA, instruction=Instruction(0, 7, "lea"))),
        ("absolute", explain(0xFFFF830000000000, -4, ARENA, is_absolute=True)),
        ("sign", explain(ARENA + 2**31 + 4, -4, ARENA)),
        ("sign", explain(ARENA + 2**32 - 1, 0, ARENA)),
        ("near-miss", explain(ARENA - 2**31 - 2, 0, ARENA)),
        ("near-miss", explain(ARENA - 2**31 - 2**30 + 1, 0, ARENA)),
        ("other-area", explain(0xFFFF830000000000, -4, ARENA)),
        ("other-area", explain(XEN, -4, 0xFFFF82C000201000)),
        ("far", explain(0xFFFF82D0C0000000 + (8 << 30), -4, ARENA)),
    ],
)
def test_causes(cause: str, found: Overflow) -> None:
    assert found.cause == cause


def test_the_area_that_sets_target_and_place_apart_is_named() -> None:
    assert explain(0xFFFF830000000000, -4, ARENA).area == "directmap"
    assert explain(XEN, -4, 0xFFFF82C000201000).area == "vmap"


def test_sizes_as_a_person_says_them() -> None:
    assert [size_text(size) for size in (1, 12, 1536, -(65 << 30), 125 << 40)] == [
        "1 byte",
        "12 bytes",
        "1.5 KiB",
        "65.0 GiB",
        "125.0 TiB",
    ]


def test_reach_bar_puts_the_target_where_it_is() -> None:
    assert reach_bar(-(1 << 30)).index("S") < reach_bar(-(1 << 30)).index("P")
    assert reach_bar(1 << 30).index("S") > reach_bar(1 << 30).index("P")
    assert reach_bar(65 << 30).endswith("65.0 GiB ~~> S")
    assert reach_bar(-(65 << 30)).startswith("S <~~ 65.0 GiB")
