"""What the real hypervisor does with a case, step by step: seen through the tool, the console, and from outside."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from real_xen.case import PRESS_X, shell_words
from real_xen.foretelling import Image
from real_xen.key_x import read_key_x
from real_xen.machine import Died, Machine
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader import Hypervisor
    from xsplice_loader.host.script import Command

    from real_xen.case import Case
    from real_xen.foretelling import Foretold, Site
    from real_xen.machine import Seen, Snapshot

PAGE = 4096
DO_NOTHING = "true"
_ERROR = re.compile(r"^Error (\d+): (.*)$")


class Observed(NamedTuple):
    """One step, and what was true after it."""

    command: Command
    rc: int | None
    """The tool's exit status; None: the machine died."""
    out: tuple[str, ...]
    err: tuple[str, ...]
    xen: tuple[str, ...]
    """Xen's lines, without registers and stack of warnings."""
    listing: tuple[str, ...]
    x: tuple[str, ...] | None
    """What the debug key `x` printed; None if it was not pressed."""
    images: dict[str, Image]
    text: bytes | None
    """Xen's code and read-only data; None of a machine that died."""
    sites: dict[Site, bytes]
    died: Died | None

    @property
    def error(self) -> tuple[int, str] | None:
        """Number and text of the last `Error N: TEXT`."""
        found = [match for line in self.err if (match := _ERROR.match(line))]
        return (int(found[-1][1]), found[-1][2]) if found else None


class Text(NamedTuple):
    """The part of the hypervisor that is looked at as a whole: from `_stext` to `__2M_rodata_end`."""

    start: int
    code_end: int
    """Where the code ends; constants follow, and what is constant once Xen has booted."""
    end: int

    @classmethod
    def of(cls, hypervisor: Hypervisor) -> Text:
        """Return where it lies.

        Raises:
            HarnessError: the symbols do not say.
        """
        places = [hypervisor.symbols.address_of(name) for name in (b"_stext", b"_etext", b"__2M_rodata_end")]
        if None in places:
            raise HarnessError("the symbols do not say where Xen's code ends")
        return cls(*(place or 0 for place in places))


class Laboratory:
    """Where cases are tried on the real hypervisor, each on a machine as it was after its boot."""

    def __init__(self, snapshot: Snapshot, hypervisor: Hypervisor) -> None:
        self._snapshot = snapshot
        self._text = Text.of(hypervisor)

    def observe(self, case: Case, foretold: Iterable[Foretold]) -> Iterator[Observed]:
        """Yield what becomes of a case's steps, as many as were foretold, up to the machine's death.

        Where the program says that debug key `x` would be the machine's end, it is not pressed.
        """
        with tempfile.TemporaryDirectory(prefix="real-xen-") as scratch:
            machine = Machine.restored(self._snapshot, Path(scratch))
            with machine:
                machine.put(case.files)
                for step in foretold:
                    is_key = step.command.words == PRESS_X
                    said = machine.step(
                        DO_NOTHING if is_key else shell_words(step.command), press_x=is_key or step.x is not None
                    )
                    observed = self._looked_at(machine, step, said, is_key=is_key)
                    yield observed
                    if observed.died:
                        return

    def read(self, *places: tuple[int, int]) -> list[bytes]:
        """Return what stands in the hypervisor's memory before any payload, at addresses, as many bytes as are asked.

        Raises:
            HarnessError: it is not mapped.
        """
        with tempfile.TemporaryDirectory(prefix="real-xen-") as scratch:
            machine = Machine.restored(self._snapshot, Path(scratch))
            with machine:
                found = [(address, machine.memory(address, size)) for address, size in places]
        for address, contents in found:
            if contents is None:
                raise HarnessError(f"{address:#x} is not mapped in the running hypervisor")
        return [contents or b"" for _, contents in found]

    def _looked_at(self, machine: Machine, step: Foretold, said: Seen, *, is_key: bool) -> Observed:
        died = said.died is not None
        pressed = None if died or not said.x else said.x
        places = {name: (image.address, len(image.contents)) for name, image in step.images.items()}
        if pressed is not None:
            places = {payload.name: (payload.text, payload.pages * PAGE) for payload in read_key_x(pressed)}
        answer = said.answer
        return Observed(
            command=step.command,
            rc=None if answer is None else answer.rc,
            out=() if answer is None else lines_of(answer.out),
            err=() if answer is None else lines_of(answer.err),
            xen=said.xen if pressed is None or not is_key else (*said.xen, *pressed),
            listing=() if answer is None else lines_of(answer.list),
            x=pressed,
            images={} if died else {
                name: Image(address, machine.memory(address, size) or b"" if size else b"")
                for name, (address, size) in places.items()
            },
            text=None if died else machine.memory(self._text.start, self._text.end - self._text.start),
            sites={} if died else {site: mapped(machine, site.address, site.size) for site in step.sites},
            died=said.died,
        )


def mapped(machine: Machine, address: int, size: int) -> bytes:
    """Return those of `size` bytes that are mapped, up to the first that is not."""
    whole = machine.memory(address, size)
    if whole is not None:
        return whole
    left = -address % PAGE
    return (machine.memory(address, left) or b"") if 0 < left < size else b""


def lines_of(data: bytes) -> tuple[str, ...]:
    r"""Return lines as the program shows them: with `\xNN` for what is not UTF-8."""
    text = data.decode("utf-8", "backslashreplace")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()
