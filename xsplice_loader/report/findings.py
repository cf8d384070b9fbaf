"""Findings as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.numbers import size_text
from xsplice_loader.relocation.types import TYPES_BY_NAME
from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.reach import reach_bar
from xsplice_loader.rules.content import TOO_FAR_TO_JUMP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.relocation.types import RelocationType
    from xsplice_loader.report.paint import Paint
    from xsplice_loader.results import Finding

SHOWN_FINDINGS = 20
"""Findings of one payload that are shown without -v."""


def finding_lines(findings: Sequence[Finding], verbosity: int, paint: Paint) -> Iterator[str]:
    """Yield the lines of what was found; without verbosity not more than fit a screen."""
    shown = findings if verbosity > 0 else findings[:SHOWN_FINDINGS]
    for finding in shown:
        yield from _finding(finding, paint)
    if len(shown) < len(findings):
        yield f"  … and {len(findings) - len(shown)} more findings; -v shows them all"


def _terms(kind: RelocationType, finding: Finding) -> str:
    """Return a formula of S, A and P with their values in it."""
    addend = finding.a or 0
    terms = f"{finding.s:#x} {'-' if addend < 0 else '+'} {abs(addend):#x}"
    return f"{terms} - {finding.p:#x}" if kind.is_relative and finding.p is not None else terms


def _finding(finding: Finding, paint: Paint) -> Iterator[str]:
    role = {"error": "refused", "warning": "warning", "note": "note"}[finding.severity]
    where = ""
    if finding.section is not None and finding.offset is not None:
        where = f" {for_terminal(finding.section)}+{finding.offset:#x}"
    yield f"  {paint(finding.severity, role)} {finding.rule}{where}: {for_terminal(finding.message)}"
    if finding.instruction is not None:
        yield f"      {paint(for_terminal(finding.instruction), 'strong')}"
    kind = TYPES_BY_NAME.get(finding.type or "")
    if kind is not None and finding.s is not None and finding.a is not None and finding.value is not None:
        yield f"      {kind.name}: {kind.formula} = {_terms(kind, finding)} = {finding.value:#x}"
    if finding.value is not None and finding.range is not None:
        width = (finding.range[1] - finding.range[0]).bit_length() - 1
        if width == 32 and (kind is None or kind.is_relative):
            # Xen measures a jump from the new function to the old one; it leads the other way.
            yield f"      {reach_bar(finding.value if finding.rule != TOO_FAR_TO_JUMP.id else -finding.value)}"
        unsigned = "" if finding.range[0] else " unsigned"
        lands = "" if finding.lands_at is None else f"; cut to {width} bits it would land at {finding.lands_at:#018x}"
        yield (
            f"      needs {finding.bits} signed bits, the field has {width}{unsigned}; "
            f"{size_text(finding.overrun or 0)} too far{lands}"
        )
    if finding.hint is not None:
        cause = f"{finding.cause}: " if finding.cause is not None else ""
        yield f"      {cause}{for_terminal(finding.hint)}"
