"""Findings as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.relocation.numbers import size_text
from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.reach import reach_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def _finding(finding: Finding, paint: Paint) -> Iterator[str]:
    role = {"error": "refused", "warning": "warning", "note": "note"}[finding.severity]
    where = ""
    if finding.section is not None and finding.offset is not None:
        where = f" {for_terminal(finding.section)}+{finding.offset:#x}"
    yield f"  {paint(finding.severity, role)} {finding.rule}{where}: {for_terminal(finding.message)}"
    if finding.instruction is not None:
        yield f"      {paint(for_terminal(finding.instruction), 'strong')}"
    if finding.s is not None and finding.p is not None and finding.a is not None and finding.value is not None:
        sign, addend = ("+", finding.a) if finding.a >= 0 else ("-", -finding.a)
        terms = f"{finding.s:#x} {sign} {addend:#x} - {finding.p:#x}"
        yield f"      {finding.type}: S + A - P = {terms} = {finding.value:#x}"
    if finding.value is not None and finding.range is not None:
        yield f"      {reach_bar(finding.value)}"
        yield (
            f"      needs {finding.bits} signed bits, the field has 32; {size_text(finding.overrun or 0)} too far"
            + (f"; cut to 32 bits it would land at {finding.lands_at:#018x}" if finding.lands_at is not None else "")
        )
    if finding.hint is not None:
        cause = f"{finding.cause}: " if finding.cause is not None else ""
        yield f"      {cause}{for_terminal(finding.hint)}"
