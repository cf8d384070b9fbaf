"""What Xen's serial port shows, taken apart: Xen's own lines, register dumps, the end of the machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "(XEN) "
DUMP = "----[ Xen-"
"""What the registers begin with, after a warning as well as after a fault."""
_RUN_ON = re.compile(r"(.)<\d>livepatch: ")
OF_THE_EMULATION = frozenset(("uart interrupt taking more than 4ms, switched to polling",))
"""What Xen says of a slow emulated machine, at any time."""
DOMAIN_FELL = b"Hardware Dom0 crashed"
"""What Xen says when the kernel of the domain fell, and not Xen itself."""
DEATHS = (b"Panic on CPU ", b"Manual reset required", b"not rebooting.", b"Reboot in ", b"*** DOUBLE FAULT ***")


class Said(NamedTuple):
    """What Xen said during one step."""

    lines: tuple[str, ...]
    """Without `(XEN) ` and without the registers and stack that follow a warning."""
    report: tuple[str, ...]
    """The registers, stack and last words of a machine that died."""


def xen_lines(data: bytes) -> list[str]:
    """Return the lines of Xen's own in what its serial port said, without their prefix.

    What the domain says stands there without a prefix, and is left out; so is what is of the emulation alone.
    """
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    lines = (line.removeprefix(PREFIX) for line in text.split("\n") if line.startswith(PREFIX))
    return [line for line in lines if line not in OF_THE_EMULATION]


def is_dead(data: bytes | bytearray) -> bool:
    """Tell whether the machine has said its last."""
    return any(death in data for death in DEATHS)


def told(lines: Iterable[str], *, died: bool) -> Said:
    """Set registers and stack of warnings apart; of a machine that died, all from the last dump on is the report."""
    kept: list[str] = []
    everything = list(lines)
    position = 0
    while position < len(everything):
        line = everything[position]
        if not line.startswith(DUMP):
            kept.append(line)
            position += 1
            continue
        end = _end_of_dump(everything, position)
        if died and not any(later.startswith(DUMP) for later in everything[end:]):
            return Said(tuple(kept), tuple(everything[position:]))
        position = end
    return Said(tuple(kept), ())


def _end_of_dump(lines: list[str], start: int) -> int:
    """Return the position of the first line after a dump: its last part is the trace of calls, and an empty line."""
    position = start
    while position < len(lines) and lines[position] != "Xen call trace:":
        position += 1
    position += 1
    while position < len(lines) and re.match(r"\s+\[<[0-9a-f]{16}>\]", lines[position]):
        position += 1
    return position + (position < len(lines) and not lines[position].strip())


def lines_apart(lines: Iterable[str]) -> tuple[str, ...]:
    """Give a line of the live-patch code that runs on after one without an end, level and all, a line of its own."""
    return tuple(part for line in lines for part in _RUN_ON.sub(r"\1\nlivepatch: ", line).split("\n"))


def lines_of_log(log: Iterable[str | None]) -> tuple[str, ...]:
    """Return log lines of the program as the console shows them: a newline in a name ends a line."""
    return tuple(part for line in log for part in (line or "").split("\n"))
