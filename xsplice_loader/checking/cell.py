"""One cell: a payload on a hypervisor, with what is asked beyond Xen's own verdict.

The verdict comes from the one story of loading (`loading.py`). What a question adds to it (every address instead of
one, another loader's rules, nothing taken for granted) are findings more or fewer; the first error decides, as always.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from xsplice_loader.checking.cells import Cell, CellWindow, CheckedHypervisor, CheckedPayload
from xsplice_loader.checking.policies import POLICIES, compared, under_policy
from xsplice_loader.host import Host
from xsplice_loader.host.files import name_of, unreadable
from xsplice_loader.numbers import size_text
from xsplice_loader.payload import text_of
from xsplice_loader.results import Finding
from xsplice_loader.rules import checking as rules
from xsplice_loader.rules import observations
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from xsplice_loader.checking.question import Question
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.payload import PayloadFile
    from xsplice_loader.relocation.window import Window
    from xsplice_loader.results import LoadResult, Verdict
    from xsplice_loader.rules import Rule


def host_for(hypervisor: Hypervisor, question: Question) -> Host:
    """Return a fresh host."""
    return Host(
        hypervisor,
        vmap=question.vmap,
        place=question.place,
        arena=question.arena,
        release=question.release,
        max_size=question.max_size,
        nops=question.nops,
        cpu_features=question.cpu_features,
    )


def check(host: Host, file: str, payload: PayloadFile | OSError, question: Question) -> tuple[Cell, CheckedPayload]:
    """Upload one payload and say what comes of it, and what it is."""
    if isinstance(payload, OSError):
        result = unreadable(file, payload)
    else:
        result = host.upload(name_of(file), payload, file=file)
    return _cell(result, host, question), checked_payload(result)


def check_on_stack(
    host: Host, file: str, payload: PayloadFile | OSError, question: Question
) -> tuple[Cell, CheckedPayload]:
    """Upload one payload on those that are loaded already, and apply it, so that the next can stand on it."""
    cell, checked = check(host, file, payload, question)
    if not cell.accepted:
        return cell, checked
    applied = host.apply(name_of(file))
    findings = (*cell.findings, *applied.findings)
    if applied.succeeded:
        return replace(cell, findings=findings), checked
    rc = applied.rc or applied.payload_rc or 0
    deciding = next((finding for finding in applied.findings if finding.severity == "error"), None)
    return replace(
        cell,
        findings=findings,
        verdict="crash" if applied.crash is not None else "refused",
        errno=-rc if rc < 0 and applied.crash is None else None,
        stage=None,
        rule=deciding.rule if deciding is not None else applied.crash,
        xen_message=deciding.xen_message if deciding is not None else None,
    ), checked


def _cell(result: LoadResult, host: Host, question: Question) -> Cell:
    findings = list(result.findings)
    release = host.state.release
    if host.hypervisor.assumed and not question.allow_assumed:
        findings = [_required(finding) for finding in findings]
    if question.policy != "xen" and result.trace is not None:
        findings = under_policy(tuple(findings), result.trace, release, POLICIES[question.policy])
    window = result.window if question.window or question.any_placement else None
    if question.any_placement and window is not None and not window.covers_arena:
        findings.append(_not_everywhere(window, result.pages, host))
    deciding = next((finding for finding in findings if finding.severity == "error"), None)
    if result.trace is not None and findings:
        from xsplice_loader.relocation.source_lines import has_place, with_source_lines  # noqa: PLC0415 - few cells

        if any(map(has_place, findings)):
            findings = with_source_lines(findings, result.trace)
    return Cell(
        payload=shown_path(result.file),
        hypervisor=shown_path(host.hypervisor.file),
        verdict=None if result.verdict is None else _verdict(deciding),
        errno=deciding.errno if deciding is not None and not deciding.crash else None,
        stage=deciding.stage if deciding is not None else None,
        rule=deciding.rule if deciding is not None else None,
        xen_message=deciding.xen_message if deciding is not None else None,
        findings=tuple(findings),
        window=None if window is None else _window(window),
        policies=(
            tuple(compared(result.trace, release)) if question.compare_policies and result.trace is not None else None
        ),
    )


def _verdict(deciding: Finding | None) -> Verdict:
    if deciding is None:
        return "accepted"
    return "crash" if deciding.crash else "refused"


def _required(finding: Finding) -> Finding:
    """Return a finding as it stands where nothing is taken for granted."""
    if finding.rule != observations.ASSUMED_SYMBOL.id:
        return finding
    return replace(
        finding,
        severity="error",
        stage="resolution",
        errno=ERRNOS["ENOENT"],
        hint="there is no hypervisor to look it up in: give its xen-syms or boot image with -x, or --allow-assumed",
    )


def _not_everywhere(window: Window, pages: int, host: Host) -> Finding:
    start, end = host.hypervisor.arena_start, host.state.arena_end
    if window.lowest is None or window.highest is None:
        message = "the payload fits at no address: " + (
            "what cannot be satisfied does not depend on where it stands"
            if any(edge.side == "none" for edge in window.tightest)
            else "what is too far below it and what is too far above leave no room between them"
        )
    else:
        last = end - pages * 4096
        missing = max(window.lowest - start, 0) + max(last - window.highest, 0)
        message = (
            f"the payload fits from {window.lowest:#018x} to {window.highest:#018x}, but may be given any address from "
            f"{start:#018x} to {last:#018x}: {size_text(missing)} of that are out of reach"
        )
    limit = window.tightest[0].limit if window.tightest else None
    return replace(
        made(rules.NOT_EVERYWHERE, message, hint=_tightest(window)),
        section=None if limit is None else limit.section,
        symbol=None if limit is None else limit.symbol,
    )


def made(rule: Rule, message: str, *, hint: str | None = None) -> Finding:
    """Return a finding of the checker's own."""
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        message=message,
        stage=rule.stage,
        errno=None if rule.errno is None else ERRNOS[rule.errno],
        hint=hint,
    )


