"""What every design of an allocator has to do, and what each does in its own way."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from xsplice_loader.memory.vmap import Bitmap, Vmap, XenVmap
from xsplice_loader.memory.vmap.callback import CallbackVmap, NextFitVmap
from xsplice_loader.memory.vmap.loader import LoaderVmap
from xsplice_loader.memory.vmap.slots import SlotsVmap
from xsplice_loader.memory.vmap.tree import TreeVmap

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
PAGES = 32768
START, END = 0xFFFF82D040800000, 0xFFFF82D048800000
"""128 MiB: 32768 pages, the range of the mail, and exactly one page of a bitmap."""
FAR, FAR_END = 0xFFFF82C000000000, 0xFFFF82C008000000


def far() -> Bitmap:
    return Bitmap(FAR, FAR_END)


class Design(NamedTuple):
    make: Callable[[], Vmap]
    start: int
    unusable: int
    """Pages at the start of the range that are never given out."""
    gap: int
    """Free pages that there must be beside the area's own, between two others."""
    gap_at_end: int
    """The same, behind the last area."""
    lead: int
    """Pages between the start of a hole and the area in it."""
    first_page: bool
    """Any address in the first page is recognised, not only the first."""
    lowest: bool = True
    """The lowest hole that fits is taken."""


DESIGNS = {
    # 1 page of bitmap, a guard page before each area, and the bit behind it must stay clear as well.
    "xen": Design(lambda: XenVmap(far(), arena := Bitmap(START, END), chosen=arena), START, 1, 2, 1, 1, True),
    "default": Design(lambda: XenVmap(near := far(), Bitmap(START, END), chosen=near), FAR, 1, 2, 1, 1, True),
    "callback": Design(lambda: NextFitVmap(far(), START, END), START, 0, 0, 0, 0, False, lowest=False),
    "slots": Design(lambda: SlotsVmap(START, END), START, 1, 2, 1, 1, False),
    # The guard page is the last one of each area.
    "tree": Design(lambda: TreeVmap(START, END), START, 0, 1, 1, 0, False),
    # No guard pages, but the last page of the range stays unused (spec/02 §7.2).
    "loader": Design(lambda: LoaderVmap(START, END), START, 0, 0, 1, 0, False),
}
each = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def reserve(vmap: Vmap, pages: int) -> int:
    address = vmap.reserve(range(pages))
    assert address is not None
    return address


