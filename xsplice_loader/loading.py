"""The story of one upload: from the bytes of a file to a payload in state CHECKED, or to a refusal.

`load_payload` tells it in the order in which Xen does (`spec/01 §3`). Every step takes what the one before it
made. A refusal does not end the story: it is written down in `findings`, and the later steps go on as far as
they soundly can, so that one run tells everything that is wrong. The verdict is that of the first error, for
that is where Xen would have stopped.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Literal

from xsplice_loader.allocation import Allocation
from xsplice_loader.findings import Findings
from xsplice_loader.host_state import HostState, LoadedPayload
from xsplice_loader.livepatch.function_states import FunctionState, PayloadStatus
from xsplice_loader.livepatch.functions import FunctionEntry, patched_functions
from xsplice_loader.livepatch.hooks import Hooks
from xsplice_loader.livepatch.loaded import LoadedSections, RunningXen, symbolic
from xsplice_loader.livepatch.metadata import metadata_of
from xsplice_loader.livepatch.prepare import check_xen_build_id_late, prepare, read_ids
from xsplice_loader.livepatch.processor import Processor
from xsplice_loader.livepatch.sections import (
    check_patching_sections,
    check_special_sections,
    check_xen_build_id_early,
)
from xsplice_loader.livepatch.symbol_table import build_symbol_table
from xsplice_loader.memory.placement import Placement, lay_out, may_be_reapplied, place
from xsplice_loader.memory.sparse import copied
from xsplice_loader.numbers import signed
from xsplice_loader.payload import ObjectFile, PayloadFile, text_of
from xsplice_loader.releases import PAGE_SIZE, Release
from xsplice_loader.relocation.relocating import Relocated, relocate
from xsplice_loader.relocation.resolution import Lookup, ResolvedSymbols, resolve
from xsplice_loader.relocation.trace import LoadTrace
from xsplice_loader.results import NO_RELOCATIONS, LoadResult, UnknownBytes
from xsplice_loader.rules import actions, observations, placing, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from xsplice_loader.livepatch.moved_branches import MovedBranch
    from xsplice_loader.memory.partly_known import UnknownRange
    from xsplice_loader.relocation.window import Window
    from xsplice_loader.results import Finding, PatchedFunction

MAX_NAME = 127
"""Bytes of a payload's name at most, without its NUL."""
MAX_HINTS = 8
"""Unknown names for which similar ones are looked for; each costs a walk over Xen's whole table."""


def load_payload(data: PayloadFile, host: HostState, *, name: str, file: str) -> LoadResult:
    """Upload `data` under `name`; an accepted payload is added to the host, a refused one leaves it as it was."""
    findings = Findings(host.release, name)
    story = _Story(file, text_of(os.fsencode(name)), findings)

    _note_assumptions(host, findings)
    _check_name_and_size(data, name, host, findings)
    if host.keeps_lock:
        findings.add(actions.LOCK_KEPT, actions.NEVER_ENDS)
    if findings.deciding is not None:
        return story.end()

    payload = data.read(findings)
    if payload is None:
        return story.end()
    story.read_ids(payload)

    if host.release.xen_build_id_check == "early":
        check_xen_build_id_early(
            payload, host.hypervisor.build_id, compare=host.hypervisor.has_known_build_id, findings=findings
        )

    story.was_placed = findings.deciding is None
    layout = lay_out(payload, findings)
    story.was_placed = story.was_placed and findings.deciding is None
    space = Allocation(host, layout, for_real=findings.deciding is None)
    mapping = space.allocate(findings)
    if mapping is None:
        check_special_sections(payload, findings)
        check_patching_sections(payload, findings)
        return story.end()
    placement = place(layout, mapping.start)
    image = mapping.contents
    story.placement = placement
    if not _copy_sections(payload, placement, image, findings):
        space.release(mapping)
        return story.end()

    lookup = _lookup(host)
    symbols = resolve(payload, placement, lookup, findings)
    payload, relocated = _relocate(payload, placement, symbols, image, host, findings)
    story.trace = LoadTrace(payload, placement, symbols, image)
    story.relocations = relocated.totals
    check_special_sections(payload, findings)
    check_patching_sections(payload, findings)

    loaded = LoadedSections(payload, placement, image, relocated.refused, [], mapping)
    prepared = prepare(loaded, _running_xen(host), lookup, _loaded_ids(host), findings)
    if host.release.xen_build_id_check == "late":
        check_xen_build_id_late(
            None if prepared.xen_depends is None else prepared.xen_depends.now(host.memory),
            host.hypervisor.build_id,
            compare=host.hypervisor.has_known_build_id,
            findings=findings,
        )
    # Xen has found all sections but the metadata before a table could change their names.
    found, payload = payload, prepared.payload
    symbols = _as_stored(symbols, found, payload)
    story.functions = patched_functions(prepared.entries, host.memory, host.nops, host.release)
    story.trace = story.trace._replace(functions=story.functions)
    offsets = [function.patch_offset for function in story.functions]
    story.measure = partial(_measure, story.trace, prepared.entries, offsets, loaded.branches, host)
    own_symbols = build_symbol_table(payload, symbols, prepared.new_addresses, _known_name_test(host), findings)

    if findings.deciding is not None:
        space.release(mapping)
        return story.end()
    space.secure(placement)
    host.payloads.append(
        LoadedPayload(
            name,
            found,
            placement,
            symbols,
            prepared.entries,
            own_symbols,
            {symbol.name: symbol.value for symbol in reversed(own_symbols) if symbol.is_new},
            prepared.build_id,
            prepared.depends,
            prepared.xen_depends,
            mapping,
            may_be_reapplied(layout, host.release),
            prepared.table,
            Hooks(found, placement, host.release),
            metadata_of(payload, placement, host.release),
            PayloadStatus(functions=[FunctionState()] * prepared.table.entries),
        )
    )
    return story.end(copied(image), mapping.unknown)


