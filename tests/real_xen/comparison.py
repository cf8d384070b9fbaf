"""What was foretold and what was seen, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from real_xen import legitimate
from real_xen.console import lines_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from real_xen.foretelling import Foretold, Image
    from real_xen.legitimate import Rule
    from real_xen.observation import Observed, Text
    from xsplice_loader import Hypervisor

LIVEPATCH = "livepatch: "
SHOWN_BYTES = 16


class Difference(NamedTuple):
    """A field in which the two disagree."""

    command: str
    field: str
    program: str
    real: str

    def __str__(self) -> str:
        return f"{self.command}: {self.field}: the program says {self.program}, the hypervisor {self.real}"


class Comparison(NamedTuple):
    """What comparing a case came to."""

    fields: int
    """How many were compared; a block of memory counts as one."""
    size: int
    """Bytes of memory that were compared."""
    differences: tuple[Difference, ...]
    excused: tuple[Rule, ...] = ()
    """Why something was not compared."""
    rules: tuple[str, ...] = ()
    """The rules of the catalogue that were seen at work, in steps without a difference."""


class _Count:
    """What a comparison comes to so far."""

    def __init__(self) -> None:
        self.fields = self.size = 0
        self.differences: list[Difference] = []
        self.excused: list[Rule] = []
        self.rules: list[str] = []

    def compare(self, command: str, field: str, program: object, real: object) -> None:
        """Compare one field."""
        self.fields += 1
        if program != real:
            self.differences.append(Difference(command, field, str(program), str(real)))

    def result(self) -> Comparison:
        """Return it as it is."""
        return Comparison(
            self.fields,
            self.size,
            tuple(self.differences),
            tuple(dict.fromkeys(self.excused)),
            tuple(dict.fromkeys(self.rules)),
        )


class Comparer:
    """Compares cases on one hypervisor."""

    def __init__(self, hypervisor: Hypervisor, text: Text, after_boot: bytes) -> None:
        """`after_boot` is what stood in `text` before any payload."""
        self._hypervisor = hypervisor
        self.text = text
        self.after_boot_bytes = after_boot
        self._after_boot = np.frombuffer(after_boot, np.uint8)

    def compare(self, foretold: Sequence[Foretold], observed: Sequence[Observed]) -> Comparison:
        """Compare the steps of one case, up to the first that differs or that is the end."""
        count = _Count()
        for expected, seen in zip(foretold, observed, strict=False):
            if legitimate.is_given_up(expected):
                count.excused.append(legitimate.NOT_FOLLOWED)
                return count.result()
            if self._step(expected, seen, count):
                return count.result()
            count.rules += expected.rules
        if len(observed) != len(foretold):
            count.compare(observed[-1].command.line, "steps", len(foretold), len(observed))
        return count.result()

    def _step(self, expected: Foretold, seen: Observed, count: _Count) -> bool:
        """Compare a step; return whether what comes after it cannot be compared any more."""
        line = seen.command.line
        if legitimate.is_fault_of_tool(seen):
            count.excused.append(legitimate.TOOL_FAULT)
            return False
        if seen.died is not None and expected.step.crash is None:
            if legitimate.depends_on_unknown(expected):
                count.excused.append(legitimate.UNKNOWN)
            elif legitimate.is_of_patched_code(seen, _reach(expected)):
                count.excused.append(legitimate.PATCHED_CODE)
            else:
                count.compare(line, "life", "lives", f"died: {seen.died.reason}: {' / '.join(seen.died.report[:3])}")
            return True
        if seen.died is None and legitimate.is_thought_unmapped(expected, self._hypervisor):
            count.excused.append(legitimate.ELSEWHERE)
            return True
        count.compare(line, "life", expected.step.crash is None, seen.died is None)
        if seen.died is not None:
            count.rules += () if count.differences else expected.rules
            return True
        for field, program, real in _words(expected, seen):
            count.compare(line, field, program, real)
        if legitimate.lies_elsewhere(seen, self._hypervisor):
            count.excused.append(legitimate.ELSEWHERE)
            return True
        for field, size, difference in self._memory(expected, seen, count):
            count.size += size
            count.compare(line, field, *(difference or (None, None)))
        return bool(count.differences)

    def _memory(
        self, expected: Foretold, seen: Observed, count: _Count
    ) -> Iterator[tuple[str, int, tuple[str, str] | None]]:
        """Yield every block of memory: what it is, its size, and how it differs if it does."""
        if any(image.unknown for image in (*expected.images.values(), *expected.sites.values())):
            count.excused.append(legitimate.UNKNOWN)
        yield "text", self.text.end - self.text.start, self._text_difference(expected, seen)
        for name in sorted(expected.images.keys() | seen.images.keys()):
            program, real = expected.images.get(name), seen.images.get(name)
            if program is None or real is None:
                yield f"memory of {name}", 0, (_is_there(program), _is_there(real))
                continue
            yield (
                f"address of {name}",
                0,
                (None if program.address == real.address else (f"{program.address:#x}", f"{real.address:#x}")),
            )
            yield (
                f"memory of {name}",
                len(program.contents),
                _bytes_difference(program, real.contents),
            )
        for address in sorted(expected.sites.keys() & seen.sites.keys()):
            site = expected.sites[address]
            yield f"bytes at {address:#x}", len(site.contents), _bytes_difference(site, seen.sites[address])

    def _text_difference(self, expected: Foretold, seen: Observed) -> tuple[str, str] | None:
        """Compare every byte of Xen's code and constants with what it was after boot, and with what was written."""
        if seen.text is None:
            return "mapped", "not mapped"
        start, end = self.text.start, self.text.end
        now = np.frombuffer(seen.text, np.uint8)
        should = self._after_boot.copy()
        for address, byte in expected.written.items():
            if start <= address < end:
                should[address - start] = byte
        places = [start + offset for offset in np.flatnonzero(now != should).tolist()]
        return None if not places else _runs(places, should.tobytes(), seen.text, start)


