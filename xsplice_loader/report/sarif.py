"""SARIF 2.1.0, the form in which code scanners report.

Addresses of Xen need 64 bits and readers of JSON keep 53, so they stand in `properties` as hexadecimal text; the
`address` of a place counts from the beginning of its section. Fingerprints hold no address and no hypervisor: the same
mistake on a newer build is the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from xsplice_loader import __version__
from xsplice_loader.report.document import finding_entry
from xsplice_loader.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.report.checked import Group, Run
    from xsplice_loader.results import Finding
    from xsplice_loader.rules import Rule

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "xsplice/v1"
TOOL = "xsplice-check"
_NUMBERS = ("s", "a", "p", "value", "bits", "range", "overrun", "cause", "lands_at", "instruction", "type")
_INDEX = {rule: index for index, rule in enumerate(RULES)}


def sarif(run: Run) -> Iterator[bytes]:
    """Yield the document piece by piece."""
    encode = msgspec.json.encode
    driver = {
        "name": TOOL,
        "version": __version__,
        "rules": [_rule(rule) for rule in RULES.values()],
    }
    yield b'{"$schema":' + encode(SCHEMA) + b',"version":"2.1.0","runs":[{"tool":' + encode({"driver": driver})
    yield b',"columnKind":"utf16CodeUnits","results":['
    for number, group in enumerate(run.groups()):
        yield (b",\n" if number else b"\n") + encode(_result(group))
    yield b"\n]}]}\n"


def _rule(rule: Rule) -> dict[str, Any]:
    described = {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.lesson},
        "help": {"text": f"{rule.lesson}\n\nMore: xsplice-explain {rule.id}"},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"source": rule.source, "tags": ["xen", "livepatch"]},
    }
    if rule.errno is not None:
        described["properties"] = {**described["properties"], "errno": rule.errno}  # type: ignore[dict-item]
    return described


def _result(group: Group) -> dict[str, Any]:
    finding = group.judged.finding
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "level": finding.severity,
        "message": {"text": finding.message + (f". {finding.hint}" if finding.hint else "")},
        "locations": [_location(group.payload, finding)],
        "partialFingerprints": {FINGERPRINT: group.judged.fingerprint},
        "properties": {"hypervisors": group.hypervisors, **_numbers(finding)},
    }
    if group.judged.is_known:
        result["suppressions"] = [{"kind": "external", "justification": "known from the baseline"}]
    return result


def _location(payload: str, finding: Finding) -> dict[str, Any]:
    source = finding.source_file
    physical: dict[str, Any] = {
        "artifactLocation": {"uri": quote(source or payload)},
        "region": {"startLine": max(finding.source_line or 1, 1)},
    }
    if finding.section is not None and finding.offset is not None and finding.offset < 1 << 53:
        physical["address"] = {
            "offsetFromParent": finding.offset,
            "fullyQualifiedName": f"{finding.section}+{finding.offset:#x}",
            "kind": "data" if finding.instruction is None else "instruction",
        }
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.section is not None:
        inner = [{"name": finding.section, "kind": "module"}]
        if finding.symbol:
            inner.append({"name": finding.symbol, "kind": "function"})
        location["logicalLocations"] = inner
    if source is not None:
        location["message"] = {"text": f"in {payload}"}
    return location


def _numbers(finding: Finding) -> dict[str, Any]:
    """Return S, A, P and what follows from them, as text where a number would not survive."""
    entry = finding_entry(finding)
    found = {name: getattr(entry, name) for name in _NUMBERS}
    return {name: value for name, value in found.items() if value is not None}
