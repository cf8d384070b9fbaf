"""What `xsplice-load --format json` writes, as structures: their fields in the order of the keys (contract 2).

Addresses and whatever else can exceed 2^53 are strings.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from xsplice_loader.emulation.outcomes import Outcome, Via  # noqa: TC001 - msgspec reads them at run time
from xsplice_loader.relocation.window import LimitKind  # noqa: TC001
from xsplice_loader.results import Cause, Verdict  # noqa: TC001
from xsplice_loader.rules.rule import Severity, Stage  # noqa: TC001

SCHEMA: Final = "xsplice-load/1"
When = Literal["before", "after"]


class Range(msgspec.Struct, frozen=True):
    """A range of addresses, half open."""

    start: str
    end: str


class HypervisorEntry(msgspec.Struct, frozen=True):
    """What the payloads were loaded against."""

    file: str
    release: str
    build_id: str | None
    text: Range
    arena: Range
    symbols: int
    built_in: bool
    assumed: bool
    memory: str | None
    """The file of captured memory, if any."""


class Errno(msgspec.Struct, frozen=True):
    """An error number, positive, with its name."""

    number: int
    name: str


class RegionEntry(msgspec.Struct, frozen=True):
    """One of a payload's three regions."""

    address: str
    size: int
    pages: int


class Regions(msgspec.Struct, frozen=True):
    """Always all three; an empty one has the address of the next."""

    text: RegionEntry
    rw: RegionEntry
    ro: RegionEntry


class SectionEntry(msgspec.Struct, frozen=True):
    """A placed section."""

    index: int
    name: str
    region: str
    address: str
    size: int


class FunctionRow(msgspec.Struct, frozen=True):
    """One entry of the function table."""

    name: str
    old_addr: str
    new_addr: str
    old_size: int
    new_size: int
    patch_offset: int
    before: str | None
    """In hex, up to the first unknown byte; null where that is the first."""
    patched: str | None
    before_masked: str | msgspec.UnsetType = msgspec.UNSET
    """All 32 bytes, `??` for each unknown one; only where some are unknown."""
    patched_masked: str | msgspec.UnsetType = msgspec.UNSET


class UnknownEntry(msgspec.Struct, frozen=True):
    """Bytes of the loaded payload that depend on memory which Xen fills in while it boots."""

    address: str
    size: int
    section: str | None
    offset: int | None
    why: str


class RelocationItem(msgspec.Struct, frozen=True):
    """One relocation, with `--relocations`."""

    section: str
    index: int
    offset: int
    type: str
    symbol: str
    s: str
    a: str
    p: str
    value: str | None
    applied: bool
    instruction: str | None


class Relocations(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many relocations there are; each of them only on request."""

    total: int
    by_type: dict[str, int]
    items: list[RelocationItem] | msgspec.UnsetType = msgspec.UNSET


class FindingEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finding; keys that do not apply are left out."""

    rule: str
    severity: Severity
    message: str
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    symbol: str | None = None
    type: str | None = None
    s: str | None = None
    a: str | None = None
    p: str | None = None
    value: str | None = None
    bits: int | None = None
    range: tuple[str, str] | None = None
    overrun: str | None = None
    cause: Cause | None = None
    lands_at: str | None = None
    instruction: str | None = None
    hint: str | None = None
    area: str | None = None
    stage: Stage | None = None
    errno: Errno | None = None
    xen_message: str | None = None
    source_file: str | None = None
    source_line: int | None = None


class TightestEntry(msgspec.Struct, frozen=True):
    """What breaks first on one side of a window; side `none`: what fits at no base."""

    side: Literal["low", "high", "none"]
    kind: LimitKind
    section: str
    index: int
    symbol: str


class WindowEntry(msgspec.Struct, frozen=True):
    """The run of bases at which all of a payload fits, both ends included; null ends: there is none."""

    lowest: str | None
    highest: str | None
    covers_arena: bool
    headroom: int | None
    tightest: list[TightestEntry]


class PayloadEntry(msgspec.Struct, frozen=True):
    """One upload."""

    file: str
    name: str
    verdict: Verdict | None
    errno: Errno | None
    stage: Stage | None
    rule: str | None
    xen_message: str | None
    build_id: str | None
    depends: str | None
    xen_depends: str | None
    regions: Regions | None
    pages: int
    sections: list[SectionEntry]
    funcs: list[FunctionRow]
    relocations: Relocations
    window: WindowEntry | None
    image_sha256: str | None
    unknown: list[UnknownEntry]
    findings: list[FindingEntry]


class PatchedEntry(msgspec.Struct, frozen=True):
    """The first bytes of a function that was patched, as hex, up to the first unknown one."""

    address: str
    bytes: str
    masked: str | msgspec.UnsetType = msgspec.UNSET
    """All of them, `??` for each unknown one; only where some are unknown."""


class StepEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command of `xen-livepatch`; where `rc` is null there is `crash` or `unknown`, and no step after it.

    With `unknown`, `list` is empty and `payload_rc` null, since what they would hold is unknown. A payload that no step
    uploads, because the steps ended, was uploaded to a host as it was before the last step. A line of `console` is null
    where it depends on what is unknown.
    """

    command: str
    rc: int | None
    errno: Errno | None
    out: list[str]
    err: list[str]
    messages: list[str]
    console: list[str | None]
    rows: list[str] = msgspec.field(name="list")
    payload_rc: int | None
    patched: list[PatchedEntry]
    findings: list[FindingEntry]
    crash: str | msgspec.UnsetType = msgspec.UNSET
    unknown: str | msgspec.UnsetType = msgspec.UNSET


class PathEntry(msgspec.Struct, frozen=True):
    """A function that was entered on the way; `payload` is null where it is Xen's own."""

    address: str
    symbol: str | None
    payload: str | None
    via: Via
    depth: int


class WriteEntry(msgspec.Struct, frozen=True):
    """Bytes that were written; `before` is null where they are not known."""

    address: str
    symbol: str | None
    before: str | None
    after: str


class RunEntry(msgspec.Struct, frozen=True):
    """One run of one function; `value` and `text` are null unless it returned, and a text."""

    function: str
    when: Literal["before", "after"]
    address: str
    outcome: Outcome
    reason: str | None
    value: str | None
    text: str | None
    instructions: int
    path: list[PathEntry]
    path_left_off: int
    writes: list[WriteEntry]
    console: list[str]


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `xsplice-load --format json` writes.

    `steps` only with `--script`, `--apply` or `--run`; `runs` only with `--run`.
    """

    schema: Literal["xsplice-load/1"]
    hypervisor: HypervisorEntry
    payloads: list[PayloadEntry]
    steps: list[StepEntry] | msgspec.UnsetType = msgspec.UNSET
    runs: list[RunEntry] | msgspec.UnsetType = msgspec.UNSET
