"""`xsplice-check --format json`: its structures, and how a run fills them, one cell after the other (contract 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from xsplice_loader.report.document import address, errno_entry, finding_entry
from xsplice_loader.report.schema import Errno, FindingEntry, HypervisorEntry, Range
from xsplice_loader.results import Verdict  # noqa: TC001 - msgspec reads it at run time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.checking.cells import CellWindow, CheckedHypervisor
    from xsplice_loader.checking.journal import CellLine
    from xsplice_loader.checking.judging import Judged
    from xsplice_loader.report.checked import Run

SCHEMA: Final = "xsplice-check/1"


class PayloadRow(msgspec.Struct, frozen=True):
    """A payload that was checked."""

    file: str
    name: str
    build_id: str | None
    depends: str | None
    xen_depends: str | None
    relocations: int


class CheckedFinding(FindingEntry, frozen=True, omit_defaults=True, kw_only=True):
    """A finding, with what tells it from others in any run."""

    fingerprint: str
    known: bool = False
    """It is in the baseline."""


class WindowRow(msgspec.Struct, frozen=True):
    """At which bases the payload fits, both ends included; `tightest` says what breaks first."""

    lowest: str | None
    highest: str | None
    covers_arena: bool
    headroom: int | None
    tightest: list[str]


class PolicyEntry(msgspec.Struct, frozen=True):
    """A relocation on which loaders and linkers do not agree, or which all refuse."""

    section: str
    index: int
    offset: int
    type: str
    symbol: str
    value: str | None
    accepted_by: list[str]


class CellEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One payload on one hypervisor."""

    payload: str
    hypervisor: str
    verdict: Verdict | None
    errno: Errno | None
    rule: str | None
    xen_message: str | None
    findings: list[CheckedFinding]
    window: WindowRow | None = None
    policies: list[PolicyEntry] | None = None


class Summary(msgspec.Struct, frozen=True):
    """The sums; `failing` are the findings that make the exit status 1."""

    cells: int
    accepted: int
    refused: int
    crash: int
    unreadable: int
    errors: int
    warnings: int
    notes: int
    known: int
    failing: int


class CheckDocument(msgspec.Struct, frozen=True):
    """What `xsplice-check --format json` writes."""

    schema: Literal["xsplice-check/1"]
    hypervisors: list[HypervisorEntry]
    payloads: list[PayloadRow]
    cells: list[CellEntry]
    summary: Summary


def check_schema() -> dict[str, Any]:
    """Return the JSON Schema that every document is valid against. Readers are to ignore unknown keys."""
    schema = msgspec.json.schema(CheckDocument)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}


def check_json(run: Run) -> Iterator[bytes]:
    """Yield the document piece by piece, a cell to a line: a run may have more cells than memory."""
    encode = msgspec.json.encode
    yield (
        b'{"schema":'
        + encode(SCHEMA)
        + b',\n"hypervisors":['
        + b",\n".join(encode(_hypervisor(hypervisor)) for hypervisor in run.hypervisors)
    )
    yield b'],\n"payloads":[' + b",\n".join(encode(PayloadRow(**payload._asdict())) for payload in run.payloads)
    yield b'],\n"cells":['
    for number, line in enumerate(run.journal):
        yield (b",\n" if number else b"") + encode(_cell(line, run))
    yield b'],\n"summary":' + encode(_summary(run)) + b"}\n"


def _hypervisor(hypervisor: CheckedHypervisor) -> HypervisorEntry:
    (text_start, text_end), (arena_start, arena_end) = hypervisor.text, hypervisor.arena
    return HypervisorEntry(
        hypervisor.file,
        hypervisor.release,
        hypervisor.build_id,
        Range(address(text_start), address(text_end)),
        Range(address(arena_start), address(arena_end)),
        hypervisor.symbols,
        hypervisor.built_in,
        hypervisor.assumed,
        hypervisor.memory,
    )


def _cell(line: CellLine, run: Run) -> CellEntry:
    cell = line.cell
    return CellEntry(
        cell.payload,
        cell.hypervisor,
        cell.verdict,
        errno_entry(cell.errno),
        cell.rule,
        cell.xen_message,
        [_finding(judged) for judged in run.judge.judged(cell)],
        None if cell.window is None else _window(cell.window),
        None
        if cell.policies is None
        else [
            PolicyEntry(
                row.section,
                row.entry,
                row.offset,
                row.type,
                row.symbol,
                None if row.value is None else str(row.value),
                [*row.accepted_by],
            )
            for row in cell.policies
        ],
    )


def _finding(judged: Judged) -> CheckedFinding:
    entry = msgspec.structs.asdict(finding_entry(judged.finding))
    return CheckedFinding(**entry, fingerprint=judged.fingerprint, known=judged.is_known)


def _window(window: CellWindow) -> WindowRow:
    return WindowRow(
        None if window.lowest is None else address(window.lowest),
        None if window.highest is None else address(window.highest),
        window.covers_arena,
        window.headroom,
        [*window.tightest],
    )


def _summary(run: Run) -> Summary:
    return Summary(
        cells=run.cells,
        accepted=run.verdicts["accepted"],
        refused=run.verdicts["refused"],
        crash=run.verdicts["crash"],
        unreadable=run.verdicts["unreadable"],
        errors=run.findings["error"],
        warnings=run.findings["warning"],
        notes=run.findings["note"],
        known=run.known,
        failing=run.failing,
    )
