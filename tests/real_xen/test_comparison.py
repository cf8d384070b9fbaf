"""A difference in any field is found, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from records import recorded_hypervisor, single_uploads

from real_xen.case import payload_case
from real_xen.comparison import Comparer
from real_xen.foretelling import Foretold, Image, foretell
from real_xen.legitimate import is_fault_of_machine
from real_xen.machine import FELL, Died
from real_xen.observation import Observed, Text
from xsplice_loader.results import Finding
from xsplice_loader.rules.tables import CONTENTS_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

HYPERVISOR = recorded_hypervisor("4.17.7")
START = HYPERVISOR.symbols.address_of(b"_stext") or 0
TEXT = Text(START, START + 0x110000)
BOOTED = bytes(TEXT.end - TEXT.start)


@pytest.fixture(scope="module")
def foretold() -> tuple[Foretold, ...]:
    (record,) = (record for record in single_uploads("4.17.7") if record.name == "ok-plain")
    return tuple(foretell(payload_case("ok-plain", record.data), HYPERVISOR, ()))


def as_foretold(step: Foretold) -> Observed:
    """Return what would be seen if everything came as foretold."""
    text = bytearray(BOOTED)
    for address, byte in step.written.items():
        text[address - TEXT.start] = byte
    log = tuple(line or "" for line in step.step.log)
    return Observed(
        step.command, step.step.rc, step.step.out, step.step.err, log, step.listing, step.x, dict(step.images),
        bytes(text), {address: site.contents for address, site in step.sites.items()}, None,
    )  # fmt: skip


def fields(foretold: Sequence[Foretold], number: int, **changes: Any) -> list[str]:
    """Return the fields that differ when what was seen in one step is changed."""
    observed = [as_foretold(step) for step in foretold]
    observed[number] = observed[number]._replace(**changes)
    return [
        difference.field for difference in Comparer(HYPERVISOR, TEXT, BOOTED).compare(foretold, observed).differences
    ]


def test_nothing_differs_where_all_came_as_foretold(foretold: tuple[Foretold, ...]) -> None:
    assert len(foretold) == 4
    assert fields(foretold, 0) == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("exit status", {"rc": 1}),
        ("output", {"out": ("something else",)}),
        ("errors", {"err": ("a word",)}),
        ("errno", {"err": ("Error 22: Invalid argument",)}),
        ("log", {"xen": ("livepatch: ok-plain: of another mind",)}),
        ("console", {"xen": ("Xen WARN at x.c:1",)}),
        ("list", {"listing": ()}),
        ("key x", {"x": ()}),
        ("memory of ok-plain", {"images": {}}),
        ("life", {"died": Died("the machine hangs", ())}),
    ],
)
def test_a_field_that_differs_is_named(foretold: tuple[Foretold, ...], field: str, changes: dict[str, Any]) -> None:
    assert field in fields(foretold, 0, **changes)


def test_one_byte_of_a_payload_is_noticed(foretold: tuple[Foretold, ...]) -> None:
    image = foretold[1].images["ok-plain"]
    spoilt = Image(image.address, image.contents[:-1] + b"\x01")
    assert fields(foretold, 1, images={"ok-plain": spoilt}) == ["memory of ok-plain"]


def test_one_byte_of_the_hypervisor_is_noticed(foretold: tuple[Foretold, ...]) -> None:
    spoilt = np.frombuffer(BOOTED, np.uint8).copy()
    spoilt[0x5000] = 1
    assert fields(foretold, 0, text=spoilt.tobytes()) == ["text"]


def test_a_machine_that_dies_of_patched_code_is_excused(foretold: tuple[Foretold, ...]) -> None:
    observed = [as_foretold(step) for step in foretold]
    finished = (*observed[1].xen,)
    assert finished[-1] == "livepatch: ok-plain finished APPLY with rc=0"
    observed[1] = observed[1]._replace(died=Died("the hypervisor crashed", ()))
    comparison = Comparer(HYPERVISOR, TEXT, BOOTED).compare(foretold, observed[:2])
    assert not comparison.differences
    assert [rule.id for rule in comparison.excused] == ["patched-code"]


def test_bytes_that_are_unknown_are_not_compared_and_all_others_are(foretold: tuple[Foretold, ...]) -> None:
    image = foretold[1].images["ok-plain"]
    unsure = image._replace(unknown=frozenset({image.address + 3}))
    expected = (foretold[0], foretold[1]._replace(images={"ok-plain": unsure}), *foretold[2:])

    def seen(offset: int) -> tuple[list[str], list[str]]:
        contents = bytearray(image.contents)
        contents[offset] ^= 1
        observed = [as_foretold(step) for step in foretold]
        observed[1] = observed[1]._replace(images={"ok-plain": Image(image.address, bytes(contents))})
        found = Comparer(HYPERVISOR, TEXT, BOOTED).compare(expected, observed)
        return [difference.field for difference in found.differences], [rule.id for rule in found.excused]

    assert seen(3) == ([], ["unknown"])
    assert seen(2) == (["memory of ok-plain"], ["unknown"])
    assert seen(4) == (["memory of ok-plain"], ["unknown"])


def test_only_what_is_said_of_an_unknown_target_is_left_out(foretold: tuple[Foretold, ...]) -> None:
    said = "altcall 0xffff82d0405a7000 dest strlen has no endbr64"
    step = foretold[0].step
    unsure = foretold[0]._replace(
        step=step._replace(findings=(*step.findings, Finding(rule=CONTENTS_UNKNOWN.id, severity="warning", message="")))
    )

    def differing(expected: Foretold, line: str) -> list[str]:
        observed = [as_foretold(one) for one in foretold]
        observed[0] = observed[0]._replace(xen=(*observed[0].xen, line))
        found = Comparer(HYPERVISOR, TEXT, BOOTED).compare((expected, *foretold[1:]), observed)
        return [difference.field for difference in found.differences]

    assert differing(unsure, said) == []
    assert differing(unsure, "Xen WARN at x.c:1") == ["console"]
    assert differing(foretold[0], said) == ["console"]


@pytest.mark.parametrize(("reason", "is_fault"), [(FELL, True), ("the hypervisor crashed", False)])
def test_a_fall_of_the_domain_is_told_from_one_of_xen(
    foretold: tuple[Foretold, ...], reason: str, is_fault: bool
) -> None:
    died = as_foretold(foretold[0])._replace(rc=None, died=Died(reason, ()))
    assert is_fault_of_machine(died, foretold[0]) is is_fault
