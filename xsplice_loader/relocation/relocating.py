"""All relocations of a payload, section by section in the order of the section table (`spec/01 §11`, `spec/03 §3`).

The engine applies what can be applied; what is left is examined row by row (`refusals`), and becomes findings.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.payload import elf
from xsplice_loader.payload.object_file import rows_in
from xsplice_loader.relocation import engine
from xsplice_loader.relocation.joint import apply as apply_jointly
from xsplice_loader.relocation.joint import joint_of
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import totals
from xsplice_loader.results import RelocationTotals
from xsplice_loader.rules.sections import UPLOAD_OVERRUN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.findings import Findings
    from xsplice_loader.memory.address_map import AddressMap
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.relocation.instructions import InstructionFinder
    from xsplice_loader.relocation.resolution import ResolvedSymbols
    from xsplice_loader.relocation.sections import RelocationSection


class Relocated(NamedTuple):
    """What came of all relocations of a payload."""

    totals: RelocationTotals
    refused: dict[int, list[int]]
    """Per target section the offsets of fields that were left as they are."""
    entries: Mapping[int, np.ndarray]
    """By relocation section the entries as Xen found them, of those that it did not read in the upload buffer."""


def relocate(
    payload: ObjectFile,
    placement: Placement,
    symbols: ResolvedSymbols,
    image: np.ndarray,
    areas: AddressMap,
    findings: Findings,
) -> Relocated:
    """Apply every relocation of the payload to `image`, the payload's memory from its base on.

    Fields whose relocation is refused keep what the file has there.
    """
    joint = joint_of(payload, placement, findings.release)
    if joint is not None and apply_jointly(joint, placement, symbols, image):
        total, by_type = joint.totals
        return Relocated(RelocationTotals(total, {**by_type}), {}, {})
    has_raw_values = bool((symbols.unplaced & symbols.usable).any())
    counts: Counter[int] = Counter()
    finders: dict[int, InstructionFinder] = {}
    refused: dict[int, list[int]] = {}
    loaded: dict[int, np.ndarray] = {}
    for group in relocation_sections(payload, findings):
        target = engine.Target(
            _contents(group.target, placement, image), placement.addresses.get(group.target.index, 0)
        )
        if findings.release.passes_note_errors and group.section.index in placement.addresses:
            group, applied = _apply_loaded(group, placement, image, symbols, target)  # noqa: PLW2901
            loaded[group.section.index] = group.entries
        else:
            applied = engine.apply(group.entries, symbols, target)
        counts.update(applied.counts)
        if applied.faulty:
            refused.setdefault(group.target.index, []).extend(group.entries["offset"][applied.faulty].tolist())
        if applied.faulty or has_raw_values:
            # Not on the way of a payload that is in order: with what it needs it takes longer to import than to load.
            from xsplice_loader.relocation.refusals import Examiner  # noqa: PLC0415

            examiner = Examiner(payload, group, symbols, target, areas, findings, finders)
            counts.update(examiner.look_at(applied.faulty))
        _check_end(group, findings)
    return Relocated(totals(counts), refused, loaded)


def _apply_loaded(
    group: RelocationSection,
    placement: Placement,
    image: np.ndarray,
    symbols: ResolvedSymbols,
    target: engine.Target,
) -> tuple[RelocationSection, engine.Applied]:
    """Apply a relocation section that was itself loaded, and may have been relocated; it is read there, not as sent.

    Returns it with the entries as Xen found them.
    """
    start = placement.addresses[group.section.index] - placement.base
    count = group.section.size // group.section.entry_size
    live = rows_in(image, start, group.section.entry_size, count, elf.RELA)
    group = group._replace(entries=live.copy())
    if not np.may_share_memory(live, target.contents):
        return group, engine.apply(group.entries, symbols, target)
    # Each entry may change those after it.
    faulty: list[int] = []
    counts: Counter[int] = Counter()
    for row in range(len(live)):
        group.entries[row] = live[row]
        one = engine.apply(group.entries[row : row + 1], symbols, target)
        faulty += [row] if one.faulty else []
        counts.update(one.counts)
    return group, engine.Applied(faulty, counts)


def _check_end(group: RelocationSection, findings: Findings) -> None:
    """Test that the section's entries are all in mapped memory: its size may wrap, or have been changed."""
    count = group.section.size // group.section.entry_size
    if len(group.entries) < count:
        findings.add(
            UPLOAD_OVERRUN,
            f"{group.section.text_name} claims {count} entries, and Xen reads on after the end of mapped memory",
            stage="relocation",
            section=group.section.text_name,
            index=group.section.index,
        )


def _contents(target: Section, placement: Placement, image: np.ndarray) -> np.ndarray:
    address = placement.addresses.get(target.index)
    if address is None:
        return np.zeros(0, np.uint8)
    start = address - placement.base
    return image[start : start + target.size]