class Model:
    """A dict of areas, and a walk over all holes between them."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.areas: dict[int, int] = {}

    def holes(self) -> list[tuple[int, int]]:
        """Return start and pages of every hole, the last one last."""
        design = self.design
        taken_by_guard = design.gap if design.lead == 0 else 0
        holes, start = [], design.start + design.unusable * PAGE
        for area in sorted(self.areas):
            holes.append((start, (area - start) // PAGE))
            start = area + (self.areas[area] + taken_by_guard) * PAGE
        return [*holes, (start, (design.start + PAGES * PAGE - start) // PAGE)]

    def fitting(self, pages: int) -> list[int]:
        """Return where areas may start: the lowest address of every hole that is large enough."""
        holes = self.holes()
        gaps = [self.design.gap] * (len(holes) - 1) + [self.design.gap_at_end]
        lead = self.design.lead * PAGE
        return [
            start + lead
            for (start, length), gap in zip(holes, gaps, strict=True)
            if length > 0 and length >= pages + gap
        ]

    def size(self, address: int) -> int:
        return self.areas.get(address - address % PAGE if self.design.first_page else address, 0)

    def overlaps(self, address: int, pages: int) -> bool:
        return any(
            address < start + length * PAGE and start < address + pages * PAGE for start, length in self.areas.items()
        )


class AgainstTheModel(RuleBasedStateMachine):
    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.vmap = design.make()
        self.model = Model(design)

    def some_area(self, number: int) -> int:
        return sorted(self.model.areas)[number % len(self.model.areas)]

    @rule(pages=st.one_of(st.integers(1, 16), st.integers(1, 4), st.integers(1000, 20000)))
    def reserve(self, pages: int) -> None:
        fitting = self.model.fitting(pages)
        address = self.vmap.reserve(range(pages))
        if address is None or self.design.lowest:
            assert address == (fitting[0] if fitting else None)
        if address is not None:
            assert address % PAGE == 0
            assert self.design.start <= address
            assert address + pages * PAGE <= self.design.start + PAGES * PAGE
            assert not self.model.overlaps(address, pages)
            self.model.areas[address] = pages

    @precondition(lambda self: self.model.areas)
    @rule(number=st.integers(0, 1000), offset=st.sampled_from([0, 0, 0, 1, 0x800, PAGE]))
    def release(self, number: int, offset: int) -> None:
        address = self.some_area(number) + offset
        size = self.model.size(address)
        self.vmap.release(address)
        if size:
            del self.model.areas[address - address % PAGE]
        assert self.vmap.size(address) == 0

    @precondition(lambda self: self.model.areas)
    @rule(number=st.integers(0, 1000), offset=st.integers(-PAGE, 17 * PAGE))
    def look(self, number: int, offset: int) -> None:
        start = self.some_area(number)
        for address in (start, start + offset, start + offset // PAGE * PAGE):
            size = self.model.size(address)
            assert self.vmap.size(address) == size
            assert self.vmap.owns(address) == bool(size)

    @rule()
    def go_on_with_a_copy(self) -> None:
        left_behind = self.vmap
        self.vmap = self.vmap.copy()
        for address in [*self.model.areas, left_behind.reserve(range(3)) or 0]:
            left_behind.release(address)

    def teardown(self) -> None:
        for address, pages in self.model.areas.items():
            assert self.vmap.size(address) == pages
            self.vmap.release(address)
        # Everything was given back: as much fits as at first.
        most = PAGES - self.design.unusable - self.design.gap_at_end
        assert self.vmap.reserve(range(most + 1)) is None
        assert self.vmap.reserve(range(most)) == self.design.start + (self.design.unusable + self.design.lead) * PAGE


@each
def test_against_a_model(design: Design) -> None:
    # Any callable that makes a machine will do, whatever the annotation says.
    run_state_machine_as_test(
        lambda: AgainstTheModel(design),  # type: ignore[arg-type]
        settings=settings(max_examples=190, stateful_step_count=100, deadline=None, database=None),
    )


@each
def test_many_areas(design: Design) -> None:
    random = Random(2016)
    vmap, model = design.make(), Model(design)
    for step in range(1500):
        if step >= 150:
            address = random.choice(sorted(model.areas))
            vmap.release(address)
            del model.areas[address]
        pages = random.randint(1, 16)
        found = vmap.reserve(range(pages))
        assert found is not None
        assert found == model.fitting(pages)[0] or not design.lowest
        assert not model.overlaps(found, pages)
        model.areas[found] = pages


@each
def test_first_addresses(design: Design) -> None:
    vmap = design.make()
    first = reserve(vmap, 3)
    assert first == design.start + (design.unusable + design.lead) * PAGE
    second = reserve(vmap, 2)
    guards = 1 if design.gap else 0
    assert second == first + (3 + guards) * PAGE
    assert reserve(vmap, 1) == second + (2 + guards) * PAGE


@each
def test_size_and_owner(design: Design) -> None:
    vmap = design.make()
    first, second = reserve(vmap, 3), reserve(vmap, 2)
    assert [vmap.size(first), vmap.size(second)] == [3, 2]
    inside = 3 if design.first_page else 0
    assert [vmap.size(first + offset) for offset in (1, 0x800, 0xFFF)] == [inside] * 3
    assert [vmap.owns(first + offset) for offset in (1, 0x800, 0xFFF)] == [design.first_page] * 3
    assert [vmap.size(first + page * PAGE) for page in (1, 2)] == [0, 0]
    for stranger in (0, first - PAGE, first + PAGE, END, FAR_END, 1 << 64, -PAGE):
        assert vmap.size(stranger) == 0
        assert not vmap.owns(stranger)


@each
def test_a_stranger_is_passed_over(design: Design) -> None:
    vmap = design.make()
    held = [reserve(vmap, pages) for pages in (3, 2, 4)]
    twin = vmap.copy()
    for stranger in (0, held[0] - PAGE, held[0] + PAGE, held[2] + PAGE, END, FAR_END, 1 << 64, -PAGE):
        vmap.release(stranger)
    assert [vmap.size(address) for address in held] == [3, 2, 4]
    assert vmap.reserve(range(5)) == twin.reserve(range(5))
    vmap.release(held[1])
    vmap.release(held[1])
    assert [vmap.size(address) for address in held] == [3, 0, 4]


@each
def test_full_and_unchanged(design: Design) -> None:
    vmap = design.make()
    held = []
    while (address := vmap.reserve(range(4000))) is not None:
        held.append(address)
    assert len(held) == 8
    before = vmap.copy()
    assert vmap.reserve(range(800)) is None
    assert vmap.reserve(range(PAGES * 2)) is None
    assert [vmap.size(address) for address in held] == [4000] * 8
    assert not vmap.owns(0)
    # What is left of the range is the same for one that was never refused anything.
    assert [vmap.reserve(range(pages)) for pages in (300, 300, 1)] == [
        before.reserve(range(pages)) for pages in (300, 300, 1)
    ]
    vmap.release(held[3])
    assert vmap.reserve(range(4000)) == held[3]


@each
def test_copies_are_independent(design: Design) -> None:
    vmap = design.make()
    first = reserve(vmap, 3)
    twin = vmap.copy()
    assert twin.probes == 0
    assert twin.size(first) == 3
    assert twin.reserve(range(2)) == vmap.reserve(range(2))
    twin.release(first)
    assert (vmap.size(first), twin.size(first)) == (3, 0)
    second = reserve(twin, 1)
    assert second == first or not design.lowest
    assert vmap.size(first) == 3


@each
def test_no_pages_get_an_address_that_is_nobodys(design: Design) -> None:
    vmap = design.make()
    held = [reserve(vmap, 0), reserve(vmap, 2), reserve(vmap, 0), reserve(vmap, 3)]
    assert len(set(held)) == 4
    vmap.release(held[0])
    vmap.release(held[2])
    assert [vmap.size(address) for address in (held[1], held[3])] == [2, 3]


@each
def test_the_last_page_of_the_range(design: Design) -> None:
    vmap = design.make()
    most = PAGES - design.unusable - design.gap_at_end
    assert vmap.reserve(range(most + 1)) is None
    last = reserve(vmap, most)
    # Only the guard page behind an area, and the page that version 4 never uses, are left.
    left = {"tree": 1, "loader": 1}
    name = next(name for name, other in DESIGNS.items() if other is design)
    assert last + most * PAGE == design.start + (PAGES - left.get(name, 0)) * PAGE


def test_probes() -> None:
    # spec/05 §2: one vfree of the draft walks the list three times, the array is searched as a whole.
    draft = NextFitVmap(far(), START, END)
    held = [reserve(draft, 1) for _ in range(10)]
    draft.probes = 0
    draft.size(held[0])
    assert draft.probes == 10
    draft.probes = 0
    draft.release(held[0])
    assert draft.probes == 30
    slots = SlotsVmap(START, END)
    slots.probes = 0
    slots.owns(START)
    assert slots.probes == 32768
    # Two walks, one in the other: the k-th payload is stepped over in round k, after k looks.
    loader = LoaderVmap(START, END)
    for _ in range(10):
        reserve(loader, 1)
    loader.probes = 0
    reserve(loader, 1)
    assert loader.probes == sum(range(1, 11))
    # The final design looks at the same few bits, whatever else is loaded.
    final = DESIGNS["xen"].make()
    first = reserve(final, 3)
    final.probes = 0
    final.size(first)
    alone = final.probes
    for _ in range(1000):
        reserve(final, 2)
    final.probes = 0
    final.size(first)
    assert final.probes == alone


def test_the_bitmap_of_the_draft_stays_in_charge_of_its_own() -> None:
    default = far()
    own = default.allocate(2)
    assert own is not None
    draft = CallbackVmap(default, lambda _mfns, _pages: own)
    assert draft.reserve([1]) is None
    assert (draft.size(own), draft.size(own + 0x800)) == (2, 2)
    draft.release(own + 0x800)
    assert not draft.owns(own)
    assert draft.reserve([1]) == own


def test_the_latest_record_is_found_first() -> None:
    fixed = CallbackVmap(far(), lambda _mfns, _pages: START)
    assert fixed.reserve([1, 2]) == fixed.reserve([3]) == START
    assert fixed.size(START) == 1
    twin = fixed.copy()
    fixed.release(START)
    assert (fixed.size(START), twin.size(START)) == (2, 1)


def test_a_range_smaller_than_a_page_of_the_bitmap() -> None:
    # spec/02 §6.2: the range for payloads of Arm has 512 pages, and its bitmap 32768 bits.
    arm = 0x800000, 0xA00000
    final = XenVmap(far(), bitmap := Bitmap(*arm), chosen=bitmap)
    beyond = reserve(final, 600)
    assert beyond + 600 * PAGE > arm[1]
    for bounded in (SlotsVmap(*arm), TreeVmap(*arm), LoaderVmap(*arm), NextFitVmap(far(), *arm)):
        assert bounded.reserve(range(513)) is None
        held = reserve(bounded, 500)
        assert bounded.reserve(range(13)) is None
        bounded.release(held)
        assert bounded.reserve(range(500)) == held
