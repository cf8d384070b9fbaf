"""What Xen prints of live patches when its debug key `x` is pressed, read back (`spec/04 §8`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADING = "'x' pressed - Dumping all livepatch patches"
_PAYLOAD = re.compile(
    r"^ name=(?P<name>.*) state=(?P<state>\w+)\(\d\) (?P<text>[0-9a-f]{16}) "
    r"\(\.data=(?P<rw>[0-9a-f]{16}), \.rodata=(?P<ro>[0-9a-f]{16})\) using (?P<pages>\d+) pages\.$",
    re.DOTALL,
)
_FUNCTION = re.compile(
    r"^    (?P<name>.*) patch (?P<old>[0-9a-f]{16})\((?P<old_size>\d+)\) "
    r"with (?P<new>[0-9a-f]{16}) \((?P<new_size>\d+)\)$",
    re.DOTALL,
)
_ID = re.compile(r"^(?P<label>build-id|depend-on|depend-on-xen)=(?P<id>[0-9a-f]*)$")


class PrintedFunction(NamedTuple):
    """A function that a payload replaces."""

    name: str
    old_addr: int
    old_size: int
    new_addr: int
    new_size: int


class PrintedPayload(NamedTuple):
    """A payload, as it is printed."""

    name: str
    state: str
    text: int
    rw: int
    ro: int
    pages: int
    functions: tuple[PrintedFunction, ...]
    ids: dict[str, str]
    """By `build-id`, `depend-on`, `depend-on-xen`, in hexadecimal."""


def read_key_x(lines: Iterable[str]) -> list[PrintedPayload]:
    """Return the payloads that are printed."""
    payloads: list[PrintedPayload] = []
    for line in lines:
        if found := _PAYLOAD.match(line):
            payloads.append(
                PrintedPayload(
                    name=found["name"],
                    state=found["state"],
                    text=int(found["text"], 16),
                    rw=int(found["rw"], 16),
                    ro=int(found["ro"], 16),
                    pages=int(found["pages"]),
                    functions=(),
                    ids={},
                )
            )
        elif payloads and (found := _FUNCTION.match(line)):
            old, new = (int(found[key], 16) for key in ("old", "new"))
            function = PrintedFunction(found["name"], old, int(found["old_size"]), new, int(found["new_size"]))
            payloads[-1] = payloads[-1]._replace(functions=(*payloads[-1].functions, function))
        elif payloads and (found := _ID.match(line)):
            payloads[-1].ids[found["label"]] = found["id"]
    return payloads
