"""What was foretold and what was seen, field by field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from real_xen import legitimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader import Hypervisor

    from real_xen.foretelling import Foretold, Site
    from real_xen.legitimate import Rule
    from real_xen.observation import Observed, Text

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


class Comparer:
    """Compares cases on one hypervisor."""

    def __init__(self, hypervisor: Hypervisor, text: Text, after_boot: bytes) -> None:
        """`after_boot` is what stood in `text` before any payload."""
        self._hypervisor = hypervisor
        self._text = text
        self._after_boot = np.frombuffer(after_boot, np.uint8)
        self._altered = legitimate.altered_at_boot(hypervisor, text.start, text.end - text.start)

    def code_differences(self) -> int:
        """Return how many bytes of the running hypervisor's code are not as in the file, though nothing says why."""
        size = self._text.code_end - self._text.start
        contents = self._hypervisor.read(self._text.start, size) or b""
        differing = np.flatnonzero(np.frombuffer(contents, np.uint8) != self._after_boot[:size])
        return sum(self._text.start + offset not in self._altered for offset in differing.tolist())

    def compare(self, foretold: Sequence[Foretold], observed: Sequence[Observed]) -> Comparison:
        """Compare the steps of one case."""
        fields = size = 0
        differences: list[Difference] = []
        excused: list[Rule] = []
        rules: list[str] = []
        known_written: set[int] = set()
        for expected, seen in zip(foretold, observed, strict=False):
            found: list[Difference] = []
            known_written |= expected.written.keys()
            died = expected.step.crash is not None
            fields += 1
            if (seen.died is not None) != died:
                if seen.died is not None and legitimate.is_of_patched_code(seen, _reach(expected)):
                    excused.append(legitimate.PATCHED_CODE)
                else:
                    real = f"died: {seen.died.reason}, {' / '.join(seen.died.report[:3])}" if seen.died else "lives"
                    found.append(
                        Difference(seen.command.line, "life", f"{expected.step.crash or 'lives'}", real)
                    )
            elif not died:
                if legitimate.is_fault_of_tool(seen):
                    excused.append(legitimate.TOOL_FAULT)
                    continue
                for field, program, real in _words(expected, seen):
                    fields += 1
                    if program != real:
                        found.append(Difference(seen.command.line, field, repr(program), repr(real)))
                for field, count, difference in self._memory(expected, seen, known_written):
                    fields += 1
                    size += count
                    if difference is not None:
                        found.append(Difference(seen.command.line, field, *difference))
            if not found:
                rules += expected.rules
            differences += found
            if found or seen.died is not None:
                break
        else:
            if len(observed) != len(foretold):
                differences.append(Difference("", "steps", str(len(foretold)), str(len(observed))))
        return Comparison(fields, size, tuple(differences), tuple(dict.fromkeys(excused)), tuple(dict.fromkeys(rules)))

    def _memory(
        self, expected: Foretold, seen: Observed, written: set[int]
    ) -> Iterator[tuple[str, int, tuple[str, str] | None]]:
        """Yield every block of memory: what it is, its size, and how it differs if it does."""
        yield "text", self._text.end - self._text.start, self._text_difference(expected, seen)
        for name in sorted(expected.images.keys() | seen.images.keys()):
            program, real = expected.images.get(name), seen.images.get(name)
            if program is None or real is None:
                yield f"memory of {name}", 0, (_is_there(program), _is_there(real))
                continue
            yield f"address of {name}", 0, (
                None if program.address == real.address else (f"{program.address:#x}", f"{real.address:#x}")
            )
            yield (
                f"memory of {name}",
                len(program.contents),
                self._bytes_difference(program.address, program.contents, real.contents, frozenset()),
            )
        for site, contents in expected.sites.items():
            yield (
                f"bytes at {site.address:#x}",
                len(contents),
                self._bytes_difference(site.address, contents, seen.sites[site], self._unknown(site, written)),
            )

    def _unknown(self, site: Site, written: set[int]) -> frozenset[int]:
        image = range(self._hypervisor.image_start, self._hypervisor.image_end)
        variables = frozenset(
            address
            for address in range(site.address, site.address + site.size)
            if address in image and not self._text.start <= address < self._text.code_end
        )
        return (legitimate.altered_at_boot(self._hypervisor, site.address, site.size) | variables) - written

    def _text_difference(self, expected: Foretold, seen: Observed) -> tuple[str, str] | None:
        """Compare every byte of Xen's code and constants with what it was at first, and with what was foretold."""
        if seen.text is None:
            return "mapped", "not mapped"
        start, end = self._text.start, self._text.end
        now = np.frombuffer(seen.text, np.uint8)
        should = self._after_boot.copy()
        for address, byte in expected.written.items():
            if start <= address < end:
                should[address - start] = byte
        places = [start + offset for offset in np.flatnonzero(now != should).tolist()]
        return None if not places else _runs(places, should.tobytes(), seen.text, start)

    def _bytes_difference(
        self, address: int, program: bytes, real: bytes, unknown: frozenset[int]
    ) -> tuple[str, str] | None:
        if len(program) != len(real):
            return f"{len(program)} bytes", f"{len(real)} bytes"
        places = [
            address + index
            for index in np.flatnonzero(np.frombuffer(program, np.uint8) != np.frombuffer(real, np.uint8)).tolist()
            if address + index not in unknown
        ]
        return None if not places else _runs(places, program, real, address)


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
    lines = [part for line in seen.xen for part in re.sub(r"(.)<\d>livepatch: ", r"\1\nlivepatch: ", line).split("\n")]
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
    for site in foretold.sites:
        yield range(site.address, site.address + site.size)
