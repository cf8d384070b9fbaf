"""One payload's life, by this program and by the code of the real Xen without a boot: field by field."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypervisor.cores import core

from real_xen import legitimate_uploads as legitimate
from real_xen.bench import PROCESSOR_HEAD, features_in
from real_xen.comparison import Difference
from real_xen.console import lines_apart, lines_of_log
from real_xen.legitimate import NOT_FOLLOWED, is_not_followed
from real_xen.loader_oracle import LoaderOracle
from real_xen.machine import snapshot_of
from real_xen.observation import Text
from real_xen.packages import fetch
from real_xen.page_tables import PAGE
from real_xen.physical_memory import physical_memory_of
from real_xen.problem import HarnessError
from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run_hook
from xsplice_loader.memory.address_space import MemoryFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from real_xen.legitimate import Rule
    from real_xen.loader_oracle import Verdict
    from xsplice_loader.results import ActionResult, Finding, LoadResult

UPLOAD = "upload"
LIFE = ("apply", "revert", "unload")
SHOWN_BYTES = 16


class RealStep(NamedTuple):
    """What the real Xen made of one step."""

    verdict: Verdict
    text: bytes
    """Its code and constants afterwards."""


class Upload(NamedTuple):
    """One payload, on both sides: uploaded, and applied, reverted and unloaded if it was accepted."""

    findings: tuple[Finding, ...]
    """What the program found, up to the step that differs."""
    real: Verdict
    """Of the upload."""
    differences: tuple[Difference, ...]
    excused: Rule | None = None
    """Why there are none, though the two do not agree."""


class UploadBench:
    """The program and the real loader of one release, side by side."""

    def __init__(self, release: str, say: Callable[[str], None]) -> None:
        """Fetch, boot and keep what is not there yet.

        Raises:
            HarnessError: something cannot be had, or does not belong together.
        """
        parts = fetch(release, say)
        self.release = release
        self.version = parts.versions[f"xen-hypervisor-{release}-amd64"]
        self.hypervisor = Hypervisor.open(str(parts.xen_syms))
        snapshot = snapshot_of(parts, say)
        self.build_id = self.hypervisor.build_id or b""
        if snapshot.build_id != self.build_id.hex():
            raise HarnessError(f"Xen runs as build {snapshot.build_id}, its symbols are of {self.build_id.hex()}")
        self.oracle = LoaderOracle(self.hypervisor, physical_memory_of(snapshot, say))
        self.cpu_features = self._processor_features()
        self._text = Text.of(self.hypervisor)
        self._xen = self.oracle.view(self._text.start, self._text.end - self._text.start)
        self._after_boot = bytes(self._xen)
        self._running = self._with_memory()

    def _processor_features(self) -> frozenset[int]:
        words = self.hypervisor.release.alternatives_feature_words
        processor = self.hypervisor.symbols.address_of(b"boot_cpu_data") or 0
        found = self.oracle.read(processor, PROCESSOR_HEAD.size + 4 * words)
        if found is None:
            raise HarnessError("the symbols do not say where Xen keeps what the processor can do")
        return features_in(found)

    def _with_memory(self) -> Hypervisor:
        """Return the hypervisor with what its memory holds once it runs, in place of what its file holds."""
        start = self.hypervisor.text_start & -PAGE
        runs = dict(self.oracle.mapped_runs(start, self.hypervisor.image_end & -PAGE))
        with tempfile.NamedTemporaryFile(suffix=".core") as file:
            file.write(core(runs, self.hypervisor.build_id))
            file.flush()
            return self.hypervisor.with_memory(file.name)

    def try_payload(self, name: str, data: bytes) -> Upload:
        """Upload a payload on both sides, each time to a host without another, follow its life, and compare."""
        real = list(self._real_life(name, data))
        upload = self._compare(name, data, real, self.hypervisor)
        if not upload.differences:
            return upload
        plain = [step._replace(verdict=legitimate.without_upload_buffer(step.verdict)) for step in real]
        if plain != real:
            without = self._compare(name, data, plain, self.hypervisor)
            if not without.differences:
                return without if without.excused else without._replace(excused=legitimate.UPLOAD_BUFFER)
        if legitimate.is_mapped_elsewhere(upload.findings, self.hypervisor, self.oracle.tables):
            return upload._replace(differences=(), excused=legitimate.MAPPED)
        if not any(legitimate.is_unknown(finding) for finding in upload.findings):
            return upload
        # What the program says that it does not know may be what differs.
        informed = self._compare(name, data, real, self._running)
        return informed if informed.differences or informed.excused else informed._replace(excused=legitimate.MEMORY)

    def _real_life(self, name: str, data: bytes) -> Iterator[RealStep]:
        verdict = self.oracle.upload(name, data)
        yield RealStep(verdict, bytes(self._xen))
        for verb in LIFE if verdict.verdict == "accepted" else ():
            if verdict.crash is not None or verdict.x is None:
                return
            verdict = self.oracle.act(verb)
            yield RealStep(verdict, bytes(self._xen))

    def _compare(self, name: str, data: bytes, real: Sequence[RealStep], hypervisor: Hypervisor) -> Upload:
        """Compare a life's steps up to the first that differs."""
        host = Host(hypervisor, nops="k8", cpu_features=self.cpu_features, hook_runner=run_hook)
        findings: list[Finding] = []
        has_hooks = False

        def differing(*differences: Difference, excused: Rule | None = None) -> Upload:
            return Upload(tuple(findings), real[0].verdict, differences, excused)

        for verb, step in zip((UPLOAD, *LIFE), real, strict=False):
            try:
                program = host.upload(name, data) if verb == UPLOAD else _act(host, verb, name)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                return differing(Difference(verb, "exception", said, _outcome_of_real(step.verdict)))
            findings += program.findings
            if verb != UPLOAD and any(is_not_followed(finding) for finding in program.findings):
                return differing(excused=NOT_FOLLOWED)
            if verb != UPLOAD and _is_alive(program) and legitimate.is_crash_of_patched_code(step.verdict, host):
                return differing(excused=legitimate.PATCHED_CODE)
            if step.verdict.crash is not None and any(legitimate.is_odd_result(found) for found in program.findings):
                return differing(excused=legitimate.ODD_HOOK)
            differences = tuple(self._differences(verb, program, step, host))
            if differences and step.verdict.has_run_payload and not has_hooks:
                return differing(excused=legitimate.PATCHED_CODE)
            if differences and any(map(legitimate.is_outside_text, findings)):
                return differing(excused=legitimate.XEN_ALTERED)
            if differences and legitimate.has_written_variables(host):
                return differing(excused=legitimate.XEN_VARIABLES)
            if differences:
                return differing(*differences)
            has_hooks = has_hooks or any(legitimate.has_hooks(loaded.payload) for loaded in host.payloads)
        return differing()

    def _differences(
        self, verb: str, program: LoadResult | ActionResult, step: RealStep, host: Host
    ) -> Iterator[Difference]:
        real = step.verdict
        mine, theirs = _outcome_of_program(program), _outcome_of_real(real)
        if mine != theirs:
            rules = ", ".join(finding.rule for finding in program.findings if finding.severity == "error")
            yield Difference(verb, "verdict", f"{mine} ({rules})", real.crash or theirs)
            return
        logged = lines_of_log(program.log)
        console = lines_apart(real.console)
        if real.crash is not None and verb != UPLOAD:
            # Without exceptions delivered the last words of BUG are missing; those of a panic the program leaves out.
            common = min(len(logged), len(console))
            logged, console = logged[:common], console[:common]
        if logged != console:
            yield Difference(verb, "log", str(logged), str(console))
            return
        if not _is_alive(program):
            return
        printed = _printed(host)
        if printed != real.x:
            yield Difference(verb, "key x", str(printed), str(real.x))
            return
        if verb == UPLOAD and real.loaded is not None:
            yield from _loaded_differences(host, real)
        yield from self._text_differences(verb, step.text, host)

    def _text_differences(self, verb: str, now: bytes, host: Host) -> Iterator[Difference]:
        xen = self._after_boot
        written = {
            address - self._text.start: byte
            for address, byte in host.state.memory.written.items()
            if self._text.start <= address < self._text.end
        }
        if written:
            changed = bytearray(xen)
            for offset, byte in written.items():
                changed[offset] = byte
            xen = bytes(changed)
        if now != xen:
            # What is written at an unknown place may be anywhere that it may have been.
            changed = bytearray(now)
            for offset in np.flatnonzero(np.frombuffer(now, np.uint8) != np.frombuffer(xen, np.uint8)).tolist():
                if host.state.memory.is_lost(self._text.start + offset):
                    changed[offset] = xen[offset]
            difference = _bytes_difference(self._text.start, xen, bytes(changed))
            if difference:
                yield Difference(verb, "text", *difference)


