"""The walk over every payload at hand, and what it says of some."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from records import DATA, chain, recorded_hypervisor, single_uploads

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.report.explain import Style, lesson_lines
from xsplice_loader.report.explain_document import encode, relocation_entry, walk_entry
from xsplice_loader.report.explain_walk import walk_lines
from xsplice_loader.report.paint import plain
from xsplice_loader.rules import RULES
from xsplice_loader.teaching.anatomy import NeverPlacedError, anatomy
from xsplice_loader.teaching.blocks import Listing, Table
from xsplice_loader.teaching.relocation_blocks import relocation_blocks
from xsplice_loader.teaching.scene import silent
from xsplice_loader.teaching.topics.cases import SMALL, load
from xsplice_loader.teaching.walk import retrace, scene_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.teaching.scene import Scene
    from xsplice_loader.teaching.walk import Walk

SAMPLES = sorted((Path(__file__).parents[2] / "payloads").glob("*.s"))
WAYS: tuple[dict[str, Any], ...] = ({}, {"vmap": "default"}, {"release": "4.9.0"}, {"place": 0xFFFF82D050000000})


def told(scene: Scene) -> Walk:
    """Show a walk in every form, and each kind of relocation."""
    walk = retrace(scene)
    assert list(walk_lines(walk, Style(80, plain, verbosity=1)))
    assert list(walk_lines(walk, Style(120, plain)))
    json.loads(encode(walk_entry(walk)))
    for section, index in _relocations(scene):
        try:
            found = anatomy(scene, section, index)
        except NeverPlacedError:
            continue
        assert list(lesson_lines(relocation_blocks(found), Style(80, plain)))
        json.loads(encode(relocation_entry(scene.result, found, (section, index))))
    _check_order(walk)
    return walk


def _relocations(scene: Scene) -> Iterator[tuple[str, int]]:
    """Yield a few relocations of every table that is applied."""
    if scene.payload is not None and scene.trace is not None:
        for group in relocation_sections(scene.payload, silent(scene.release)):
            yield from ((group.section.text_name, index) for index in range(min(len(group.entries), 4)))


def _check_order(walk: Walk) -> None:
    outcomes = [step.outcome for step in walk.steps]
    assert sum(outcome in ("refused", "crash") for outcome in outcomes) == (walk.result.verdict != "accepted")
    found = [finding for step in walk.steps for finding in step.found]
    assert sorted(map(id, found)) == sorted(map(id, walk.result.findings))
    for step in walk.steps:
        assert {finding.rule for finding in step.found if finding.severity == "error"} <= {*step.rules}
        assert {*step.rules} <= {*RULES}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_sample(sample: Path) -> None:
    data = forge(sample.read_text())
    for options in WAYS:
        host = Host(Hypervisor.model(), **options)
        told(scene_of(host, host.upload(sample.stem, data), data, ()))


def test_every_recorded_payload() -> None:
    for record in single_uploads("4.17.7"):
        for options in WAYS:
            host = Host(recorded_hypervisor("4.17.7"), nops="k8", **options)
            told(scene_of(host, host.upload(record.name, record.data), record.data, ()))


@pytest.mark.parametrize("archive", ["variants.zip", "tables.zip"])
def test_every_recorded_variant(archive: str) -> None:
    with zipfile.ZipFile(DATA / "real-xen-4.17.7" / archive) as payloads:
        for name in payloads.namelist():
            data = payloads.read(name)
            host = Host(recorded_hypervisor("4.17.7"), nops="k8")
            told(scene_of(host, host.upload(name, data), data, ()))


def test_a_recorded_chain_knows_what_lies_below() -> None:
    host = Host(recorded_hypervisor("4.17.7"), nops="k8")
    for record in chain("4.17.7"):
        below = host.payloads
        scene = scene_of(host, host.upload(record.name, record.data), record.data, below)
        walk = told(scene)
        assert walk.result.verdict == record.verdict
        assert (scene.loaded is not None) is (record.verdict == "accepted")


def test_the_bitmap_is_drawn_as_it_is() -> None:
    """`spec/02 §6.5`: 8 pages of bitmap, a guard page, three pages; the next one behind a guard of its own."""
    host = Host(Hypervisor.model())
    first = load(SMALL, "first", host=host)
    names = ("replacement", "message_length", "message")
    source = SMALL.replace("build_id a1", "build_id b2")
    for name in names:
        source = source.replace(name, f"second_{name}")
    second = load(source, "second", host=host)
    drawn = []
    for scene in (first, second):
        (step,) = (step for step in retrace(scene).steps if step.name == "placement")
        (listing,) = (block for block in step.told if isinstance(block, Listing))
        drawn.append(listing.lines[0].split()[-1])
    assert drawn[1].startswith("########.###gPPP.")
    # Told after both were loaded, the first sees the second's pages too.
    assert drawn[0].startswith("########gPPP.###.")


def test_the_sections_are_placed_as_recorded() -> None:
    (record,) = (record for record in single_uploads("4.17.7") if record.name == "ok-data-bss")
    placed = record.placed
    assert placed is not None
    host = Host(recorded_hypervisor("4.17.7"), nops="k8")
    scene = scene_of(host, host.upload(record.name, record.data), record.data, ())
    (step,) = (step for step in retrace(scene).steps if step.name == "placement")
    (table,) = (block for block in step.told if isinstance(block, Table))
    for region in ("text", "rw", "ro"):
        addresses = [int(row[3], 16) for row in table.rows if row[2] == region]
        assert min(addresses) == int(placed[f"{region}_addr"], 16)
