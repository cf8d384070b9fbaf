"""The window: inside it everything fits, one page outside it does not. `--place` is the judge (contract 4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsplice_loader import Hypervisor, load
from xsplice_loader.forge import forge
from xsplice_loader.relocation.window import Limit, distance_constraint, measure

SAMPLES = Path(__file__).parents[2] / "payloads"
MODEL = Hypervisor.model()
PAGE = 4096
LIMIT = Limit("relocation", ".text", 0, "far")


def sample(name: str) -> bytes:
    return forge((SAMPLES / f"{name}.s").read_text())


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.21.0"])
@pytest.mark.parametrize("name", ["hello", "data-bss", "two-functions"])
def test_the_ends_by_trying(name: str, release: str) -> None:
    data = sample(name)
    window = load(data, MODEL, release=release).window
    assert window is not None
    assert window.lowest is not None
    assert window.highest is not None
    assert window.covers_arena
    middle = (window.lowest + window.highest) // 2 // PAGE * PAGE
    for base in (window.lowest, window.lowest + PAGE, middle, window.highest - PAGE, window.highest):
        assert load(data, MODEL, release=release, place=base).accepted
    for base in (window.lowest - PAGE, window.highest + PAGE):
        assert load(data, MODEL, release=release, place=base).errno_name == "EOVERFLOW"


def test_the_window_does_not_depend_on_where_the_payload_stands() -> None:
    near, far = load(sample("hello"), MODEL).window, load(sample("hello"), MODEL, vmap="default").window
    assert near is not None
    assert far is not None
    assert (near.lowest, near.highest, near.tightest) == (far.lowest, far.highest, far.tightest)
    assert near.headroom is not None
    assert near.headroom > 0
    # spec/02 §6.5: the first address of the default range, 63 GiB below the lowest base that would do.
    assert near.lowest is not None
    assert far.headroom == 0xFFFF82C000201000 - near.lowest


def test_what_cannot_be_satisfied_is_named() -> None:
    window = load(sample("far-data"), MODEL).window
    assert window is not None
    assert (window.lowest, window.highest, window.headroom, window.covers_arena) == (None, None, None, False)
    assert "direct_map" in {edge.limit.symbol for edge in window.tightest}


def test_a_payload_without_displacements_fits_everywhere() -> None:
    window = load(sample("nop"), MODEL).window
    assert window is not None
    assert (window.lowest, window.tightest) == (0xFFFF800000000000, ())


def test_an_assumed_symbol_may_lie_anywhere_in_xen() -> None:
    source = """
        .text
        .globl  replacement
        .type   replacement, @function
replacement:
        call    only_that_build_has_it
        ret
        .size   replacement, . - replacement
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends 0123
        .livepatch_xen_depends 0123
        .build_id sha1
"""
    unknown = MODEL.assume()
    window = load(forge(source), unknown).window
    assert window is not None
    # The field is the byte behind the base, its addend -4; the symbol is at most a GiB above the start of Xen's text.
    needed = unknown.text_start + 2**30 - 4 - 1 - (2**31 - 1)
    assert window.lowest == -(-needed // PAGE) * PAGE
    assert window.covers_arena


def test_a_payload_that_never_got_so_far_has_none() -> None:
    assert load(b"no payload", MODEL).window is None


@given(st.integers(0, 2**64 - 1), st.sampled_from([1, -1]), st.integers(-3, 3), st.booleans())
def test_each_constraint_ends_where_the_sum_stops_fitting(fixed: int, sign: int, step: int, at_low: bool) -> None:
    constraint = distance_constraint(fixed, sign, LIMIT)  # type: ignore[arg-type]
    base = ((constraint.low if at_low else constraint.high) + step) % 2**64
    value = (fixed + sign * base) % 2**64
    fits = value < 2**31 or value >= 2**64 - 2**31
    inside = (base - constraint.low) % 2**64 <= (constraint.high - constraint.low) % 2**64
    assert inside == fits


def test_constraints_at_the_top_of_the_address_space() -> None:
    # A symbol near 0 is within reach of the highest 2 GiB only (never-placed symbols, spec/02 §1).
    window = measure([distance_constraint(0, -1, LIMIT)], base=2**64 - 2**20, size=PAGE, arena=(0, 0))
    assert window.lowest == 2**64 - 2**31 + PAGE
    assert window.highest == 2**64 - PAGE
