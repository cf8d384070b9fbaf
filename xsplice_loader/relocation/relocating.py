"""All relocations of a payload, section by section in the order of the section table (`spec/01 §11`, `spec/03 §3`).

The engine applies what can be applied; what is left is examined row by row (`refusals`), and becomes findings.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.relocation import engine
from xsplice_loader.relocation.joint import apply as apply_jointly
from xsplice_loader.relocation.joint import joint_of
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import totals
from xsplice_loader.results import RelocationTotals

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.memory.address_map import AddressMap
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.relocation.instructions import InstructionFinder
    from xsplice_loader.relocation.resolution import ResolvedSymbols


class Relocated(NamedTuple):
    """What came of all relocations of a payload."""

    totals: RelocationTotals
    refused: dict[int, list[int]]
    """Per target section the offsets of fields that were left as they are."""


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
        return Relocated(RelocationTotals(total, {**by_type}), {})
    has_raw_values = bool((symbols.unplaced & symbols.usable).any())
    counts: Counter[int] = Counter()
    finders: dict[int, InstructionFinder] = {}
    refused: dict[int, list[int]] = {}
    for group in relocation_sections(payload, findings):
        target = engine.Target(
            _contents(group.target, placement, image), placement.addresses.get(group.target.index, 0)
        )
        applied = engine.apply(group.entries, symbols, target)
        counts.update(applied.counts)
        if applied.faulty:
            refused.setdefault(group.target.index, []).extend(group.entries["offset"][applied.faulty].tolist())
        if applied.faulty or has_raw_values:
            # Not on the way of a payload that is in order: with what it needs it takes longer to import than to load.
            from xsplice_loader.relocation.refusals import Examiner  # noqa: PLC0415

            examiner = Examiner(payload, group, symbols, target, areas, findings, finders)
            counts.update(examiner.look_at(applied.faulty))
    return Relocated(totals(counts), refused)


def _contents(target: Section, placement: Placement, image: np.ndarray) -> np.ndarray:
    address = placement.addresses.get(target.index)
    if address is None:
        return np.zeros(0, np.uint8)
    start = address - placement.base
    return image[start : start + target.size]
