r"""What a load comes to: frozen records, nothing that computes.

Addresses are unsigned 64-bit integers, sizes and offsets bytes. Names are text, with `\xNN` for bytes that
are not UTF-8; a report escapes what its medium needs escaped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.rules.errnos import errno_name
from xsplice_loader.rules.rule import Severity, Stage  # noqa: TC001 - findings of cells are read back by their types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.relocation.window import Window

Verdict = Literal["accepted", "refused", "crash"]
Cause = Literal["never-placed", "addend", "absolute", "sign", "near-miss", "other-area", "far"]


class LoadError(Exception):
    """A payload was not accepted; `errno` is what Xen would return (None for a crash)."""

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """One thing found, tied to the rule that it breaks. Keys that do not apply are None."""

    rule: str
    severity: Severity
    message: str
    stage: Stage | None = None
    """The step of the load that this was found in; None before the first."""
    errno: int | None = None
    """What Xen returns for it, positive; None where it does not refuse, or dies."""
    crash: bool = False
    """Xen would not survive this."""
    xen_message: str | None = None
    """The line Xen logs, without `livepatch: NAME: `; None where it says nothing."""
    section: str | None = None
    index: int | None = None
    """Which entry of its table: a section, symbol, relocation or function."""
    offset: int | None = None
    """Where in the section, in bytes."""
    symbol: str | None = None
    type: str | None = None
    """The relocation type's psABI name."""
    s: int | None = None
    a: int | None = None
    p: int | None = None
    value: int | None = None
    """The signed 64-bit value that had to fit."""
    bits: int | None = None
    """How many signed bits the value needs."""
    range: tuple[int, int] | None = None
    """What would have fitted, half open."""
    overrun: int | None = None
    """Bytes by which the value lies outside the range."""
    cause: Cause | None = None
    area: str | None = None
    """The named area in which the target lies, with cause `other-area`."""
    lands_at: int | None = None
    """Where the truncated displacement would lead."""
    instruction: str | None = None
    hint: str | None = None
    source_file: str | None = None
    """The source file that the place was compiled from, where the payload says so."""
    source_line: int | None = None


Verb = Literal["apply", "revert", "replace", "unload"]


class ActionError(Exception):
    """An action was not carried out; `errno` is what Xen returned (None for a crash, or where it is unknown)."""

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


class ActionResult(NamedTuple):
    """One action on a loaded payload."""

    verb: Verb
    name: str
    rc: int | None
    """What the hypercall returned: 0, a negative errno, or what a hook returned; None: the machine died, or what
    comes of the action is unknown."""
    crash: str | None = None
    """The rule that says why the machine would not have survived."""
    had_nothing_to_do: bool = False
    """The payload was in the state that was asked for already."""
    payload_rc: int | None = None
    """What the payload's status holds afterwards; None where there is no such payload."""
    is_applied: bool = False
    """Whether the payload is applied afterwards."""
    log: tuple[str | None, ...] = ()
    """The lines that Xen prints on its console; None: one that depends on what is unknown."""
    findings: tuple[Finding, ...] = ()
    unknown: str | None = None
    """Why what comes of the action is unknown: a hook that could not be followed to its end."""

    @property
    def succeeded(self) -> bool:
        """Whether the payload is now in the state that was asked for."""
        if self.had_nothing_to_do:
            return self.rc == 0
        return self.rc == 0 and not self.payload_rc and self.is_applied is (self.verb in ("apply", "replace"))

    def raise_for_rc(self) -> None:
        """Do nothing if the action was carried out.

        Raises:
            ActionError: it was not.
        """
        if not self.succeeded:
            rc = self.rc or self.payload_rc or 0
            errno = -rc if rc < 0 and self.rc is not None else None
            errors = (finding.message for finding in self.findings if finding.severity == "error")
            raise ActionError(next(errors, f"{self.verb} {self.name}: {rc}"), errno)


