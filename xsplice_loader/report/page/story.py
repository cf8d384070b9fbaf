"""What the page tells, as one JSON document: `xsplice-load`'s own, and beside it what a picture needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from xsplice_loader.numbers import INT32
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.report.document import address, document
from xsplice_loader.report.escaping import path_text
from xsplice_loader.report.page.columns import relocation_columns
from xsplice_loader.report.page.instructions import functions_code, instructions
from xsplice_loader.rules import RULES
from xsplice_loader.rules.applicability import stages_of
from xsplice_loader.rules.content import TOO_FAR_TO_JUMP
from xsplice_loader.rules.placing import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.host import Host
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.memory.arena_map import Stretch
    from xsplice_loader.results import Finding, LoadResult, Step

SHOWN_FINDINGS = 200
"""Findings of one payload, or of one command, that the page lists. It counts them all."""
DISTANCES = frozenset({OVERFLOW.id, TOO_FAR_TO_JUMP.id})
"""Rules that depend on where the payload stands."""
SHOWN_STRETCHES = 400
"""Stretches of the range for payloads that are drawn."""


def story(host: Host, results: Sequence[LoadResult], steps: Sequence[Step]) -> dict[str, Any]:
    """Return everything that the page's program is given."""
    told = document(
        host,
        [replace(result, findings=result.findings[:SHOWN_FINDINGS]) for result in results],
        [None] * len(results),
        [step._replace(findings=step.findings[:SHOWN_FINDINGS]) for step in steps],
        [],
        with_windows=True,
    )
    broken = {finding.rule for result in results for finding in result.findings}
    broken |= {finding.rule for step in steps for finding in step.findings}
    broken |= {step.crash for step in steps if step.crash is not None}
    return {
        "load": told,
        "reach": [str(end) for end in INT32],
        "page_size": PAGE_SIZE,
        "areas": _areas(host.hypervisor),
        "arena": _arena(host, results),
        "stages": stages_of(host.state.release),
        "rules": {rule: _rule(rule) for rule in sorted(broken)},
        "traces": [_trace(result, host) for result in results],
    }


def _areas(hypervisor: Hypervisor) -> list[dict[str, str]]:
    return [
        {"name": area.name, "start": address(area.start), "end": address(area.end)} for area in hypervisor.areas.areas
    ]


def _rule(name: str) -> dict[str, Any]:
    rule = RULES[name]
    return {
        "title": rule.title,
        "lesson": rule.lesson,
        "source": rule.source,
        "stage": rule.stage,
        "errno": rule.errno,
        "severity": rule.severity,
    }


def _arena(host: Host, results: Sequence[LoadResult]) -> dict[str, Any]:
    """Return the range that addresses came from, stretch by stretch."""
    names = {loaded.placement.base: loaded.shown_name for loaded in host.payloads if loaded.mapping.mfns}
    start, end = host.design.range_of(host.hypervisor)
    stretches = host.arena.stretches
    held: list[dict[str, Any]] = [_stretch(stretch, names) for stretch in stretches[:SHOWN_STRETCHES]]
    return {
        "start": address(start),
        "end": address(end),
        "has_bitmap": host.design.has_bitmap,
        "guards": host.design.guards,
        "by_hand": host.design.place is not None or host.design.asks_user,
        "stretches": held,
        "total": len(stretches),
        "free_pages": host.arena.free_pages,
        "given_back": [
            {"start": address(result.trace.placement.base), "pages": result.pages, "name": result.name}
            for result in results
            if result.trace is not None and not result.accepted and result.pages
        ],
    }


def _stretch(stretch: Stretch, names: dict[int, str]) -> dict[str, Any]:
    return {
        "start": address(stretch.start),
        "pages": stretch.pages,
        "kind": stretch.kind,
        "name": path_text(names.get(stretch.start, "")),
    }


def _trace(result: LoadResult, host: Host) -> dict[str, Any]:
    """Return what is known of one upload beyond its result."""
    counted = {
        "findings": len(result.findings),
        "stages": _by_stage(result.findings),
        "decided_by": next(_deciding(result.findings), None),
        "refused_anywhere": next(_regardless_of_place(result.findings), None),
    }
    trace = result.trace
    if trace is None:
        return counted
    release = host.state.release
    refused = {(finding.section, finding.index) for finding in result.findings if finding.rule == OVERFLOW.id}
    return counted | {
        "base": address(trace.placement.base),
        "pages": trace.placement.pages,
        "checks_distance": release.checks_distance,
        "functions": functions_code(trace.functions),
        "relocations": relocation_columns(trace, release),
        "instructions": instructions(trace, release, refused),
    }


def _deciding(findings: Sequence[Finding]) -> Iterator[int]:
    """Yield the number of the finding that decided."""
    before = list(takewhile(lambda finding: finding.severity != "error", findings))
    if len(before) < len(findings):
        yield len(before)


def _regardless_of_place(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the rules whose errors no other base would mend."""
    for finding in findings:
        if finding.severity == "error" and finding.rule not in DISTANCES:
            yield finding.rule


def _by_stage(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Count errors and warnings by the stage in which they were found."""
    counts: dict[str, dict[str, int]] = {}
    for finding in findings:
        of_stage = counts.setdefault(finding.stage or "", {"error": 0, "warning": 0, "note": 0})
        of_stage[finding.severity] += 1
    return counts
