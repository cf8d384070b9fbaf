"""The walk through a load: each of Xen's steps, what was tested there, and what came of it with this payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.payload import PayloadFile
from xsplice_loader.rules import RULES, observations
from xsplice_loader.rules.applicability import applies, stages_of
from xsplice_loader.rules.rule import Stage
from xsplice_loader.teaching import walk_addresses, walk_content, walk_form, walk_memory
from xsplice_loader.teaching.scene import Scene, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader.host import Host
    from xsplice_loader.host_state import LoadedPayload
    from xsplice_loader.releases import Release
    from xsplice_loader.results import Finding, LoadResult
    from xsplice_loader.teaching.blocks import Block

StepName = Stage | Literal["upload"]
Outcome = Literal["passed", "refused", "crash", "never reached", "would be refused", "would crash"]


class Station(NamedTuple):
    """What a step of the load asks, and who tells of it."""

    question: str
    tell: Callable[[Scene], Iterator[Block]]


OBSERVED_AT: dict[str, Stage] = {
    observations.PLACED_BY_HAND.id: "placement",
    observations.NOTHING_LOADABLE.id: "placement",
    observations.BEYOND_ARENA.id: "placement",
    observations.DRAFT.id: "placement",
    observations.ASSUMED_SYMBOL.id: "resolution",
    observations.JUMP_WRAPS.id: "prepare",
    observations.SHORT_NOP_ON_ENDBR64.id: "prepare",
}
"""The steps at which this program notes what Xen does not test; what stands nowhere here is noted at the first."""
STATIONS: dict[StepName, Station] = {
    "upload": Station("Does Xen want this file at all?", walk_form.tell_upload),
    "header": Station("Is it a relocatable ELF file for this machine?", walk_form.tell_header),
    "sections": Station("Do the section headers say things that can be true?", walk_form.tell_sections),
    "names": Station("Can the sections be called by their names?", walk_form.tell_names),
    "symbols": Station("Can the symbols be called by theirs?", walk_form.tell_symbols),
    "placement": Station("Where does each section go?", walk_memory.tell_placement),
    "resolution": Station("What address is behind each symbol?", walk_addresses.tell_resolution),
    "relocation": Station("Which values go into the code, and do they fit?", walk_addresses.tell_relocation),
    "special-sections": Station("Are the sections there that every payload needs?", walk_content.tell_special),
    "patching-sections": Station("Is there anything to patch?", walk_content.tell_patching),
    "prepare": Station("What does the payload mean to do, and can it be done?", walk_content.tell_prepare),
    "build-id": Station("Was the payload made for the Xen that is running?", walk_content.tell_build_id),
    "symbol-table": Station("Which names does it bring along for later payloads?", walk_content.tell_symbol_table),
    "permissions": Station("What may be done with its memory from now on?", walk_memory.tell_permissions),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the load."""

    name: StepName
    question: str
    outcome: Outcome
    told: tuple[Block, ...]
    rules: tuple[str, ...]
    """The ids of the rules that this release tests there."""
    found: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """The way of one payload through all steps."""

    result: LoadResult
    release: str
    steps: tuple[Step, ...]


def walk(host: Host, name: str, data: bytes, *, file: str) -> Walk:
    """Upload `data` under `name` to `host`, and return what happened on the way."""
    below = host.payloads
    return retrace(scene_of(host, host.upload(name, data, file=file), data, below))


def scene_of(host: Host, result: LoadResult, data: bytes, below: tuple[LoadedPayload, ...]) -> Scene:
    """Return what there is to look at after an upload; `below` are the payloads that were loaded before it."""
    payload = PayloadFile(data).read(silent(host.state.release))
    loaded = next((new for new in host.payloads if new not in below), None)
    return Scene(host, result, data, payload, loaded, below)


def retrace(scene: Scene) -> Walk:
    """Return the walk of an upload that was just made."""
    return Walk(scene.result, scene.release.name, tuple(_steps(scene)))


def steps_of(release: Release) -> tuple[StepName, ...]:
    """Return the steps in the order of a release (`spec/01 §3`)."""
    return ("upload", *stages_of(release))


def rules_at(name: str, release: Release) -> tuple[str, ...]:
    """Return the ids of the rules that a release has at a step."""
    return tuple(
        rule.id
        for rule in RULES.values()
        if applies(rule, release) and (rule.stage == name or (name == "upload" and rule.id in walk_form.AT_UPLOAD))
    )


def _steps(scene: Scene) -> Iterator[Step]:
    has_ended = False
    for name in steps_of(scene.release):
        station = STATIONS[name]
        found = tuple(finding for finding in scene.result.findings if _step_of(finding) == name)
        outcome = _outcome(found, has_ended=has_ended)
        told = tuple(station.tell(scene))
        yield Step(name, station.question, outcome, told, rules_at(name, scene.release), found)
        has_ended = has_ended or outcome in ("refused", "crash")


def _step_of(finding: Finding) -> str:
    if finding.stage is not None:
        return finding.stage
    return OBSERVED_AT.get(finding.rule, "upload")


def _outcome(found: tuple[Finding, ...], *, has_ended: bool) -> Outcome:
    first = next((finding for finding in found if finding.severity == "error"), None)
    if first is None:
        return "never reached" if has_ended else "passed"
    if has_ended:
        return "would crash" if first.crash else "would be refused"
    return "crash" if first.crash else "refused"
