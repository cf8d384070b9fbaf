"""One upload, by this program and by the loader of the real Xen: field by field."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypervisor.cores import core

from real_xen import legitimate
from real_xen.bench import PROCESSOR_HEAD, features_in
from real_xen.comparison import Difference
from real_xen.console import lines_of_log
from real_xen.loader_oracle import LoaderOracle
from real_xen.machine import snapshot_of
from real_xen.observation import Text
from real_xen.packages import fetch
from real_xen.page_tables import PAGE
from real_xen.physical_memory import physical_memory_of
from real_xen.problem import HarnessError
from xsplice_loader import Host, Hypervisor
from xsplice_loader.memory.address_space import MemoryFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from real_xen.legitimate import Rule
    from real_xen.loader_oracle import Verdict
    from xsplice_loader.results import LoadResult

COMMAND = "upload"
SHOWN_BYTES = 16


class Upload(NamedTuple):
    """One payload, uploaded on both sides."""

    program: LoadResult | None
    """None: it ended with an exception, or warned."""
    real: Verdict
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

    def upload(self, name: str, data: bytes) -> Upload:
        """Upload a payload on both sides, each time to a host without another, and compare."""
        real = self.oracle.upload(name, data)
        upload = self._compare(name, data, real, self.hypervisor)
        if not upload.differences:
            return upload
        if upload.program is None:
            return upload
        plain = real._replace(console=legitimate.without_upload_buffer(real.console))
        if plain != real and not self._compare(name, data, plain, self.hypervisor).differences:
            return upload._replace(differences=(), excused=legitimate.UPLOAD_BUFFER)
        if legitimate.is_mapped_elsewhere(upload.program, self.hypervisor, self.oracle.tables):
            return upload._replace(differences=(), excused=legitimate.ELSEWHERE)
        if not self._compare(name, data, real, self._running).differences:
            return upload._replace(differences=(), excused=legitimate.VARIABLES)
        return upload

    def _compare(self, name: str, data: bytes, real: Verdict, hypervisor: Hypervisor) -> Upload:
        host = Host(hypervisor, nops="k8", cpu_features=self.cpu_features)
        try:
            program = host.upload(name, data)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            return Upload(None, real, (Difference(COMMAND, "exception", said, _real_outcome(real)),))
        return Upload(program, real, tuple(self._differences(program, real, host)))

    def _with_memory(self) -> Hypervisor:
        """Return the hypervisor with what its memory holds once it runs, in place of what its file holds."""
        start = self.hypervisor.text_start & -PAGE
        runs = dict(self.oracle.mapped_runs(start, self.hypervisor.image_end & -PAGE))
        with tempfile.NamedTemporaryFile(suffix=".core") as file:
            file.write(core(runs, self.hypervisor.build_id))
            file.flush()
            return self.hypervisor.with_memory(file.name)

    def _differences(self, program: LoadResult, real: Verdict, host: Host) -> Iterator[Difference]:
        mine, theirs = _outcome(program), _real_outcome(real)
        if mine.split(" at ")[0] != theirs.split(" at ")[0]:
            yield Difference(COMMAND, "verdict", f"{mine} ({program.rule})", theirs)
            return
        logged = lines_of_log(program.log)
        if logged != real.console:
            yield Difference(COMMAND, "log", str(logged), str(real.console))
            return
        if program.verdict == "crash":
            return
        printed = _printed(host)
        if printed != real.x:
            yield Difference(COMMAND, "key x", str(printed), str(real.x))
            return
        yield from self._memory(program, real, host)

    def _memory(self, program: LoadResult, real: Verdict, host: Host) -> Iterator[Difference]:
        if program.verdict == "accepted" and real.loaded is not None:
            contents = program.image or b""
            difference = _bytes_difference(real.loaded.address, contents, real.loaded.contents or b"")
            if difference:
                yield Difference(COMMAND, "memory", *difference)
            permissions = [region.permissions for region in program.regions or () for _ in range(region.pages)]
            if tuple(permissions) != real.loaded.permissions:
                yield Difference(COMMAND, "permissions", str(permissions), str(real.loaded.permissions))
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
        # Bytes are compared faster than views.
        now = bytes(self._xen)
        if now != xen:
            difference = _bytes_difference(self._text.start, xen, now)
            if difference:
                yield Difference(COMMAND, "text", *difference)


def _outcome(program: LoadResult) -> str:
    return f"errno {program.errno}" if program.verdict == "refused" else str(program.verdict)


def _real_outcome(real: Verdict) -> str:
    if real.crash is not None:
        return f"crash at {real.crash}"
    return f"errno {-real.rc}" if real.rc else "accepted"


def _printed(host: Host) -> tuple[str, ...] | None:
    try:
        return tuple(part for line in host.dump() for part in line.split("\n"))
    except MemoryFault:
        return None


def _bytes_difference(address: int, program: bytes, real: bytes) -> tuple[str, str] | None:
    if len(program) != len(real):
        return f"{len(program)} bytes", f"{len(real)} bytes"
    places = np.flatnonzero(np.frombuffer(program, np.uint8) != np.frombuffer(real, np.uint8))
    if not len(places):
        return None
    first = int(places[0])
    there = f"at {address + first:#x} ({len(places)} bytes differ) "
    return there + program[first : first + SHOWN_BYTES].hex(), real[first : first + SHOWN_BYTES].hex()
