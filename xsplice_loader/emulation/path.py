"""Following the way that execution takes from function to function."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.emulation.outcomes import PathStep, Via
from xsplice_loader.emulation.thunks import INDIRECT_THUNK, RETURN_THUNK

if TYPE_CHECKING:
    from xsplice_loader.emulation.decoding import Kind
    from xsplice_loader.emulation.names import Names, Place
    from xsplice_loader.host_state import HostState
    from xsplice_loader.livepatch.functions import FunctionEntry

MAX_STEPS = 1000
"""Steps that are kept; a loop may call functions a million times."""
_THUNKS = (RETURN_THUNK, INDIRECT_THUNK)
_WORD = 8


class _Frame(NamedTuple):
    """A call that has not returned."""

    slot: int
    """Where on the stack the return address stands."""
    return_address: int
    caller: Place


class _Branch(NamedTuple):
    kind: Kind
    source: int
    following: int
    """The address behind the branch."""
    stack: int
    """RSP before it."""


class Path:
    """The functions entered so far.

    A jump counts as an entry when it leaves the function it is in, and so does a return to where no call came from:
    that is how thunks make indirect calls. The thunks themselves are left out.
    """

    def __init__(self, host: HostState, names: Names) -> None:
        self.steps: list[PathStep] = []
        self.left_off = 0
        self._names = names
        self._trampolines = {
            (entry.old_addr + offset, entry.new_addr) for entry in _entries(host) for offset in _OFFSETS
        }
        self._frames: list[_Frame] = []
        self._here: Place | None = None
        self._branch: _Branch | None = None
        self._via_thunk: Via | None = None
        self.awaits_arrival = True
        """Whether `arrive` is to be called for the next instruction."""

    def leave(self, kind: Kind, source: int, following: int, stack: int) -> None:
        """Take note of a branch that is about to be executed."""
        self.awaits_arrival = True
        self._branch = _Branch(kind, source, following, stack)

    def arrive(self, address: int) -> None:
        """Take note of the first instruction, or of the one that a branch led to."""
        self.awaits_arrival = False
        branch, self._branch = self._branch, None
        if self._here is None:
            self._enter(address, "start")
        elif branch is not None:
            self._follow(branch, self._here, address)

    def resume(self, address: int) -> None:
        """Go on somewhere else, because Xen was asked to: no function is entered by that."""
        self._branch = None
        self.awaits_arrival = False
        self._here = self._names.function_of(address)

    def _follow(self, branch: _Branch, here: Place, address: int) -> None:
        if branch.kind == "call":
            self._frames.append(_Frame(branch.stack - _WORD, branch.following, here))
            self._enter(address, "call")
        elif branch.kind == "return" and self._is_return(branch, address):
            pass
        elif not here.start <= address < here.end:
            is_trampoline = (branch.source, address) in self._trampolines
            self._enter(address, "trampoline" if is_trampoline else "jump")

    def _is_return(self, branch: _Branch, address: int) -> bool:
        """Tell whether a return ends a call; calls whose place on the stack is gone are forgotten."""
        frame = None
        while self._frames and self._frames[-1].slot <= branch.stack:
            frame = self._frames.pop()
        if frame is None or (frame.slot, frame.return_address) != (branch.stack, address):
            return False
        self._here = frame.caller
        self._via_thunk = None
        return True

    def _enter(self, address: int, via: Via) -> None:
        self._here = here = self._names.function_of(address)
        if here.name is not None and here.name.startswith(_THUNKS):
            # What called the thunk is what counts, not the jumps within.
            self._via_thunk = self._via_thunk or via
            return
        via, self._via_thunk = self._via_thunk or via, None
        if len(self.steps) == MAX_STEPS:
            self.left_off += 1
        else:
            self.steps.append(PathStep(address, here.symbol, here.payload, via, len(self._frames)))


_OFFSETS = (0, 4)
"""Where in a function its trampoline may stand: at its start, or behind an ENDBR64 (`spec/04 §2.1`)."""


def _entries(host: HostState) -> list[FunctionEntry]:
    return [entry for loaded in host.payloads for entry in loaded.entries if entry.new_addr]
