"""The catalogue of rules: what Xen tests on the way from a file to a loaded payload, and what we add."""

from __future__ import annotations

from xsplice_loader.rules import actions, checking, content, header, observations, placing, sections, tables, upload
from xsplice_loader.rules.rule import Rule

RULES: dict[str, Rule] = {
    rule.id: rule
    for part in (upload, header, sections, placing, content, tables, actions, observations, checking)
    for rule in part.ALL
}
"""Every rule by its id."""

__all__ = [
    "RULES",
    "Rule",
    "actions",
    "checking",
    "content",
    "header",
    "observations",
    "placing",
    "sections",
    "tables",
    "upload",
]
