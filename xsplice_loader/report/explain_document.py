"""`xsplice-explain --format json`: explanations as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from xsplice_loader.report.document import address, errno_entry, finding_entry
from xsplice_loader.report.escaping import path_text
from xsplice_loader.teaching.blocks import Bits, Change, Found, Reach

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsplice_loader.host import Host
    from xsplice_loader.results import LoadResult
    from xsplice_loader.teaching.anatomy import Anatomy, NeverPlacedError, Term
    from xsplice_loader.teaching.blocks import Block
    from xsplice_loader.teaching.walk import Step, Walk

SCHEMA = "xsplice-explain/1"


def encode(*explained: dict[str, Any]) -> bytes:
    """Return one document with all that was explained."""
    document = {"schema": SCHEMA, "explained": list(explained)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def walk_entry(walk: Walk) -> dict[str, Any]:
    """Return a walk: what became of the payload, and the steps on the way."""
    result = walk.result
    return {
        "kind": "walk",
        "file": path_text(result.file),
        "name": result.name,
        "release": walk.release,
        "verdict": result.verdict,
        "errno": errno_entry(result.errno),
        "stage": result.stage,
        "rule": result.rule,
        "xen_message": result.xen_message,
        "steps": [_step(step) for step in walk.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "question": step.question,
        "outcome": step.outcome,
        "told": block_entries(step.told),
        "rules": step.rules,
        "findings": [finding_entry(finding) for finding in step.found],
    }


def relocation_entry(result: LoadResult, found: Anatomy | NeverPlacedError, name: tuple[str, int]) -> dict[str, Any]:
    """Return one relocation, taken apart; of a payload that was never placed only why there is nothing to take."""
    section, index = name
    asked = {"kind": "relocation", "file": path_text(result.file), "asked": f"{section}:{index}"}
    if isinstance(found, Exception):
        return {**asked, "never_placed": str(found), "rule": result.rule}
    return {
        **asked,
        "section": found.section,
        "index": found.index,
        "offset": found.offset,
        "type": found.type,
        "formula": found.formula,
        "symbol": found.symbol,
        "s": _term(found.s),
        "a": {"value": str(found.a.value), "origin": found.a.origin},
        "p": _term(found.p),
        "value": None if found.value is None else str(found.value),
        "width": found.width,
        "outcome": found.outcome,
        "bytes": {
            "address": address(found.start),
            "before": found.before.hex(),
            "after": found.after.hex(),
            "instruction_before": found.before_text or None,
            "instruction_after": found.after_text or None,
            "field": found.field,
            "changed_later": found.changed_later,
        },
        "target": _place(found.target, found.target_lies),
        "overrun": str(found.overrun),
        "headroom": None if found.headroom is None else str(found.headroom),
        "cut_target": _place(found.cut_target, found.cut_target_lies),
    }


def _term(term: Term) -> dict[str, str]:
    return {"value": address(term.value), "origin": term.origin}


def _place(where: int | None, lies: str) -> dict[str, str] | None:
    return None if where is None else {"address": address(where), "lies": lies}


def lesson_entry(kind: str, name: str, blocks: Iterable[Block]) -> dict[str, Any]:
    """Return a rule or a topic."""
    return {"kind": kind, "name": name, "told": block_entries(blocks)}


def block_entries(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    """Return blocks, each with the name of its kind."""
    return [{"block": type(block).__name__.lower(), **_fields(block)} for block in blocks]


def _fields(block: Block) -> dict[str, Any]:
    # What can exceed 2^53 is text, as everywhere in JSON.
    if isinstance(block, Found):
        return {"findings": [finding_entry(finding) for finding in block.findings]}
    if isinstance(block, Change):
        return {
            "address": address(block.address),
            "before": block.before.hex(),
            "after": block.after.hex(),
            "instruction_before": block.before_text,
            "instruction_after": block.after_text,
        }
    if isinstance(block, Bits):
        return {"value": str(block.value), "kept": block.kept}
    if isinstance(block, Reach):
        return {"value": str(block.value)}
    return dict(msgspec.to_builtins(block))


def hypervisor_entry(host: Host) -> dict[str, Any]:
    """Return what payloads were loaded against."""
    hypervisor = host.hypervisor
    return {
        "kind": "hypervisor",
        "file": path_text(hypervisor.file),
        "release": host.state.release.name,
        "build_id": None if hypervisor.build_id is None else hypervisor.build_id.hex(),
        "built_in": hypervisor.built_in,
        "assumed": hypervisor.assumed,
        "memory": None if hypervisor.memory is None else path_text(hypervisor.memory),
    }
