"""A finished run as its reports see it: the cells in order, which findings count, and the sums."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.checking.cells import CheckedHypervisor, CheckedPayload
    from xsplice_loader.checking.journal import CellLine, Journal
    from xsplice_loader.checking.judging import Judge, Judged

UNREADABLE = "unreadable"
"""How a cell without a verdict is counted."""
BY_ITSELF = "by build-id"
"""The column of hypervisors that payloads choose themselves."""
_NUMBER = re.compile(r"\b[0-9a-fx]*[0-9][0-9a-fx.]*( [KMGT]iB| bytes?)?\b")
"""Addresses, sizes, and build-ids."""


class Group(NamedTuple):
    """One finding and the hypervisors that it was made on."""

    judged: Judged
    """As it was made on the first of them; on others it may have other numbers."""
    payload: str
    hypervisors: list[str]
    messages: set[str]
    """What it said on all of them."""


class Run(NamedTuple):
    """What was checked."""

    journal: Journal
    judge: Judge
    columns: tuple[str, ...]
    """The hypervisors, as cells name them, in order; one of its own for payloads that chose theirs themselves."""
    rows: tuple[str, ...]
    """The payloads, in order."""
    hypervisors: Sequence[CheckedHypervisor]
    payloads: Sequence[CheckedPayload]
    verdicts: Counter[str]
    findings: Counter[str]
    """By severity, those of the baseline left out."""
    known: int
    """How many the baseline has."""
    failing: int

    @classmethod
    def of(cls, journal: Journal, judge: Judge, columns: Sequence[str], rows: Sequence[str]) -> Run:
        """Go through the cells once and add up."""
        hypervisors: dict[tuple[str, str], CheckedHypervisor] = {}
        payloads: dict[str, CheckedPayload] = {}
        verdicts: Counter[str] = Counter()
        findings: Counter[str] = Counter()
        known = failing = 0
        for line in journal:
            if line.hypervisor is not None:
                hypervisors.setdefault((line.hypervisor.file, line.hypervisor.release), line.hypervisor)
            payloads.setdefault(line.payload.file, line.payload)
            verdicts[line.cell.verdict or UNREADABLE] += 1
            for judged in judge.judged(line.cell):
                known += judged.is_known
                findings[judged.finding.severity] += not judged.is_known
                failing += judge.fails(judged)
        return cls(
            journal,
            judge,
            tuple(columns),
            tuple(rows),
            tuple(hypervisors.values()),
            tuple(payloads.values()),
            verdicts,
            findings,
            known,
            failing,
        )

    @property
    def cells(self) -> int:
        """How many cells were checked."""
        return self.verdicts.total()

    @property
    def has_checked_anything(self) -> bool:
        """Whether any cell has a verdict."""
        return self.cells > self.verdicts[UNREADABLE]

    def line(self, row: int, column: int) -> CellLine | None:
        """Return the cell of a payload on a hypervisor."""
        return self.journal.line(column * len(self.rows) + row)

    def groups(self) -> list[Group]:
        """Return the findings, each once: those that make the run fail first, then payload by payload."""
        groups: dict[tuple[str, str, str], Group] = {}
        for line in self.journal:
            for judged in self.judge.judged(line.cell):
                new = Group(judged, line.cell.payload, [], set())
                # Other words are another matter, other numbers are not.
                words = _NUMBER.sub("", judged.finding.message)
                group = groups.setdefault((line.cell.payload, judged.fingerprint, words), new)
                group.hypervisors.append(line.cell.hypervisor)
                group.messages.add(judged.finding.message)
        order = {"error": 0, "warning": 1, "note": 2}
        rows = {payload: number for number, payload in enumerate(self.rows)}
        return sorted(
            groups.values(),
            key=lambda group: (
                group.judged.is_known,
                order[group.judged.finding.severity],
                rows.get(group.payload, len(rows)),
            ),
        )

    def judged(self) -> Iterator[tuple[str, Judged]]:
        """Yield every finding with its payload."""
        for line in self.journal:
            for judged in self.judge.judged(line.cell):
                yield line.cell.payload, judged
