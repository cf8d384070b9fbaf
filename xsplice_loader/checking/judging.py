"""Which findings count: rules that were chosen or left out, severities of the user's own, and what was known before."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.rules import RULES, checking, upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.checking.cells import Cell
    from xsplice_loader.results import Finding
    from xsplice_loader.rules.rule import Severity

FailOn = Literal["error", "warning", "note"]
NEVER_KNOWN = frozenset(
    rule.id for rule in (upload.UNREADABLE, checking.UNREADABLE_HYPERVISOR, checking.NO_HYPERVISOR, checking.CELL_DIED)
)
"""What keeps a cell from its answer: nobody can know what that would have been."""
WEIGHT: Mapping[Severity, int] = {"error": 2, "warning": 1, "note": 0}


class UnknownRuleError(ValueError):
    """A rule that is none, or the beginning of none."""


class Judged(NamedTuple):
    """One finding as it is reported."""

    finding: Finding
    fingerprint: str
    """The same for the same mistake at another address, in another build of the hypervisor."""
    is_known: bool
    """The baseline has it."""


class Judge(NamedTuple):
    """What a user makes of findings."""

    select: tuple[str, ...] = ()
    """Rules, or beginnings of their names, that are reported; none: all."""
    ignore: tuple[str, ...] = ()
    severities: Mapping[str, Severity] = {}
    known: frozenset[str] = frozenset()
    """The fingerprints in the baseline."""
    fail_on: FailOn = "error"
    project: str | None = None
    """The directory that payloads are known relative to."""

    def judged(self, cell: Cell) -> list[Judged]:
        """Return a cell's findings as they are reported."""
        seen: dict[str, int] = {}
        found = []
        for finding in cell.findings:
            if not self._is_wanted(finding.rule):
                continue
            mark = _mark(finding, _known_as(cell.payload, self.project))
            number = seen[mark] = seen.get(mark, 0) + 1
            fingerprint = hashlib.sha256(f"{mark}\n{number}".encode()).hexdigest()[:32]
            severity = self.severities.get(finding.rule, finding.severity)
            shown = finding if severity == finding.severity else replace(finding, severity=severity)
            is_known = fingerprint in self.known and finding.rule not in NEVER_KNOWN
            found.append(Judged(shown, fingerprint, is_known))
        return found

    def fails(self, judged: Judged) -> bool:
        """Tell whether a finding makes the run fail."""
        return not judged.is_known and WEIGHT[judged.finding.severity] >= WEIGHT[self.fail_on]

    def _is_wanted(self, rule: str) -> bool:
        selected = not self.select or rule.startswith(self.select)
        return selected and not (self.ignore and rule.startswith(self.ignore))


def _mark(finding: Finding, payload: str) -> str:
    """Return what a finding is known by: where and of what kind it is, but no address, and not the hypervisor."""
    section, symbol = finding.section or "", finding.symbol or ""
    if not section and not symbol and finding.index is not None:
        # What is said of a section header is said before sections have names.
        section = f"#{finding.index}"
    return "\n".join((finding.rule, payload, section, symbol, finding.type or ""))


@lru_cache(maxsize=4096)
def _known_as(path: str, project: str | None) -> str:
    """Return a path that is the same wherever the project lies, and wherever in it the command is typed."""
    if project is not None:
        below = os.path.relpath(path, project)
        if below.partition(os.sep)[0] != os.pardir:
            return below
    return os.path.normpath(path)


def known_rule(text: str) -> str:
    """Return the name of a rule, or the beginning of some, as it is written.

    Raises:
        UnknownRuleError: no rule begins like that.
    """
    name = text.strip().upper()
    if not name or not any(rule.startswith(name) for rule in RULES):
        raise UnknownRuleError(f"{text!r} is no rule, nor the beginning of one; rules are named like XSP089")
    return name
