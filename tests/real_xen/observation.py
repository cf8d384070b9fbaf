"""What the real hypervisor does with a case, step by step: seen through the tool, the console, and from outside."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from real_xen.case import PRESS_X, shell_words
from real_xen.foretelling import SHOWN, Image
from real_xen.key_x import read_key_x
from real_xen.machine import Died, Machine
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from real_xen.case import Case
    from real_xen.machine import Snapshot
    from xsplice_loader import Hypervisor
    from xsplice_loader.host.script import Command

PAGE = 4096
DO_NOTHING = "true"
_ERROR = re.compile(r"^Error (-?\d+): (.*)$")


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
    sites: dict[int, bytes]
    """The first 32 bytes of every function that a payload so far was to patch, as far as they are mapped."""
    died: Died | None

    @property
    def error(self) -> tuple[int, str] | None:
        """Number and text of the last `Error N: TEXT`."""
        found = [match for line in self.err if (match := _ERROR.match(line))]
        return (int(found[-1][1]), found[-1][2]) if found else None


class Text(NamedTuple):
    """The part of the hypervisor that is looked at as a whole: from `_stext` to `__2M_rodata_end`."""

    start: int
    end: int

    @classmethod
    def of(cls, hypervisor: Hypervisor) -> Text:
        """Return where it is.

        Raises:
            HarnessError: the symbols do not say.
        """
        places = [hypervisor.symbols.address_of(name) for name in (b"_stext", b"__2M_rodata_end")]
        if None in places:
            raise HarnessError("the symbols do not say where Xen's code ends")
        return cls(*(place or 0 for place in places))


class Laboratory:
    """Where cases are tried on the real hypervisor, each on a machine as it was after its boot."""

    def __init__(self, snapshot: Snapshot, hypervisor: Hypervisor) -> None:
        self._snapshot = snapshot
        self._text = Text.of(hypervisor)

    def observe(self, case: Case, instead: Mapping[int, Mapping[str, tuple[int, int]]]) -> Iterator[Observed]:
        """Yield what becomes of a case's steps, up to the machine's death.

        The life of a payload ends where its upload is refused.

        Args:
            case: what to try.
            instead: the numbers of steps after which debug key `x` is not to be pressed, as it would be the machine's
                end; and where payloads are said to lie then, as address and size by their names.
        """
        with tempfile.TemporaryDirectory(prefix="real-xen-") as scratch:
            machine = Machine.restored(self._snapshot, Path(scratch))
            with machine:
                machine.put(case.files)
                sites: dict[int, None] = {}
                for number, command in enumerate(case.commands):
                    observed = self._step(machine, command, instead.get(number), sites)
                    yield observed
                    if observed.died or case.ends_after(command, succeeded=observed.rc == 0):
                        return

    def _step(
        self,
        machine: Machine,
        command: Command,
        instead: Mapping[str, tuple[int, int]] | None,
        sites: dict[int, None],
    ) -> Observed:
        """Run a command and look at everything; `sites` gains what payloads are to patch."""
        is_key = command.words == PRESS_X
        said = machine.step(DO_NOTHING if is_key else shell_words(command), press_x=is_key or instead is None)
        answer = said.answer
        if answer is None:
            return Observed(command, None, (), (), said.xen, (), None, {}, None, {}, said.died)
        printed = read_key_x(said.x)
        sites.update(dict.fromkeys(function.old_addr for payload in printed for function in payload.functions))
        places = {payload.name: (payload.text, payload.pages * PAGE) for payload in printed}
        return Observed(
            command=command,
            rc=answer.rc,
            out=lines_of(answer.out),
            err=lines_of(answer.err),
            xen=(*said.xen, *said.x) if is_key else said.xen,
            listing=lines_of(answer.list),
            x=said.x or None,
            images={
                name: Image(address, machine.memory(address, size) or b"" if size else b"")
                for name, (address, size) in (places if instead is None else instead).items()
            },
            text=machine.memory(self._text.start, self._text.end - self._text.start),
            sites={address: mapped(machine, address, SHOWN) for address in sites},
            died=None,
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