def _window(window: Window) -> CellWindow:
    return CellWindow(window.lowest, window.highest, window.covers_arena, window.headroom, tuple(_edges(window)))


_SIDES = {"low": "below", "high": "above", "none": "anywhere"}


def _edges(window: Window) -> list[str]:
    return [
        f"{_SIDES[edge.side]}: {edge.limit.kind} {edge.limit.entry} of {edge.limit.section}"
        + (f" ({edge.limit.symbol})" if edge.limit.symbol else "")
        for edge in window.tightest
    ]


def _tightest(window: Window) -> str | None:
    return "breaks first " + "; ".join(_edges(window)) if window.tightest else None


def checked_payload(result: LoadResult) -> CheckedPayload:
    """Return what a payload says of itself."""
    build_id, depends, xen_depends = (
        None if identity is None else identity.hex()
        for identity in (result.build_id, result.depends, result.xen_depends)
    )
    return CheckedPayload(
        shown_path(result.file), result.name, build_id, depends, xen_depends, result.relocations.total
    )


def checked_hypervisor(hypervisor: Hypervisor, release: str | None) -> CheckedHypervisor:
    """Return what there is to say of a hypervisor; `release`: whose rules were asked for."""
    return CheckedHypervisor(
        shown_path(hypervisor.file),
        release or hypervisor.release.name,
        None if hypervisor.build_id is None else hypervisor.build_id.hex(),
        (hypervisor.text_start, hypervisor.text_end),
        (hypervisor.arena_start, hypervisor.arena_end),
        len(hypervisor.symbols),
        hypervisor.built_in,
        hypervisor.assumed,
        None if hypervisor.memory is None else shown_path(hypervisor.memory),
    )


@lru_cache(maxsize=256)
def shown_path(path: str) -> str:
    """Return a file name as text."""
    return text_of(os.fsencode(path))
