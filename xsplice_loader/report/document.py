"""`xsplice-load --format json`: how results become the document (contract 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from xsplice_loader.report.escaping import path_text
from xsplice_loader.report.schema import (
    SCHEMA,
    Document,
    Errno,
    FindingEntry,
    FunctionRow,
    HypervisorEntry,
    PatchedEntry,
    PathEntry,
    PayloadEntry,
    Range,
    RegionEntry,
    Regions,
    RelocationItem,
    Relocations,
    RunEntry,
    SectionEntry,
    StepEntry,
    TightestEntry,
    UnknownEntry,
    When,
    WindowEntry,
    WriteEntry,
)
from xsplice_loader.rules.errnos import errno_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xsplice_loader.emulation.outcomes import Run
    from xsplice_loader.host import Host
    from xsplice_loader.relocation.window import Window
    from xsplice_loader.results import Finding, LoadResult, Region, Relocation, Step


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema that every document is valid against. Readers are to ignore unknown keys."""
    schema = msgspec.json.schema(Document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}


def document(
    host: Host,
    results: Sequence[LoadResult],
    relocations: Sequence[Iterable[Relocation] | None],
    steps: Sequence[Step] | None,
    runs: Sequence[tuple[When, Run]],
    *,
    with_windows: bool,
) -> Document:
    """Return the document for some uploads, the steps of a script, and what was run before and after.

    `relocations` has a list for each upload, or None where none is asked for.
    """
    hypervisor = host.hypervisor
    return Document(
        schema=SCHEMA,
        hypervisor=HypervisorEntry(
            file=path_text(hypervisor.file),
            release=host.state.release.name,
            build_id=_hex(hypervisor.build_id),
            text=Range(address(hypervisor.text_start), address(hypervisor.text_end)),
            arena=Range(address(hypervisor.arena_start), address(hypervisor.arena_end)),
            symbols=len(hypervisor.symbols),
            built_in=hypervisor.built_in,
            assumed=hypervisor.assumed,
            memory=None if hypervisor.memory is None else path_text(hypervisor.memory),
        ),
        payloads=[
            _payload(result, items, result.window if with_windows else None)
            for result, items in zip(results, relocations, strict=True)
        ],
        steps=msgspec.UNSET if steps is None else [_step(step) for step in steps],
        runs=[_run(when, run) for when, run in runs] or msgspec.UNSET,
    )


