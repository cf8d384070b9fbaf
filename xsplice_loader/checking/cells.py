"""What a cell comes to: frozen records, which a journal writes down and reads back by their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xsplice_loader.results import Finding, Verdict  # noqa: TC001 - read back by their types
from xsplice_loader.rules.rule import Stage  # noqa: TC001 - as above


class CellWindow(NamedTuple):
    """The run of bases at which a cell's payload fits, both ends included (contract 4)."""

    lowest: int | None
    highest: int | None
    covers_arena: bool
    headroom: int | None
    tightest: tuple[str, ...]
    """What breaks first below and above, or what fits nowhere."""


class PolicyRow(NamedTuple):
    """One relocation on which loaders and linkers do not agree, or which all of them refuse."""

    section: str
    entry: int
    """Which relocation of its section, from 0."""
    offset: int
    type: str
    symbol: str
    value: int | None
    """None: the type's formula needs more than S, A and P."""
    accepted_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One payload on one hypervisor."""

    payload: str
    hypervisor: str
    verdict: Verdict | None
    """None: the payload or the hypervisor could not be read, or the cell died."""
    errno: int | None = None
    stage: Stage | None = None
    rule: str | None = None
    xen_message: str | None = None
    findings: tuple[Finding, ...] = ()
    window: CellWindow | None = None
    policies: tuple[PolicyRow, ...] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the hypervisor would take the payload, wherever it was asked for."""
        return self.verdict == "accepted"


class CheckedHypervisor(NamedTuple):
    """A hypervisor that payloads were checked against."""

    file: str
    release: str
    build_id: str | None
    text: tuple[int, int]
    arena: tuple[int, int]
    symbols: int
    built_in: bool
    assumed: bool
    memory: str | None = None


class CheckedPayload(NamedTuple):
    """A payload that was checked; what is not known of it is None."""

    file: str
    name: str
    build_id: str | None
    depends: str | None
    xen_depends: str | None
    relocations: int