class ListedPayload(NamedTuple):
    """A loaded payload, as a list of them tells."""

    name: str
    state: Literal["CHECKED", "APPLIED"]
    rc: int
    """What came of the last action: 0, a negative errno, or what a hook returned."""
    metadata: tuple[str, ...] | None
    """What it says of itself; None: that was left in the upload's buffer, which is gone."""


LIVEPATCH = "livepatch: "
"""What the lines of the live-patch code begin with."""


class PatchedBytes(NamedTuple):
    """The 32 bytes at the beginning of a function that was patched."""

    address: int
    contents: bytes
    """Fewer where fewer are mapped, or where an unknown one follows."""
    hex: str
    """All that are mapped in hex, `??` for each unknown one."""


class Step(NamedTuple):
    """One command of `xen-livepatch`: what the tool shows, and what is true afterwards."""

    command: str
    rc: int | None
    """The tool's exit status; None: the machine died, or it is unknown."""
    crash: str | None
    """The rule that says why it died."""
    errno: int | None
    """The last error number that the tool showed."""
    out: tuple[str, ...]
    err: tuple[str, ...]
    log: tuple[str | None, ...]
    """What was printed on Xen's console, line by line; None: a line that depends on what is unknown."""
    list: tuple[str, ...]
    """The rows that `xen-livepatch list` shows now, without its heading; none where the outcome is unknown."""
    payload_rc: int | None
    """What the status of the payload holds that the command was about; None where there is none, or it is unknown."""
    patched: tuple[PatchedBytes, ...]
    """At every address that was patched so far."""
    findings: tuple[Finding, ...]
    unknown: str | None = None
    """Why what comes of the command is unknown."""

    @property
    def messages(self) -> tuple[str, ...]:
        """What the live-patch code logged, without `livepatch: `."""
        return tuple(line.split(LIVEPATCH, 1)[1] for line in self.log if line is not None and LIVEPATCH in line)

    @property
    def console(self) -> tuple[str | None, ...]:
        """What else was printed on Xen's console."""
        return tuple(line for line in self.log if line is None or LIVEPATCH not in line)

    @property
    def is_last(self) -> bool:
        """Whether nothing can follow: the machine died, or it is unknown what became of it."""
        return self.crash is not None or self.unknown is not None

    @property
    def succeeded(self) -> bool:
        """Whether the tool ended well."""
        return self.rc == 0