def _act(host: Host, verb: str, name: str) -> ActionResult:
    return {"apply": host.apply, "revert": host.revert, "unload": host.unload}[verb](name)


def _is_alive(program: LoadResult | ActionResult) -> bool:
    return "crash" not in _outcome_of_program(program)


def _outcome_of_program(program: LoadResult | ActionResult) -> str:
    if isinstance(program, tuple):
        return "crash" if program.crash is not None else f"rc {program.rc}, payload {program.payload_rc}"
    return f"errno {program.errno}" if program.verdict == "refused" else str(program.verdict)


def _outcome_of_real(real: Verdict) -> str:
    if real.crash is not None:
        return "crash"
    if real.is_action:
        return f"rc {real.rc}, payload {real.payload_rc}"
    return f"errno {-real.rc}" if real.rc else "accepted"


def _printed(host: Host) -> tuple[str, ...] | None:
    try:
        return tuple(part for line in host.dump() for part in line.split("\n"))
    except MemoryFault:
        return None


def _loaded_differences(host: Host, real: Verdict) -> Iterator[Difference]:
    if real.loaded is None or not host.payloads:
        return
    payload = host.payloads[-1]
    found, theirs = bytearray(payload.mapping.contents.tobytes()), bytearray(real.loaded.contents or b"")
    for part in payload.mapping.unknown:
        unknown = slice(part.address - payload.mapping.start, part.end - payload.mapping.start)
        found[unknown] = theirs[unknown] = bytes(part.size)
    difference = _bytes_difference(real.loaded.address, bytes(found), bytes(theirs))
    if difference:
        yield Difference(UPLOAD, "memory", *difference)
    permissions = [region.permissions for region in payload.placement.regions for _ in range(region.pages)]
    if tuple(permissions) != real.loaded.permissions:
        yield Difference(UPLOAD, "permissions", str(permissions), str(real.loaded.permissions))


def _bytes_difference(address: int, program: bytes, real: bytes) -> tuple[str, str] | None:
    if len(program) != len(real):
        return f"{len(program)} bytes", f"{len(real)} bytes"
    places = np.flatnonzero(np.frombuffer(program, np.uint8) != np.frombuffer(real, np.uint8))
    if not len(places):
        return None
    first = int(places[0])
    there = f"at {address + first:#x} ({len(places)} bytes differ) "
    return there + program[first : first + SHOWN_BYTES].hex(), real[first : first + SHOWN_BYTES].hex()