def _note_assumptions(host: HostState, findings: Findings) -> None:
    hypervisor = host.hypervisor
    if hypervisor.assumed:
        findings.add(
            observations.ASSUMED_HYPERVISOR,
            "the hypervisor that this payload was made for is not at hand; what only it knows is assumed",
            hint="give its xen-syms or boot image with -x",
        )
    for assumption in hypervisor.assumptions:
        findings.add(observations.ASSUMED_PROPERTY, assumption)
    for weakness in host.weaknesses:
        findings.add(observations.DRAFT, weakness)


def _check_name_and_size(data: PayloadFile, name: str, host: HostState, findings: Findings) -> None:
    """Test what Xen tests before it looks into the file (`spec/01 §2`)."""
    length = len(name.encode("utf-8", "surrogateescape"))
    if length > MAX_NAME:
        findings.add(upload.NAME_LENGTH, f"the name has {length} bytes; Xen takes at most {MAX_NAME}")
    if not len(data):
        findings.add(upload.EMPTY_FILE, "the file is empty")
    if host.max_size and len(data) > host.max_size:
        findings.add(
            upload.TOO_LARGE,
            f"the file has more than {host.max_size} bytes, which is the most that Xen takes",
            hint="strip debug information: strip --strip-debug",
        )
    if any(loaded.name == name for loaded in host.payloads):
        findings.add(upload.NAME_TAKEN, "a payload of this name is loaded already")


def _copy_sections(payload: ObjectFile, placement: Placement, image: np.ndarray, findings: Findings) -> bool:
    """Copy sections to where they were placed, in the order of the section table (`spec/02 §3`).

    Returns whether Xen survives it.
    """
    memory, file, sections, room = image.data, memoryview(payload.data), payload.sections, len(image)
    for index, _, _, start, size in placement.places:
        section = sections[index - 1]
        if size and start > room - size:
            findings.add(
                placing.COPY_PAST_RANGE,
                f"section {section.text_name} would be written from {signed(start):#x} to {signed(start) + size:#x} of "
                f"a range of {room:#x} bytes",
                section=section.text_name,
                index=index,
            )
            return False
        if section.is_nobits:
            image[start : start + size] = 0
        else:
            memory[start : start + size] = file[section.offset : section.offset + size]
    return True


def _relocate(
    payload: ObjectFile,
    placement: Placement,
    symbols: ResolvedSymbols,
    image: np.ndarray,
    host: HostState,
    findings: Findings,
) -> tuple[ObjectFile, Relocated]:
    """Apply all relocations; return also the payload as it is read by then."""
    if symbols.buffer is not None:
        payload = payload.changed(symbols.buffer)
    relocated = relocate(payload, placement, symbols, image, host.hypervisor.areas, findings)
    if relocated.entries:
        payload = replace(payload, relocations=relocated.entries)
    return payload, relocated


def _as_stored(symbols: ResolvedSymbols, before: ObjectFile, after: ObjectFile) -> ResolvedSymbols:
    """Return the symbols as they are in the upload buffer, where what Xen prepared has changed that."""
    if after is before or symbols.buffer is None:
        return symbols
    return symbols._replace(values=after.symbols.table["value"])


def _lookup(host: HostState) -> Lookup:
    hints = iter(range(MAX_HINTS))

    def names_like(name: bytes) -> Sequence[bytes]:
        return () if next(hints, None) is None else host.hypervisor.symbols.names_like(name)

    assumed = host.hypervisor.text_start if host.hypervisor.assumed else None
    # Most payloads are the first on their host, and name a hundred symbols.
    search = host.address_of if host.payloads else host.hypervisor.symbols.finder
    return Lookup(search, names_like, assumed, partial(_begins_a_name, host))


