"""An entry of the function table that is taken at one glance is one in which the tests, gone through, find nothing."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from xsplice_loader import Hypervisor
from xsplice_loader.findings import Findings
from xsplice_loader.livepatch.functions import ENTRY, FunctionTable
from xsplice_loader.memory.address_space import AddressSpace
from xsplice_loader.releases import release
from xsplice_loader.relocation.resolution import Lookup

if TYPE_CHECKING:
    from xsplice_loader.releases import Release

MODEL = Hypervisor.model()
FUNCTION = MODEL.symbols.address_of(b"xen_extra_version") or 0
REACH = 1 << 31
OLD_ADDRESSES = (0, 1, FUNCTION, MODEL.text_end - 2, MODEL.image_end - 3, MODEL.image_end, (1 << 64) - 2)
DISTANCES = sorted({sign * REACH + step for sign in (-1, 0, 1) for step in range(-10, 11)})
SIZES = (0, 1, 4, 5, 8, 9, 31, 32)


def read(entry: tuple[int, ...], rules: Release, memory: AddressSpace) -> tuple[object, ...]:
    findings = Findings(rules)
    table = bytearray(ENTRY.pack(*entry).ljust(rules.function_entry_size, b"\0"))
    entries = FunctionTable(memory, Lookup(lambda _: FUNCTION, lambda _: (), None), findings).read(table, ())
    return entries, bytes(table), [finding.rule for finding in findings], findings.lines


@pytest.mark.parametrize("name", ["4.7.0", "4.8.0", "4.13.0", "4.14.6", "4.17.7", "4.20.3"])
def test_both_ways_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = release(name)
    memory = AddressSpace(MODEL.at_run_time)
    memory.map_pages(MODEL.arena_start, [1])
    entries = [
        (
            MODEL.arena_start,
            (old + distance) % (1 << 64) if distance is not None else 0,
            old,
            new_size,
            old_size,
            version,
        )
        for old, distance in product(OLD_ADDRESSES, (None, *DISTANCES))
        for new_size, old_size in ((16, 16), *product(SIZES, SIZES))
        for version in (rules.function_version, 3)
        if distance in (None, 0, REACH) or new_size == old_size == 16
    ]
    short = [read(entry, rules, memory) for entry in entries]
    monkeypatch.setattr(FunctionTable, "_is_plain", lambda *_: False)
    assert short == [read(entry, rules, memory) for entry in entries]
    assert any(not rules_broken for _, _, rules_broken, _ in short)