def encode(document: Document) -> bytes:
    """Return a document as indented UTF-8 JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def address(value: int) -> str:
    """Return an address as 16 hex digits with 0x."""
    return f"{value:#018x}"


def _masked(shown: str | None) -> str | msgspec.UnsetType:
    """Return bytes of which some are unknown and some are not; nothing where one key without marks says it all."""
    return msgspec.UNSET if shown is None or "?" not in shown or not shown.strip("?") else shown


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _maybe_address(value: int | None) -> str | None:
    return None if value is None else address(value)


def _maybe_decimal(value: int | None) -> str | None:
    return None if value is None else str(value)


def errno_entry(number: int | None) -> Errno | None:
    """Return an error number with its name."""
    if number is None:
        return None
    return Errno(number, errno_name(number))


def _region(region: Region) -> RegionEntry:
    return RegionEntry(address(region.address), region.size, region.pages)


def _payload(result: LoadResult, items: Iterable[Relocation] | None, window: Window | None) -> PayloadEntry:
    return PayloadEntry(
        file=path_text(result.file),
        name=result.name,
        verdict=result.verdict,
        errno=errno_entry(result.errno),
        stage=result.stage,
        rule=result.rule,
        xen_message=result.xen_message,
        build_id=_hex(result.build_id),
        depends=_hex(result.depends),
        xen_depends=_hex(result.xen_depends),
        regions=Regions(*map(_region, result.regions)) if result.regions is not None else None,
        pages=result.pages,
        sections=[
            SectionEntry(section.index, section.name, section.region, address(section.address), section.size)
            for section in result.sections
        ],
        funcs=[
            FunctionRow(
                function.name,
                address(function.old_addr),
                address(function.new_addr),
                function.old_size,
                function.new_size,
                function.patch_offset,
                _hex(function.before),
                _hex(function.patched),
                _masked(function.before_hex),
                _masked(function.patched_hex),
            )
            for function in result.funcs
        ],
        relocations=Relocations(
            result.relocations.total,
            result.relocations.by_type,
            msgspec.UNSET if items is None else [_relocation(item) for item in items],
        ),
        window=None if window is None else _window(window),
        image_sha256=result.image_sha256,
        unknown=[
            UnknownEntry(address(part.address), part.size, part.section, part.offset, part.why)
            for part in result.unknown
        ],
        findings=[finding_entry(finding) for finding in result.findings],
    )


def _step(step: Step) -> StepEntry:
    return StepEntry(
        command=step.command,
        rc=step.rc,
        errno=None if step.errno is None else Errno(step.errno, errno_name(step.errno)),
        out=[*step.out],
        err=[*step.err],
        messages=[*step.messages],
        console=[*step.console],
        rows=[*step.list],
        payload_rc=step.payload_rc,
        patched=[
            PatchedEntry(address(function.address), function.contents.hex(), _masked(function.hex))
            for function in step.patched
        ],
        findings=[finding_entry(finding) for finding in step.findings],
        crash=msgspec.UNSET if step.crash is None else step.crash,
        unknown=msgspec.UNSET if step.unknown is None else step.unknown,
    )


def _run(when: When, run: Run) -> RunEntry:
    return RunEntry(
        function=run.function,
        when=when,
        address=address(run.address),
        outcome=run.outcome,
        reason=run.reason,
        value=_maybe_address(run.value),
        text=run.text,
        instructions=run.instructions,
        path=[PathEntry(address(step.address), step.symbol, step.payload, step.via, step.depth) for step in run.path],
        path_left_off=run.path_left_off,
        writes=[
            WriteEntry(address(write.address), write.symbol, _hex(write.before), write.after.hex())
            for write in run.writes
        ],
        console=[*run.console],
    )


def _window(window: Window) -> WindowEntry:
    return WindowEntry(
        lowest=_maybe_address(window.lowest),
        highest=_maybe_address(window.highest),
        covers_arena=window.covers_arena,
        headroom=window.headroom,
        tightest=[
            TightestEntry(edge.side, edge.limit.kind, edge.limit.section, edge.limit.entry, edge.limit.symbol)
            for edge in window.tightest
        ],
    )


def _relocation(item: Relocation) -> RelocationItem:
    return RelocationItem(
        item.section,
        item.index,
        item.offset,
        item.type,
        item.symbol,
        address(item.s),
        str(item.a),
        address(item.p),
        _maybe_decimal(item.value),
        item.applied,
        item.instruction,
    )


def finding_entry(finding: Finding) -> FindingEntry:
    """Return a finding with its numbers as the document has them."""
    return FindingEntry(
        rule=finding.rule,
        severity=finding.severity,
        message=finding.message,
        section=finding.section,
        index=finding.index,
        offset=finding.offset,
        symbol=finding.symbol,
        type=finding.type,
        s=_maybe_address(finding.s),
        a=_maybe_decimal(finding.a),
        p=_maybe_address(finding.p),
        value=_maybe_decimal(finding.value),
        bits=finding.bits,
        range=None if finding.range is None else (str(finding.range[0]), str(finding.range[1])),
        overrun=_maybe_decimal(finding.overrun),
        cause=finding.cause,
        lands_at=_maybe_address(finding.lands_at),
        instruction=finding.instruction,
        hint=finding.hint,
        area=finding.area,
        stage=finding.stage,
        errno=errno_entry(finding.errno),
        xen_message=finding.xen_message,
        source_file=finding.source_file,
        source_line=finding.source_line,
    )