def _bytes_difference(program: Image, real: bytes) -> tuple[str, str] | None:
    if len(program.contents) != len(real):
        return f"{len(program.contents)} bytes", f"{len(real)} bytes"
    differs = np.frombuffer(program.contents, np.uint8) != np.frombuffer(real, np.uint8)
    places = [
        program.address + offset
        for offset in np.flatnonzero(differs).tolist()
        if program.address + offset not in program.unknown
    ]
    return None if not places else _runs(places, program.contents, real, program.address)


def _runs(places: list[int], program: bytes, real: bytes, start: int) -> tuple[str, str]:
    """Return the first bytes that differ, on either side."""
    first = places[0] - start
    there = f"at {places[0]:#x} ({len(places)} bytes differ) "
    return there + program[first : first + SHOWN_BYTES].hex(), real[first : first + SHOWN_BYTES].hex()


def _is_there(what: object) -> str:
    return "it is not there" if what is None else "it is there"


def _words(expected: Foretold, seen: Observed) -> Iterator[tuple[str, object, object]]:
    """Yield what was said: the field, the program's, the hypervisor's."""
    step = expected.step
    # A line that a hook leaves without an end runs into the next one, level and all.
    lines = list(lines_apart(seen.xen))
    if legitimate.depends_on_unknown(expected):
        lines = [line for line in lines if line in step.console or not legitimate.is_about_unknown(line)]
    yield "exit status", step.rc, seen.rc
    yield "errno", step.errno, None if seen.error is None else seen.error[0]
    yield "output", step.out, seen.out
    yield "errors", step.err, seen.err
    yield "log", step.messages, tuple(line.split(LIVEPATCH, 1)[1] for line in lines if LIVEPATCH in line)
    yield "console", step.console, tuple(line for line in lines if LIVEPATCH not in line)
    yield "list", expected.listing, seen.listing
    if seen.x is not None:
        yield "key x", expected.x, seen.x


def _reach(foretold: Foretold) -> Iterator[range]:
    """Yield the places in which a program counter tells of patched code."""
    for image in foretold.images.values():
        yield range(image.address, image.address + len(image.contents))
    for address, site in foretold.sites.items():
        yield range(address, address + len(site.contents))
