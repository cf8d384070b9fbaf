"""Who would accept a relocation: Xen, another loader, or a linker.

Two loaders and three linkers, each with the values that it takes for a field of each type. They agree on fields of 32
bits and not on smaller ones; Linux's module loader looks at two types only and cuts the others without a word. What is
written here was measured with binutils 2.40, LLD 14 and mold 1.10, and read in Linux's loader for modules.

A policy judges relocations alone. Where a payload lands, which symbols it finds and everything else stays Xen's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.checking.cells import PolicyRow
from xsplice_loader.findings import Findings
from xsplice_loader.numbers import INT32, overrun, signed_bits
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import TYPES, type_name
from xsplice_loader.results import Finding
from xsplice_loader.rules import checking as rules
from xsplice_loader.rules import placing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace

UINT32 = (0, 1 << 32)
ANY = None
"""Whatever the value is: all of its bits are kept, or what does not fit is cut off unseen."""
Range = tuple[int, int] | None
MAX_ROWS = 1000
"""Relocations of one cell that are compared one by one."""
_LINKERS: dict[str, Range] = {
    "R_X86_64_NONE": ANY,
    "R_X86_64_64": ANY,
    "R_X86_64_PC64": ANY,
    "R_X86_64_32": UINT32,
    "R_X86_64_32S": INT32,
    "R_X86_64_PC32": INT32,
    "R_X86_64_PLT32": INT32,
    "R_X86_64_PC8": (-(1 << 7), 1 << 7),
}


class Policy(NamedTuple):
    """What one loader or linker takes."""

    name: str
    who: str
    ranges: Mapping[str, Range]
    """Type to the values that it takes, half open."""
    takes_others: bool
    """Whether types that are not listed are dealt with: a linker makes a table of addresses for them."""

    def accepts(self, kind: str, value: int | None) -> bool:
        """Tell whether a relocation of a type passes; without a value only the type counts."""
        if kind not in self.ranges:
            return self.takes_others
        fits = self.ranges[kind]
        return fits is None or value is None or fits[0] <= value < fits[1]


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            "xen",
            "Xen's live-patch loader",
            {"R_X86_64_NONE": ANY, "R_X86_64_64": ANY, "R_X86_64_PC32": INT32, "R_X86_64_PLT32": INT32},
            takes_others=False,
        ),
        Policy(
            "linux",
            "Linux's module loader",
            {
                "R_X86_64_NONE": ANY,
                "R_X86_64_64": ANY,
                "R_X86_64_32": UINT32,
                "R_X86_64_32S": INT32,
                "R_X86_64_PC32": ANY,
                "R_X86_64_PLT32": ANY,
                "R_X86_64_PC64": ANY,
            },
            takes_others=False,
        ),
        Policy(
            "bfd",
            "GNU ld",
            {
                **_LINKERS,
                "R_X86_64_8": (-(1 << 8), 1 << 8),
                "R_X86_64_16": (-(1 << 16), 1 << 16),
                "R_X86_64_PC16": (-(1 << 16), 1 << 16),
            },
            takes_others=True,
        ),
        Policy(
            "lld",
            "LLVM's ld.lld",
            {
                **_LINKERS,
                "R_X86_64_8": (-(1 << 7), 1 << 8),
                "R_X86_64_16": (-(1 << 15), 1 << 16),
                "R_X86_64_PC16": (-(1 << 15), 1 << 15),
            },
            takes_others=True,
        ),
        Policy(
            "mold",
            "mold",
            {
                **_LINKERS,
                "R_X86_64_8": (0, 1 << 8),
                "R_X86_64_16": (0, 1 << 16),
                "R_X86_64_PC16": (-(1 << 15), 1 << 15),
            },
            takes_others=True,
        ),
    )
}
_OF_XEN = frozenset((placing.UNHANDLED_TYPE.id, placing.OVERFLOW.id))
"""The rules in whose place a policy stands."""


class _Row(NamedTuple):
    """One relocation with its number."""

    group: RelocationSection
    entry: int
    symbol: int
    kind: str
    value: int | None


def under_policy(findings: tuple[Finding, ...], trace: LoadTrace, release: Release, policy: Policy) -> list[Finding]:
    """Return the findings with Xen's word on relocations replaced by the policy's."""
    kept = [finding for finding in findings if finding.rule not in _OF_XEN]
    refused = [_finding(row, trace, policy) for row in _refused(trace, release, (policy,))]
    # Relocations come before all that is looked at once they are applied, each in its place among Xen's own findings.
    first = next((i for i, found in enumerate(kept) if found.stage in ("relocation", *_AFTER_RELOCATION)), len(kept))
    last = next((i for i, found in enumerate(kept) if found.stage in _AFTER_RELOCATION), len(kept))
    order: dict[str | None, int] = {}
    for group in relocation_sections(trace.payload, Findings(release)):
        order.setdefault(group.target.text_name, len(order))
    of_relocations = sorted(
        [*kept[first:last], *refused], key=lambda found: (order.get(found.section, len(order)), found.index or 0)
    )
    return [*kept[:first], *of_relocations, *kept[last:]]


_AFTER_RELOCATION = ("special-sections", "patching-sections", "prepare", "symbol-table", "permissions")


def compared(trace: LoadTrace, release: Release) -> Iterator[PolicyRow]:
    """Yield the relocations that not every policy accepts, the first `MAX_ROWS` of them."""
    rows = _refused(trace, release, tuple(POLICIES.values()))
    for row, _ in zip(rows, range(MAX_ROWS), strict=False):
        accepted_by = tuple(policy.name for policy in POLICIES.values() if policy.accepts(row.kind, row.value))
        offset = int(row.group.entries["offset"][row.entry])
        symbol = trace.payload.symbol_name(row.symbol)
        yield PolicyRow(row.group.target.text_name, row.entry, offset, row.kind, symbol, row.value, accepted_by)


def _refused(trace: LoadTrace, release: Release, policies: tuple[Policy, ...]) -> Iterator[_Row]:
    """Yield the relocations that some of the policies refuse, in the order in which Xen meets them."""
    for group in relocation_sections(trace.payload, Findings(release)):
        address = trace.placement.addresses.get(group.target.index)
        if address is None:
            continue
        entries = group.entries
        index = np.where(entries["symbol"] < len(trace.symbols.values), entries["symbol"], 0)
        judged = trace.symbols.usable[index]
        plain = trace.symbols.values[index] + entries["addend"].view(np.uint64)
        relative = plain - entries["offset"] - np.uint64(address)
        refused: list[_Row] = []
        for number in np.unique(entries["type"][judged]).tolist():
            rows = np.flatnonzero(judged & (entries["type"] == number))
            kind, known = type_name(number), TYPES.get(number)
            has_value = known is not None and known.formula in ("S + A", "S + A - P")
            values = (relative if known is not None and known.is_relative else plain).view(np.int64)[rows]
            passes = np.ones(len(rows), bool)
            for policy in policies:
                passes &= _passing(policy, kind, values) if has_value else policy.accepts(kind, None)
            refused += [
                _Row(group, row, int(index[row]), kind, int(value) if has_value else None)
                for row, value in zip(rows[~passes].tolist(), values[~passes].tolist(), strict=True)
            ]
        yield from sorted(refused, key=lambda row: row.entry)


def _passing(policy: Policy, kind: str, values: np.ndarray) -> np.ndarray:
    fits = policy.ranges.get(kind) if kind in policy.ranges else None
    if fits is None:
        return np.full(len(values), policy.accepts(kind, None))
    return (values >= fits[0]) & (values < fits[1])


def _finding(row: _Row, trace: LoadTrace, policy: Policy) -> Finding:
    entry = row.group.entries[row.entry]
    symbol, offset = trace.payload.symbol_name(row.symbol), int(entry["offset"])
    address = trace.placement.addresses[row.group.target.index]
    where = f"relocation {row.entry} in {row.group.section.text_name}"
    fits = policy.ranges.get(row.kind)
    if fits is None or row.value is None:
        rule, message = rules.POLICY_TYPE, f"{where}: {policy.who} does not apply {row.kind}"
    else:
        rule = rules.POLICY_RANGE
        message = f"{where}: {policy.who} takes {row.kind} in [{fits[0]}, {fits[1]}), and {symbol} gives {row.value}"
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        message=message,
        stage="relocation",
        section=row.group.target.text_name,
        index=row.entry,
        offset=offset,
        symbol=symbol,
        type=row.kind,
        s=int(trace.symbols.values[row.symbol]),
        a=int(entry["addend"]),
        p=(address + offset) % (1 << 64),
        value=row.value,
        bits=None if row.value is None else signed_bits(row.value),
        range=fits,
        overrun=None if row.value is None or fits is None else overrun(row.value, *fits),
    )