def _begins_a_name(host: HostState, prefix: bytes) -> bool:
    return any(name.startswith(prefix) for name in host.hypervisor.symbols.names)


def _known_name_test(host: HostState) -> Callable[[bytes], bool]:
    """Return the test whether a name is taken. The model's names say nothing about an assumed hypervisor's."""
    search: Callable[[bytes], int | None]
    if host.hypervisor.assumed:
        search = host.address_in_payloads
    elif host.payloads:
        search = host.address_of
    else:
        # A payload may have a symbol for each of its lines, and most are the first on their host.
        search = host.hypervisor.symbols.finder
    return lambda name: search(name) is not None


def _running_xen(host: HostState) -> RunningXen:
    return RunningXen(
        host.memory,
        host.hypervisor.symbols.address_of,
        partial(symbolic, host.hypervisor),
        Processor(host.nops, host.cpu_features),
        host.hypervisor.described,
        (host.hypervisor.image_start, host.hypervisor.image_end),
    )


def _loaded_ids(host: HostState) -> dict[bytes, str]:
    return {
        loaded.build_id.now(host.memory): loaded.shown_name
        for loaded in reversed(host.payloads)
        if loaded.build_id is not None
    }


class _Story:
    """What is known of an upload so far, and how it ends."""

    def __init__(self, file: str, name: str, findings: Findings) -> None:
        self.file = file
        self.name = name
        self.findings = findings
        self.was_placed = False
        self.placement: Placement | None = None
        self.trace: LoadTrace | None = None
        self.measure: Callable[[], Window] | None = None
        self.relocations = NO_RELOCATIONS
        self.functions: tuple[PatchedFunction, ...] = ()
        self._ids: dict[str, bytes | None] = {}

    def read_ids(self, payload: ObjectFile) -> None:
        """Note the build-ids that the file names."""
        self._ids = read_ids(payload)

    def end(self, image: np.ndarray | None = None, unknown: Sequence[UnknownRange] = ()) -> LoadResult:
        """Return the result; the first error decides."""
        deciding = self.findings.deciding
        if image is not None and self.trace is not None:
            # What was loaded stays what it was, whatever is done with the payload later.
            self.trace = self.trace._replace(image=image)
        build_id, depends, xen_depends = self._ids.values() if self._ids else (None, None, None)
        return LoadResult(
            file=self.file,
            name=self.name,
            verdict=_verdict(deciding),
            errno=deciding.errno if deciding is not None and not deciding.crash else None,
            stage=deciding.stage if deciding is not None else None,
            rule=deciding.rule if deciding is not None else None,
            xen_message=deciding.xen_message if deciding is not None else None,
            build_id=build_id,
            depends=depends,
            xen_depends=xen_depends,
            placement=self.placement if self.was_placed else None,
            funcs=self.functions if _reached_functions(deciding, self.findings.release) else (),
            relocations=self.relocations,
            findings=tuple(self.findings),
            log=self.findings.lines,
            image_bytes=image,
            unknown=tuple(map(self._unknown, unknown)),
            trace=self.trace if self.was_placed else None,
            measure=self.measure if self.was_placed else None,
        )

    def _unknown(self, part: UnknownRange) -> UnknownBytes:
        section = offset = None
        for placed in () if self.placement is None else self.placement.sections:
            if placed.address <= part.address < placed.address + placed.size:
                section, offset = placed.name, part.address - placed.address
        return UnknownBytes(part.address, part.size, section, offset, part.why)


def _measure(
    trace: LoadTrace,
    entries: tuple[FunctionEntry, ...],
    offsets: list[int],
    branches: list[MovedBranch],
    host: HostState,
) -> Window:
    """Return the window of bases in which all of a payload fits (contract 4)."""
    # Only when asked for.
    from xsplice_loader.livepatch.moved_branches import branch_constraints  # noqa: PLC0415
    from xsplice_loader.livepatch.trampolines import trampoline_constraints  # noqa: PLC0415
    from xsplice_loader.relocation.constraints import relocation_constraints  # noqa: PLC0415
    from xsplice_loader.relocation.window import measure  # noqa: PLC0415

    placement = trace.placement
    return measure(
        chain(
            relocation_constraints(trace, host.release),
            trampoline_constraints(entries, offsets, placement, host.release),
            branch_constraints(branches, placement),
        ),
        base=placement.base,
        size=placement.pages * PAGE_SIZE,
        arena=(host.hypervisor.arena_start, host.arena_end),
    )


def _verdict(deciding: Finding | None) -> Literal["accepted", "refused", "crash"]:
    if deciding is None:
        return "accepted"
    return "crash" if deciding.crash else "refused"


def _reached_functions(deciding: Finding | None, release: Release) -> bool:
    if deciding is None or deciding.stage in ("prepare", "symbol-table", "permissions"):
        return True
    return deciding.stage == "build-id" and release.xen_build_id_check == "late"