class Region(NamedTuple):
    """One of the three parts of a loaded payload; an empty one has the address of the next."""

    name: Literal["text", "rw", "ro"]
    address: int
    size: int
    permissions: Literal["r-x", "rw-", "r--"]

    @property
    def pages(self) -> int:
        """Whole pages that the region takes."""
        return -(-self.size // 4096)


class PlacedSection(NamedTuple):
    """A section that got an address."""

    index: int  # type: ignore[assignment]  # a section's number has no other name, and nobody looks for values in it
    name: str
    region: str
    address: int
    size: int


class PatchedFunction(NamedTuple):
    """One entry of `.livepatch.funcs` as loaded.

    `before` and `patched` are 32 bytes at `old_addr`, fewer where an unknown byte follows; None where the first is
    unknown.
    """

    name: str
    old_addr: int
    new_addr: int
    old_size: int
    new_size: int
    patch_offset: int
    before: bytes | None
    patched: bytes | None
    before_hex: str | None = None
    """All 32 in hex, `??` for each unknown one; None where all are."""
    patched_hex: str | None = None
    """The same."""


class UnknownBytes(NamedTuple):
    """Bytes of a loaded payload that depend on memory which Xen fills in while it boots."""

    address: int
    size: int
    section: str | None
    """The section that the first of them is in; None in the gaps between sections."""
    offset: int | None
    """Where in that section."""
    why: str
    """A clause: what Xen reads to decide on them, and where that is."""


@dataclass(frozen=True, slots=True, eq=False)
class Relocation:
    """One applied or refused relocation, for lists.

    Fields are as in `Finding`; `value` is None where nothing is written.
    """

    section: str
    index: int
    offset: int
    type: str
    symbol: str
    s: int
    a: int
    p: int
    value: int | None
    applied: bool
    instruction: str | None = None


class RelocationTotals(NamedTuple):
    """How many relocations of which type a payload asks to be applied."""

    total: int
    by_type: dict[str, int]


NO_RELOCATIONS = RelocationTotals(0, {})


@dataclass(frozen=True, slots=True, eq=False)
class LoadResult:
    """One upload, from its bytes to the verdict."""

    file: str
    name: str
    verdict: Verdict | None
    """None: the file could not be read."""
    errno: int | None = None
    stage: Stage | None = None
    rule: str | None = None
    xen_message: str | None = None
    build_id: bytes | None = None
    depends: bytes | None = None
    xen_depends: bytes | None = None
    placement: Placement | None = None
    """Where everything was placed; None if Xen refused before that."""
    funcs: tuple[PatchedFunction, ...] = ()
    relocations: RelocationTotals = NO_RELOCATIONS
    findings: tuple[Finding, ...] = ()
    log: tuple[str, ...] = ()
    """The lines that Xen prints on its console, as they stand there."""
    digest: str | None = None
    """The SHA-256 of the loaded memory, where that was let go of."""
    image_bytes: np.ndarray | None = None
    """The loaded memory from the text address, whole pages, as uint8; None unless accepted."""
    unknown: tuple[UnknownBytes, ...] = ()
    """Bytes of it that depend on memory which Xen fills in while it boots, ascending; they are as before that step."""
    trace: LoadTrace | None = None
    """Intermediate results of the load; None if the payload was never placed."""

    measure: Callable[[], Window] | None = None
    """Measures the window; None if the payload's content was never reached."""

    @property
    def regions(self) -> tuple[Region, Region, Region] | None:
        """Text, rw and ro; None if Xen refused before it placed anything."""
        return None if self.placement is None else self.placement.regions

    @property
    def pages(self) -> int:
        """Whole pages of all regions."""
        return 0 if self.placement is None else self.placement.pages

    @property
    def sections(self) -> tuple[PlacedSection, ...]:
        """The placed sections, in the order of the section table."""
        return () if self.placement is None else self.placement.sections

    @property
    def window(self) -> Window | None:
        """The run of base addresses at which all of the payload fits (contract 4), computed when asked for."""
        return None if self.measure is None else self.measure()

    @property
    def errno_name(self) -> str | None:
        """The errno's name, for example `EOVERFLOW`."""
        return None if self.errno is None else errno_name(self.errno)

    @property
    def image(self) -> bytes | None:
        """The loaded memory from the text address, whole pages, gaps zero; None unless accepted."""
        return None if self.image_bytes is None else self.image_bytes.tobytes()

    @property
    def image_sha256(self) -> str | None:
        """The SHA-256 of the loaded memory, in hex; None unless accepted."""
        if self.image_bytes is None:
            return self.digest
        import hashlib  # noqa: PLC0415 - text does not need it

        return hashlib.sha256(self.image_bytes.data).hexdigest()

    def without_memory(self) -> LoadResult:
        """Return what there is to tell, without what it takes to look closer."""
        return replace(self, digest=self.image_sha256, image_bytes=None, trace=None, measure=None)

    @property
    def crash(self) -> str | None:
        """The rule that says why the machine would not have survived the upload."""
        return self.rule if self.verdict == "crash" else None

    @property
    def accepted(self) -> bool:
        """Whether the hypervisor would take the payload."""
        return self.verdict == "accepted"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict and what was found."""
        from xsplice_loader.report.page.notebook import result_html  # noqa: PLC0415 - a report, and only for notebooks

        return result_html(self)

    def raise_for_verdict(self) -> None:
        """Do nothing for an accepted payload.

        Raises:
            LoadError: the payload was refused, would crash Xen, or could not be read.
        """
        if not self.accepted:
            raise LoadError(_first_error(self.findings) or f"{self.name}: {self.verdict}", self.errno)


def _first_error(findings: Sequence[Finding]) -> str | None:
    return next((finding.message for finding in findings if finding.severity == "error"), None)
